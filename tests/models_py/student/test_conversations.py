"""Pairs that end a conversation: what the student reads before an answer, what it loses, what is trained on."""

from typing import Any

import pytest
from hypothesis import given

from models_py.conversation import NO_CONTEXT, Context, Message
from models_py.errors import UserError
from models_py.student.chat import Failure, StudentChat, TermSequences, TrainingExample
from tests.models_py.student.conftest import CHAT_TEMPLATE, MAX_LENGTH, make_tokenizer
from tests.models_py.student.test_chat import CONTEXTS, TEXTS
from tests.models_py.student.test_template import DAY, TEXT_ONLY, TRL, chat_of, rendered, text_of, tokenizer_for
from tests.support.properties import examples
from tests.support.values import as_a

HISTORY = (Message("user", "Why is it blue?"), Message("assistant", "Light is\n\nscattered."))
ASKED, ANSWER = "And why red at dusk?", "The way is longer."
# They raise on a system text, or do not write it.
NO_SYSTEM = {"gemma.jinja", "gemma_training.jinja"}


def messages(context: Context, *more: tuple[str, str]) -> list[dict[str, str]]:
    return [*context.messages(), *({"role": role, "content": text} for role, text in more)]


def masks_of_transformers(template: str, context: Context) -> tuple[list[int], list[int]]:
    """Ids and assistant mask of the finished conversation, as TRL takes them."""
    out: Any = tokenizer_for(template).apply_chat_template(
        messages(context, ("user", ASKED), ("assistant", ANSWER)),
        chat_template=template,
        return_dict=True,
        return_assistant_tokens_mask=True,
        **DAY,
    )
    return out["input_ids"], out["assistant_masks"]


@pytest.mark.parametrize("name", TEXT_ONLY)
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_an_answer_follows_the_whole_conversation_as_the_template_writes_it(name: str, system: str) -> None:
    chat, context = chat_of(TRL[name]), Context(system, HISTORY)
    terms = chat.answer_sequences(ASKED, "", ANSWER, context)
    if system and name in NO_SYSTEM:
        assert as_a(Failure, terms).status == "template_error"
        return
    terms = as_a(TermSequences, terms)
    assert terms.alone == [chat.start_id, *chat.target_ids(ANSWER)]
    conditioned = text_of(chat, terms.conditioned)
    whole = rendered(TRL[name], *messages(context, ("user", ASKED), ("assistant", ANSWER)))
    assert conditioned.endswith(ANSWER) and whole.startswith(conditioned)
    assert all(text in conditioned for text in (system, *(turn.content for turn in HISTORY), ASKED))


def asked_at(ids: list[int], template: str) -> int:
    """Where the last instruction begins: before it stands the history alone."""
    asked = tokenizer_for(template)(ASKED, add_special_tokens=False)["input_ids"]
    return next(at for at in range(len(ids)) if ids[at : at + len(asked)] == asked)


@pytest.mark.parametrize("name", [name for name in TEXT_ONLY if name.endswith("_training.jinja")])
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_all_answers_are_what_trl_masks(name: str, system: str) -> None:
    """But for what opens the last answer's turn: no model is asked to write that, and no score counts it."""
    chat, context = chat_of(TRL[name]), Context(system, HISTORY)
    if system and name in NO_SYSTEM:
        return
    example = as_a(TrainingExample, chat.training_example(ASKED, "", ANSWER, context, all_answers=True))
    last = as_a(TrainingExample, chat.training_example(ASKED, "", ANSWER, context))
    ids, mask = masks_of_transformers(TRL[name], context)
    assert example.input_ids == last.input_ids == ids[: len(example.input_ids)]
    at = asked_at(ids, TRL[name])
    assert example.completion_mask[:at] == mask[:at] and sum(mask[:at]) > len(HISTORY[1].content)
    assert example.completion_mask[at:] == last.completion_mask[at:]
    assert [m for m, n in zip(mask, last.completion_mask, strict=False) if n] == [1] * sum(last.completion_mask)


# Of templates that do not mark answers: what closes an answer of the history, where that is more than one token.
CLOSINGS = {
    "cohere.jinja": "<|END_OF_TURN_TOKEN|>",
    "cohere2.jinja": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "gptoss.jinja": "<|end|>",
    "glm4moe.jinja": "<|user|>",
    **dict.fromkeys(("deepseekv3.jinja", "deepseek_r1_distill.jinja"), "<｜end▁of▁sentence｜>"),
    **dict.fromkeys(("gemma.jinja", "gemma3.jinja"), "<end_of_turn>\n"),
    **dict.fromkeys(("llama3.jinja", "llama3_1.jinja", "llama3_2.jinja"), "<|eot_id|>"),
    "muse_glimmer.jinja": "<|eot|>",
    **dict.fromkeys(("phi3.jinja", "phi3_5.jinja"), "<|end|>\n"),
    **dict.fromkeys(("qwen2_5.jinja", "qwen3.jinja", "lfm2.jinja"), "<|im_end|>\n"),
}


@pytest.mark.parametrize("name", CLOSINGS)
@pytest.mark.parametrize("answer", [HISTORY[1].content, "It has </s> and <|user|> in it."])
def test_all_answers_count_with_what_closes_their_turns(name: str, answer: str) -> None:
    """Also where the data spells control tokens, which it cannot make."""
    chat, context = chat_of(TRL[name]), Context("", (HISTORY[0], Message("assistant", answer)))
    example = as_a(TrainingExample, chat.training_example(ASKED, "", ANSWER, context, all_answers=True))
    counted = [i for i, counts in zip(example.input_ids, example.completion_mask, strict=True) if counts]
    assert text_of(chat, counted) == f"{answer}{CLOSINGS[name]}{ANSWER}{text_of(chat, [chat.end_of_turn_id])}"


def test_a_slow_tokenizer_cannot_train_on_all_answers() -> None:
    tokenizer: Any = make_tokenizer("<s>")
    chat = StudentChat(tokenizer, CHAT_TEMPLATE, MAX_LENGTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tokenizer), "is_fast", property(lambda _: False))
        with pytest.raises(UserError, match=r"training\.loss_on: all_answers .* use last_answer"):
            chat.training_example(ASKED, "", ANSWER, Context("", HISTORY), all_answers=True)


@given(TEXTS, CONTEXTS)
@examples(60)
def test_no_text_of_a_conversation_becomes_a_control_token(text: str, context: Context) -> None:
    terms = _CHAT.answer_sequences("a" + text, "", "b", context)
    control = sum(i in _CHAT._control_ids for i in as_a(TermSequences, terms).conditioned)
    assert control == 1 + 2 * (bool(context.system) + len(context.history) + 1) + 1 - bool(context.system)


def test_a_pair_without_a_conversation_is_read_as_ever() -> None:
    assert _CHAT.answer_sequences(ASKED, "", ANSWER, NO_CONTEXT) == _CHAT.answer_sequences(ASKED, "", ANSWER)
    assert _CHAT.prompt_ids(ASKED, "now", Context()) == _CHAT.prompt_ids(ASKED, "now")


def test_a_template_that_cannot_say_it_fails_the_row_with_the_reason() -> None:
    template = (
        "{{ (messages | selectattr('role', 'equalto', 'user') | list | last).content }}<|assistant|>"
        "{% if not add_generation_prompt %}{{ messages[-1].content }}<|end|>{% endif %}"
    )
    chat = StudentChat(make_tokenizer("<s>"), template, MAX_LENGTH)
    failure = as_a(Failure, chat.answer_sequences(ASKED, "", ANSWER, Context("Be brief.", HISTORY)))
    assert failure.status == "template_error"
    assert "writes its text 0 times" in failure.reason
    assert failure.reason.endswith("this conversation needs a system text and 2 earlier turns")
    assert isinstance(chat.answer_sequences(ASKED, "", ANSWER), TermSequences)


# --- what is too long


def long_history(turns: int) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[n % 2], f"turn {n} " * 10) for n in range(turns))


@pytest.mark.parametrize("room", range(60, 400, 17))
def test_the_oldest_turns_go_first_and_as_few_as_possible(room: int) -> None:
    chat = StudentChat(make_tokenizer("<s>"), CHAT_TEMPLATE, room)
    history, answer = long_history(8), "sky " * 20
    terms = as_a(TermSequences, chat.answer_sequences(ASKED, "", answer, Context("Be brief.", history)))
    target = chat.target_ids(answer)

    def fits(kept: int) -> bool:
        return len(chat.prompt_ids(ASKED, "", Context("Be brief.", history[kept:]))) + len(target) + 1 <= room

    kept = next((start for start in (0, 2, 4, 6, 8) if fits(start)), 8)
    assert terms.history_truncated == (kept > 0)
    assert terms.truncated == (not fits(kept))
    prompt = chat.prompt_ids(ASKED, "", Context("Be brief.", history[kept:]))
    assert terms.conditioned == [*prompt, *target[: terms.target_tokens]]
    assert terms.alone == [chat.start_id, *target[: terms.target_tokens]]
    example = as_a(TrainingExample, chat.training_example(ASKED, "", answer, Context("Be brief.", history)))
    assert example.input_ids == [*terms.conditioned, chat.end_of_turn_id]
    assert (example.truncated, example.history_truncated) == (terms.truncated, terms.history_truncated)
    assert len(example.input_ids) <= room


_CHAT = StudentChat(make_tokenizer("<s>", adds_bos=True), CHAT_TEMPLATE, 4 * MAX_LENGTH)
