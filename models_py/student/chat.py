"""The one place that turns text into token ids; scoring, training, judging and serving all come here.

One row of the tokenization contract, for a student whose template writes `<|user|>...<|end|><|assistant|>`:

    prompt ids    <s> <|user|> Name a colour . <|end|> <|assistant|>
    target ids    Blue .
    alone         <s> Blue .                        # start id = BOS, else EOS
    conditioned   <s> <|user|> ... <|assistant|> Blue .
    training      <s> <|user|> ... <|assistant|> Blue . <|end|>     completion mask 0 0 ... 0 1 1 1

- Prompt ids are the rendered template tokenized whole, as a server does it.
- Text of special tokens inside data never becomes a control token. A control token is one that the tokenizer flags
  as special or that the chat template writes; where data spells one, the data is tokenized apart and taken literally.
- BOS: a template decides. Where it writes none although the tokenizer starts every text with one, BOS is put in front
  of the template itself (`StudentChat.template`), so that what is saved with a checkpoint serves the same ids.
- Date functions of a template answer one fixed day: a score must not depend on when it was computed.
- `max_length` counts the end-of-turn token, so a scored sequence plus that token is a training example.

It does not score and does not pad. Source: section 3 of arXiv 2402.10110 for what is conditioned on what.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from models_py.errors import UserError
from models_py.student.spec import DEFAULT_REVERSE_PROMPT

FailureStatus = Literal["empty_answer", "empty_instruction", "prompt_too_long"]

# Stands for a person's text while a template is taken apart; only has to survive trimming and occur nowhere else.
_SENTINEL = "reflection-lake-sentinel-5d1f"
_FIXED_DAY = datetime(2024, 7, 26)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no sequences."""

    status: FailureStatus
    reason: str


@dataclass(frozen=True, slots=True)
class TermSequences:
    """The two sequences of a ratio. The last `target_tokens` ids of both are the same target.

    truncated: the target lost its tail, or the answer shown in the reverse prompt did.
    """

    alone: list[int]  # (1 + target_tokens,)
    conditioned: list[int]  # (prompt + target_tokens,)
    target_tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A row as the trainer takes it: `completion_mask` is 1 on the target and on the end-of-turn token after it."""

    input_ids: list[int]
    completion_mask: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Slot:
    """A prompt with a hole for a person's text: `render(text)` starts with `head` and ends with `tail`."""

    render: Callable[[str], str]
    head: str
    tail: str
    head_ids: list[int]
    tail_ids: list[int]


class StudentChat:
    """A tokenizer and its chat template.

    tokenizer: a transformers tokenizer. template: Jinja text. max_length: tokens, end of turn included.
    reverse_prompt: Jinja text with the variable `answer`; None takes the project's own.
    Raises UserError where template or tokenizer cannot make a chat (no EOS, a template that loses the user's text).
    """

    def __init__(self, tokenizer: Any, template: str, max_length: int, reverse_prompt: str | None = None) -> None:
        if tokenizer.eos_token_id is None:
            raise UserError(
                "the student's tokenizer has no end of sequence: set eos_token in its tokenizer_config.json"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        # What is known inside `reading_ahead`: rendered prompts and the ids of (text, literal).
        self._rendered: dict[tuple[str, str, str], str] = {}
        self._encoded: dict[tuple[str, bool], list[int]] = {}
        self.template = template
        self._prompt = self._slot(self._render, "chat template")
        if self._adds_bos() and not self._prompt.head.startswith(tokenizer.bos_token):
            self.template = "{{ bos_token }}" + template
            self._prompt = self._slot(self._render, "chat template")
        self.start_id: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

        added = tokenizer.added_tokens_decoder
        control = {i for i, token in added.items() if token.special or _writes(template, token.content)}
        control |= set(tokenizer.all_special_ids)
        texts = sorted(tokenizer.convert_ids_to_tokens(sorted(control)), key=len, reverse=True)
        self._control_text = re.compile("|".join(map(re.escape, texts)))
        # The unknown token also stands for characters without a token of their own: no sign of control text.
        self._control_ids: frozenset[int] = frozenset(control - {tokenizer.unk_token_id})

        reverse = DEFAULT_REVERSE_PROMPT.read_text("utf-8") if reverse_prompt is None else reverse_prompt
        ask = _compile_reverse_prompt(reverse)
        self._reverse = self._slot(lambda answer: self._render(ask(answer)), "reverse prompt")
        self.end_of_turn_id: int = self._find_end_of_turn()

    # ---- texts to ids

    def instruction_text(self, instruction: str, input: str) -> str:
        """X as the student reads it: the instruction, then the input on a new line when there is one."""
        return f"{instruction}\n{input}" if input.strip() else instruction

    def prompt_ids(self, instruction: str, input: str) -> list[int]:
        """Ids of the chat prompt of an instruction, up to where the answer starts."""
        return self._fill(self._prompt, self.instruction_text(instruction, input))

    def reverse_prompt_ids(self, output: str) -> list[int]:
        """Ids of the chat prompt that shows an answer and asks for its instruction."""
        return self._fill(self._reverse, output)

    def target_ids(self, text: str) -> list[int]:
        """Ids of a text tokenized alone: no special token, neither added nor read out of the text."""
        ids = self._encode(text, literal=True)
        if self._control_ids.isdisjoint(ids):
            return ids
        # This tokenizer keeps the token whole even so (an added token without the special flag, a unigram piece):
        # cut the text inside every occurrence. The filter is for texts that only normalization turns into one.
        cuts = [0, *(match.start() + 1 for match in self._control_text.finditer(text)), len(text)]
        pieces = [text[start:end] for start, end in itertools.pairwise(cuts)]
        return [i for piece in pieces for i in self._encode(piece, literal=True) if i not in self._control_ids]

    @contextmanager
    def reading_ahead(
        self, answers: Iterable[tuple[str, str, str]], instructions: Iterable[tuple[str, str, str]]
    ) -> Iterator[None]:
        """Tokenize all that `answer_sequences` and `instruction_sequences` of these rows will ask for, in two calls.

        Within it their results come from there; they are the same, several times sooner. Not for several threads.
        """
        plain: list[str] = []
        literal: list[str] = []
        try:
            for instruction, input, output in answers:
                plain.append(self._render_once(self._prompt, self.instruction_text(instruction, input)))
                literal.append(output)
            for instruction, input, output in instructions:
                plain.append(self._render_once(self._reverse, output))
                literal.append(self.instruction_text(instruction, input))
            for texts, is_literal in ((plain, False), (literal, True)):
                unique = list(dict.fromkeys(texts))
                ids = self._encode_all(unique, is_literal) if unique else []
                self._encoded.update(zip(((text, is_literal) for text in unique), ids, strict=True))
            yield
        finally:
            self._rendered.clear()
            self._encoded.clear()

    # ---- rows to sequences

    def answer_sequences(self, instruction: str, input: str, output: str) -> TermSequences | Failure:
        """The answer alone and after its instruction; a long answer loses its tail in both alike."""
        if failure := self._empty(instruction, input, output):
            return failure
        prompt, target = self.prompt_ids(instruction, input), self.target_ids(output)
        if not target:
            return Failure("empty_answer", "the answer has no tokens")
        room = self._room(len(prompt))
        if room < 1:
            return Failure(
                "prompt_too_long",
                f"the prompt takes {len(prompt)} tokens of max_length {self.max_length}: no room for an answer",
            )
        return self._sequences(prompt, target[:room], truncated=len(target) > room)

    def instruction_sequences(self, instruction: str, input: str, output: str) -> TermSequences | Failure:
        """The instruction alone and after the reverse prompt; a long answer is shown only as far as it fits."""
        if failure := self._empty(instruction, input, output):
            return failure
        target = self.target_ids(self.instruction_text(instruction, input))
        if not target:
            return Failure("empty_instruction", "the instruction has no tokens")
        prompt = self.reverse_prompt_ids(output)
        if self._room(len(prompt)) >= len(target):
            return self._sequences(prompt, target, truncated=False)
        head, tail = self._reverse.head_ids, self._reverse.tail_ids
        shown = self._room(len(head) + len(tail) + len(target))
        if shown < 1:
            return Failure(
                "prompt_too_long",
                f"the instruction takes {len(target)} and the reverse prompt {len(head) + len(tail)} tokens of "
                f"max_length {self.max_length}: no room to show an answer",
            )
        return self._sequences([*head, *self.target_ids(output)[:shown], *tail], target, truncated=True)

    def training_example(self, instruction: str, input: str, output: str) -> TrainingExample | Failure:
        """The scored sequence of the answer plus the end-of-turn token, with its completion mask."""
        sequences = self.answer_sequences(instruction, input, output)
        if isinstance(sequences, Failure):
            return sequences
        prompt_tokens = len(sequences.conditioned) - sequences.target_tokens
        return TrainingExample(
            input_ids=[*sequences.conditioned, self.end_of_turn_id],
            completion_mask=[0] * prompt_tokens + [1] * (sequences.target_tokens + 1),
            truncated=sequences.truncated,
        )

    # ---- inside

    def _room(self, taken: int) -> int:
        return self.max_length - taken - 1  # one for the end of turn

    def _sequences(self, prompt: list[int], target: list[int], truncated: bool) -> TermSequences:
        return TermSequences([self.start_id, *target], [*prompt, *target], len(target), truncated)

    def _empty(self, instruction: str, input: str, output: str) -> Failure | None:
        if not output.strip():
            return Failure("empty_answer", "the answer is empty")
        if not self.instruction_text(instruction, input).strip():
            return Failure("empty_instruction", "the instruction is empty")
        return None

    def _adds_bos(self) -> bool:
        """Whether the tokenizer starts ordinary text with BOS."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def _encode(self, text: str, literal: bool = False) -> list[int]:
        known = self._encoded.get((text, literal))
        return self._encode_all([text], literal)[0] if known is None else list(known)

    def _encode_all(self, texts: Sequence[str], literal: bool) -> list[list[int]]:
        # JSON can carry half a surrogate pair; tokenizers cannot.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        ids: list[list[int]] = self.tokenizer(
            readable, add_special_tokens=False, split_special_tokens=literal, verbose=False, return_attention_mask=False
        )["input_ids"]
        return ids

    def _render_once(self, slot: _Slot, text: str) -> str:
        """What a slot makes of a text; kept until `reading_ahead` ends, for `_fill` asks again."""
        rendered = self._rendered[slot.head, slot.tail, text] = slot.render(text)
        return rendered

    def _fill(self, slot: _Slot, text: str) -> list[int]:
        """Ids of a prompt: tokenized whole, unless the text spells a control token."""
        rendered = self._rendered.get((slot.head, slot.tail, text)) or slot.render(text)
        ids = self._encode(rendered)
        # The count catches text that only normalization turns into a control token.
        own = self._control_count(slot.head_ids) + self._control_count(slot.tail_ids)
        if not self._control_text.search(text) and self._control_count(ids) == own:
            return ids
        # A template may trim the text: what stands between head and tail is what it made of it.
        if rendered.startswith(slot.head) and rendered.endswith(slot.tail):
            text = rendered[len(slot.head) : len(rendered) - len(slot.tail)]
        return [*slot.head_ids, *self.target_ids(text), *slot.tail_ids]

    def _control_count(self, ids: Sequence[int]) -> int:
        return sum(i in self._control_ids for i in ids)

    def _render(self, text: str, answer: str | None = None) -> str:
        messages = [{"role": "user", "content": text}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        rendered: str = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.template,
            tokenize=False,
            add_generation_prompt=answer is None,
            strftime_now=_FIXED_DAY.strftime,
        )
        return rendered

    def _slot(self, render: Callable[[str], str], what: str) -> _Slot:
        try:
            parts = render(_SENTINEL).split(_SENTINEL)
        except Exception as error:  # a template can raise anything
            raise UserError(
                f"the student's {what} cannot be rendered: {error}; mend the Jinja file it comes from"
            ) from error
        if len(parts) != 2:
            raise UserError(
                f"the student's {what} writes its text {len(parts) - 1} times; it must write it exactly once"
            )
        head, tail = parts
        return _Slot(render, head, tail, self._encode(head), self._encode(tail))

    def _find_end_of_turn(self) -> int:
        """The first control token after an answer; EOS where the template closes the turn with plain text or cannot."""
        eos: int = self.tokenizer.eos_token_id
        try:
            after = self._render("a", answer=_SENTINEL).rpartition(_SENTINEL)[2]
        except Exception:  # a template for prompts only
            return eos
        return next((i for i in self._encode(after) if i in self._control_ids), eos)


def _writes(template: str, token: str) -> bool:
    """Whether a template spells this token as structure. Added tokens of blanks or of a word are none."""
    return bool(token.strip()) and not token.isalnum() and token in template


def _compile_reverse_prompt(text: str) -> Callable[[str], str]:
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        template = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(text)
    except TemplateError as error:
        raise UserError(
            f"the student's reverse prompt is not a Jinja template: {error}; mend the file it comes from"
        ) from error
    return lambda answer: template.render(answer=answer)
