"""What a model is asked and what it answers, as plain values; what both engines do alike with them.

    Answer(instruction_id="51ab...", answer="The Baltic.", finish_reason="stop", tokens=5, ...)

Whatever the engine, a model reads the prompt of its own chat template, the very ids that it was trained on, and ends
where it ends its turn. Nothing here runs a model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from models_py.conversation import NO_CONTEXT, Context
from models_py.evaluation.answer_settings import Generation
from models_py.student.chat import Failure, StudentChat
from models_py.student.template import Unrenderable, instruction_text

Status = Literal["ok", "empty_instruction", "prompt_too_long", "template_error", "not_finite", "out_of_memory"]


@dataclass(frozen=True, slots=True)
class Asked:
    """An instruction as it is put to a model."""

    instruction_id: str
    instruction: str
    input: str
    context: Context = NO_CONTEXT


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. answer is NULL with a status and a reason where nothing did; an empty one is an answer.

    finish_reason: stop, where the model ended its turn, or length. tokens: of the answer, the end of turn not counted.
    seconds: of the batch that it came in, divided by its answers.
    """

    instruction_id: str
    answer: str | None = None
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    status: Status = "ok"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as ids, and how many tokens its answer may have."""

    instruction_id: str
    ids: list[int]
    room: int


def prompts(chat: StudentChat, asked: Sequence[Asked], generation: Generation) -> Iterator[Prompt | Answer]:
    """Each instruction as ids, or the answer that says why it cannot be put to this model."""
    for one in asked:
        if not instruction_text(one.instruction, one.input).strip():
            yield _failed(one, Failure("empty_instruction", "the instruction is empty"))
            continue
        try:
            ids = chat.prompt_ids(one.instruction, one.input, one.context)
        except Unrenderable as error:
            yield _failed(one, Failure("template_error", str(error)))
            continue
        room = min(generation.max_tokens, chat.max_length - len(ids) - 1)  # one for the end of turn
        if room < 1:
            what = f"the prompt takes {len(ids)} tokens of max_length {chat.max_length}: no room for an answer"
            yield _failed(one, Failure("prompt_too_long", what))
        else:
            yield Prompt(one.instruction_id, ids, room)


def read_answer(chat: StudentChat, prompt: Prompt, generated: Sequence[int], ends: frozenset[int]) -> Answer:
    """The answer in what a model wrote: up to the first token that ends its turn, at most as long as there was room."""
    end = next((at for at, token in enumerate(generated[: prompt.room]) if token in ends), None)
    tokens = list(generated[: prompt.room if end is None else end])
    return Answer(
        prompt.instruction_id,
        answer=storable(chat.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
        finish_reason="length" if end is None else "stop",
        prompt_tokens=len(prompt.ids),
        tokens=len(tokens),
    )


def storable(text: str) -> str:
    """A text that the lake can hold: bytes that a model never finished are marked already, NULs go."""
    return text.replace("\x00", "")


def ends_of_turn(chat: StudentChat) -> frozenset[int]:
    """The tokens with which an answer ends."""
    return frozenset({chat.end_of_turn_id, chat.tokenizer.eos_token_id})


def _failed(one: Asked, failure: Failure) -> Answer:
    return Answer(one.instruction_id, status=failure.status, reason=failure.reason)  # type: ignore[arg-type]
