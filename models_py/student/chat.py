"""The one place that turns text into token ids; scoring, training, judging and serving all come here.

One row of the tokenization contract, for a student whose template writes `<|user|>...<|end|><|assistant|>`:

    prompt ids    <s> <|user|> Name a colour . <|end|> <|assistant|>
    target ids    Blue .
    alone         <s> Blue .                        # start id = BOS, else EOS
    conditioned   <s> <|user|> ... <|assistant|> Blue .
    training      <s> <|user|> ... <|assistant|> Blue . <|end|>     completion mask 0 0 ... 0 1 1 1

- Prompt ids are the rendered template tokenized whole, as a server does it. It ends where the template itself would
  write an answer (template.py), and that is the generation prompt of `StudentChat.template`.
- Text of special tokens inside data never becomes a control token. A control token is one that the tokenizer flags
  as special or that the chat template writes; where data spells one, the data is tokenized apart and taken literally.
- An answer is text as it stands. Only of the thinking block that it may begin with are the marks tokens, where the
  template knows them, and it stands where and as the template writes it. A template that leaves out a part of an answer
  fails the row, as does one that raises.
- BOS: a template decides. Where it writes none although the tokenizer starts every text with one, BOS is put in front
  of the template itself (`StudentChat.template`), so that what is saved with a checkpoint serves the same ids.
- `max_length` counts the end-of-turn token, so a scored sequence plus that token is a training example. What is too
  long loses the oldest turns before it first, then the answer's tail.

It does not score and does not pad. Source: section 3 of arXiv 2402.10110 for what is conditioned on what.
"""

import itertools
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from models_py.conversation import NO_CONTEXT, Context
from models_py.errors import UserError
from models_py.student.batching import common_head
from models_py.student.slots import PLAIN, Shape, Slot
from models_py.student.spec import DEFAULT_REVERSE_PROMPT
from models_py.student.template import (
    SENTINEL,
    THINKING_MARK,
    Unrenderable,
    answer_template,
    compile_reverse_prompt,
    holes,
    instruction_text,
)

FailureStatus = Literal["empty_answer", "empty_instruction", "prompt_too_long", "template_error", "answer_cut"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no sequences."""

    status: FailureStatus
    reason: str


@dataclass(frozen=True, slots=True)
class TermSequences:
    """The two sequences of a ratio. The last `target_tokens` ids of both are the same target.

    truncated: the target lost its tail, or the answer shown in the reverse prompt did. history_truncated: the oldest
    turns before it are left out, so that the answer stays whole.
    """

    alone: list[int]  # (1 + target_tokens,)
    conditioned: list[int]  # (prompt + target_tokens,)
    target_tokens: int
    truncated: bool
    history_truncated: bool = False


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A row as the trainer takes it: `completion_mask` is 1 on the target and on the end-of-turn token after it.

    thinks: the answer has a thinking block where the template's answers have none, so it follows another prompt.
    With `all_answers` the mask is 1 on the answers of the history too, each with its end of turn.
    """

    input_ids: list[int]
    completion_mask: list[int]
    truncated: bool
    thinks: bool
    history_truncated: bool = False


@dataclass(frozen=True, slots=True)
class _Exchange:
    """An answer's prompt and the answer, as ids. context: as much of it as is shown."""

    prompt: list[int]
    target: list[int]
    context: Context
    history_truncated: bool


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
        self._rendered: dict[tuple[str, tuple[str, ...]], str] = {}
        self._encoded: dict[tuple[str, bool], list[int]] = {}
        spaces_texts = "".join(tokenizer.convert_ids_to_tokens(self._encode("a", literal=True))).startswith(("▁", "Ġ"))
        self._template = answer_template(template, tokenizer.special_tokens_map, spaces_texts=spaces_texts)
        if self._adds_bos() and tokenizer.bos_token not in self._template.prompt(SENTINEL).split(SENTINEL)[0]:
            self._template = self._template.starting_with_bos()
        self.template = self._template.text
        # A template that takes the input apart has a second prompt, with two holes. Others have more: they come as
        # conversations do.
        shapes = [PLAIN, Shape(apart=True)] if self._template.parts else [PLAIN]
        self._prompts: dict[Shape, Slot | Unrenderable] = {shape: self._prompt_of(shape) for shape in shapes}
        self.start_id: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

        added = tokenizer.added_tokens_decoder
        control = {i for i, token in added.items() if token.special or _writes(template, token.content)}
        control |= set(tokenizer.all_special_ids)
        texts = sorted(tokenizer.convert_ids_to_tokens(sorted(control)), key=len, reverse=True)
        self._control_text = re.compile("|".join(map(re.escape, texts)))
        # The unknown token also stands for characters without a token of their own: no sign of control text.
        self._control_ids: frozenset[int] = frozenset(control - {tokenizer.unk_token_id})

        reverse = DEFAULT_REVERSE_PROMPT.read_text("utf-8") if reverse_prompt is None else reverse_prompt
        ask = compile_reverse_prompt(reverse)
        self._reverse = self._slot("reverse prompt", lambda answer: self._template.prompt(ask(answer)))
        # The first control token after an answer; EOS where the template closes the turn with plain text, or never.
        after = self._encode(self._template.rest or "")
        self.end_of_turn_id: int = next((i for i in after if i in self._control_ids), tokenizer.eos_token_id)

    @property
    def own_template(self) -> str:
        """The template that asks as the student's own does: for thoughts, where that opens a thinking block."""
        return self._template.own

    @property
    def unwritten_ids(self) -> frozenset[int]:
        """Ids of control tokens that occur in no sequence: no prompt has them, and no text is read as them."""
        slots = [slot for slot in [*self._prompts.values(), self._reverse] if isinstance(slot, Slot)]
        written = {i for slot in slots for piece in slot.piece_ids for i in piece}
        thinking = {i for i in self._control_ids if THINKING_MARK.fullmatch(self.tokenizer.convert_ids_to_tokens(i))}
        return self._control_ids - written - thinking - {self.start_id, self.end_of_turn_id}

    # ---- texts to ids

    def prompt_ids(self, instruction: str, input: str, context: Context = NO_CONTEXT) -> list[int]:
        """Ids of the chat prompt of an instruction, up to where the answer starts. Raises Unrenderable."""
        return self._fill(*self._asking(instruction, input, context))

    def reverse_prompt_ids(self, output: str) -> list[int]:
        """Ids of the chat prompt that shows an answer and asks for its instruction. Raises Unrenderable."""
        return self._fill(self._reverse, (output,))

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
        self, answers: Iterable[tuple[str, str, str, Context]], instructions: Iterable[tuple[str, str, str]]
    ) -> Iterator[None]:
        """Tokenize all that `answer_sequences` and `instruction_sequences` of these rows will ask for, in two calls.

        Within it their results come from there; they are the same, several times sooner. Not for several threads.
        """
        plain: list[str] = []
        literal: list[str] = []
        try:
            for instruction, input, output, context in answers:
                with suppress(Unrenderable):  # told when the row is asked for
                    plain.append(self._render_once(*self._asking(instruction, input, context)))
                literal.append(output)
            for instruction, input, output in instructions:
                with suppress(Unrenderable):
                    plain.append(self._render_once(self._reverse, (output,)))
                literal.append(instruction_text(instruction, input))
            for texts, is_literal in ((plain, False), (literal, True)):
                unique = list(dict.fromkeys(texts))
                ids = self._encode_all(unique, is_literal) if unique else []
                self._encoded.update(zip(((text, is_literal) for text in unique), ids, strict=True))
            yield
        finally:
            self._rendered.clear()
            self._encoded.clear()

    # ---- rows to sequences

    def answer_sequences(
        self, instruction: str, input: str, output: str, context: Context = NO_CONTEXT
    ) -> TermSequences | Failure:
        """The answer alone and after its instruction; a long answer loses its tail in both alike.

        Where it does not fit, the oldest turns of the history go first, as few as possible.
        """
        exchange = self._exchange(instruction, input, output, context)
        return exchange if isinstance(exchange, Failure) else self._answer_terms(exchange)

    def instruction_sequences(self, instruction: str, input: str, output: str) -> TermSequences | Failure:
        """The instruction alone and after the reverse prompt; a long answer is shown only as far as it fits."""
        if failure := self._empty(instruction, input, output):
            return failure
        target = self.target_ids(instruction_text(instruction, input))
        if not target:
            return Failure("empty_instruction", "the instruction has no tokens")
        try:
            prompt = self.reverse_prompt_ids(output)
        except Unrenderable as error:
            return _template_error(error)
        if self._room(len(prompt)) >= len(target):
            return self._sequences(prompt, target, truncated=False)
        head, tail = self._reverse.piece_ids
        shown = self._room(len(head) + len(tail) + len(target))
        if shown < 1:
            return Failure(
                "prompt_too_long",
                f"the instruction takes {len(target)} and the reverse prompt {len(head) + len(tail)} tokens of "
                f"max_length {self.max_length}: no room to show an answer",
            )
        return self._sequences([*head, *self.target_ids(output)[:shown], *tail], target, truncated=True)

    def training_example(
        self,
        instruction: str,
        input: str,
        output: str,
        context: Context = NO_CONTEXT,
        *,
        all_answers: bool = False,
    ) -> TrainingExample | Failure:
        """The scored sequence of the answer plus the end-of-turn token, with its completion mask.

        all_answers: the answers of the history count too, as far as it is shown. Raises UserError where the tokenizer
        does not tell which characters a token stands for.
        """
        exchange = self._exchange(instruction, input, output, context)
        sequences = exchange if isinstance(exchange, Failure) else self._answer_terms(exchange)
        if isinstance(exchange, Failure) or isinstance(sequences, Failure):
            return sequences if isinstance(sequences, Failure) else exchange  # type: ignore[return-value]
        prompt_tokens = len(sequences.conditioned) - sequences.target_tokens
        mask = self._history_mask(instruction, input, exchange) if all_answers else [0] * prompt_tokens
        return TrainingExample(
            input_ids=[*sequences.conditioned, self.end_of_turn_id],
            completion_mask=[*mask, *[1] * (sequences.target_tokens + 1)],
            truncated=sequences.truncated,
            thinks=exchange.prompt != self.prompt_ids(instruction, input, exchange.context),
            history_truncated=sequences.history_truncated,
        )

    # ---- inside

    def _room(self, taken: int) -> int:
        return self.max_length - taken - 1  # one for the end of turn

    def _sequences(self, prompt: list[int], target: list[int], truncated: bool) -> TermSequences:
        return TermSequences([self.start_id, *target], [*prompt, *target], len(target), truncated)

    def _empty(self, instruction: str, input: str, output: str) -> Failure | None:
        if not output.strip():
            return Failure("empty_answer", "the answer is empty")
        if not instruction_text(instruction, input).strip():
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

    def _asking(self, instruction: str, input: str, context: Context) -> tuple[Slot, tuple[str, ...]]:
        """The prompt of an instruction and the texts for its holes. Raises Unrenderable."""
        apart = self._template.parts and bool(input.strip())
        shape = Shape(bool(context.system), tuple(turn.role for turn in context.history), apart)
        if shape not in self._prompts:
            try:
                self._prompts[shape] = self._prompt_of(shape)
            except UserError as error:
                self._prompts[shape] = Unrenderable(f"{error}; this conversation needs {shape.needs}")
        slot = self._prompts[shape]
        if isinstance(slot, Unrenderable):
            raise slot
        before = (message["content"] for message in context.messages())
        if apart:
            return slot, (*before, instruction, input)
        return slot, (*before, instruction if self._template.parts else instruction_text(instruction, input))

    def _prompt_of(self, shape: Shape) -> Slot:
        """The prompt of all instructions of that shape. Raises UserError where the template cannot show them all."""

        def render(*texts: str) -> str:
            context, instruction, input = shape.split(texts)
            return self._template.prompt(instruction, input, context)

        return self._slot("chat template", render, shape.holes, shape)

    def _exchange(self, instruction: str, input: str, output: str, context: Context) -> _Exchange | Failure:
        """An answer after what stands before it: the newest turns of the history that leave it whole, if any do."""
        if failure := self._empty(instruction, input, output):
            return failure
        # Where a history may begin: with something that the user says. The last is none at all.
        turns = context.history
        starts = [0, *(at for at in range(1, len(turns)) if turns[at].role == "user"), len(turns)]

        def after(start: int) -> _Exchange | Failure:
            shown = replace(context, history=turns[start:]) if start else context
            try:
                placed = self._placed(instruction, input, output, shown)
            except Unrenderable as error:
                return _template_error(error)
            return placed if isinstance(placed, Failure) else _Exchange(*placed, shown, start > 0)

        def is_settled(exchange: _Exchange | Failure) -> bool:
            return isinstance(exchange, Failure) or len(exchange.target) <= self._room(len(exchange.prompt))

        whole = after(0)
        if not turns or is_settled(whole):
            return whole
        return after(starts[bisect_left(starts, True, lo=1, hi=len(starts) - 1, key=lambda at: is_settled(after(at)))])

    def _answer_terms(self, exchange: _Exchange) -> TermSequences | Failure:
        prompt, target = exchange.prompt, exchange.target
        if not target:
            return Failure("empty_answer", "the answer has no tokens")
        room = self._room(len(prompt))
        if room < 1:
            return Failure(
                "prompt_too_long",
                f"the prompt takes {len(prompt)} tokens of max_length {self.max_length}: no room for an answer",
            )
        terms = self._sequences(prompt, target[:room], truncated=len(target) > room)
        return replace(terms, history_truncated=exchange.history_truncated)

    def _history_mask(self, instruction: str, input: str, exchange: _Exchange) -> list[int]:
        """1 on each token of the prompt that an assistant wrote. Raises UserError and Unrenderable.

        What that is a template says with `{% generation %}`; of others it is each answer of the history with what
        closes its turn. What opens the turn of the answer to come never counts: it is no target of the score either.
        """
        context = exchange.context
        if not any(turn.role == "assistant" for turn in context.history):
            return [0] * len(exchange.prompt)
        slot, texts = self._asking(instruction, input, context)
        rendered = slot.render(*texts)
        written = slot.as_written(texts, rendered)
        if self._template.marks_answers:
            spans = self._template.prompt_with_marks(instruction, input, context)[1]
        else:
            spans = [(start, end + self._closing(after)) for start, end, after in slot.answers(written)]
        places = self._places(slot, texts, written, rendered)
        mask = [int(any(start < end_at and end > start_at for start_at, end_at in spans)) for start, end in places]
        # Only what stands behind the last hole may differ, where an answer brings its own thinking block.
        shared = len(exchange.prompt)
        return [*mask[:shared], *[0] * (shared - len(mask))]

    def _closing(self, after: str) -> int:
        """How many characters of what follows an answer close its turn: as at the end, or to the first control token.

        Some templates close the last turn in another way than those before it.
        """
        ids, rest = self._encode(after), self._encode(self._template.rest or "")
        alike = common_head([tuple(ids), tuple(rest)])
        control = next((n for n, i in enumerate(ids) if i in self._control_ids), None)
        ends = [end for _, end in self._offsets(after)]
        if control is not None and not after[: ends[control - 1] if control else 0].strip():
            alike = max(alike, control + 1)
        return ends[alike - 1] if alike else 0

    def _places(self, slot: Slot, texts: Sequence[str], written: Sequence[str], rendered: str) -> list[tuple[int, int]]:
        """Of each token of a prompt, as `_fill_rendered` makes them, which characters it stands for."""
        if not self.tokenizer.is_fast:
            raise UserError(
                "training.loss_on: all_answers needs to know where in a text each token stands, which the student's "
                "tokenizer, a slow one, does not tell; use last_answer"
            )
        if self._is_read_whole(slot, texts, self._encode(rendered)):
            return self._offsets(rendered)
        places: list[tuple[int, int]] = []
        at = 0
        for number, piece in enumerate(slot.pieces):
            places += [(at + start, at + end) for start, end in self._offsets(piece)]
            at += len(piece)
            if number < len(written):
                text = written[number]
                places += [(at, at + len(text))] * len(self.target_ids(text))
                at += len(text)
        return places

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [(start, end) for start, end in encoded["offset_mapping"]]

    def _placed(
        self, instruction: str, input: str, output: str, context: Context
    ) -> tuple[list[int], list[int]] | Failure:
        """Ids of what stands before an answer and of the answer. Raises Unrenderable."""
        slot, texts = self._asking(instruction, input, context)
        asked = self._rendered.get((slot.name, texts)) or slot.render(*texts)
        if self._template.rest is None:
            return self._fill(slot, texts), self.target_ids(output)
        finished = self._template.finished(instruction, input, output, context)
        if finished.startswith(asked) and finished[len(asked) :].lstrip().startswith(output.strip()):
            return self._fill(slot, texts), self._answer_ids(output)
        return self._as_the_template_writes_it(slot, texts, asked, finished=finished, output=output)

    def _as_the_template_writes_it(
        self, slot: Slot, texts: tuple[str, ...], asked: str, *, finished: str, output: str
    ) -> tuple[list[int], list[int]] | Failure:
        """As `_placed`, for an answer that does not stand word for word behind the prompt: it thinks, as a rule.

        asked: the rendered prompt. finished: the rendered exchange. Blanks may differ, nothing else.
        """
        before_rest = finished.removesuffix(self._template.rest or "")
        written = [match.start() for match in re.finditer(r"\S", before_rest)]
        wanted = "".join(output.split())
        # Where the prompt still is what it is for everybody: up to the text of the template after the last hole.
        common = asked.removesuffix(slot.pieces[-1])
        start = written[-len(wanted)] if len(wanted) <= len(written) else -1
        if start < len(common) or "".join(before_rest[start:].split()) != wanted or not finished.startswith(common):
            what = "its thinking block" if THINKING_MARK.search(output) else "a part"
            return Failure(
                "answer_cut",
                f"the student's chat template does not write the whole answer, it leaves out {what}; name a "
                "chat_template that keeps it, or take it out of the data",
            )
        tail = before_rest[len(common) : start]
        shorter = replace(slot, pieces=[*slot.pieces[:-1], tail], piece_ids=[*slot.piece_ids[:-1], self._encode(tail)])
        return self._fill_rendered(shorter, texts, common + tail), self._answer_ids(before_rest[start:], opened=True)

    def _answer_ids(self, text: str, opened: bool = False) -> list[int]:
        """Ids of an answer: plain text but for the marks of the thinking block it begins with, where they are known.

        opened: whether the mark that opens the block may stand in the prompt.
        """
        block = self._thinking_block(text, opened)
        if not block:
            return self.target_ids(text)
        ends = [0, *(place for mark in block for place in mark.span()), len(text)]
        pieces = [text[start:end] for start, end in itertools.pairwise(ends)]  # texts at even places, marks at odd ones
        ids = self._encode(text)
        of_marks = sum(self._control_count(self._encode(mark)) for mark in pieces[1::2])
        if not any(map(self._control_text.search, pieces[::2])) and self._control_count(ids) == of_marks:
            return ids
        parts = [self._encode(part) if at % 2 else self.target_ids(part) for at, part in enumerate(pieces) if part]
        return [i for part in parts for i in part]

    def _thinking_block(self, text: str, opened: bool) -> list[re.Match[str]]:
        """The marks of the thinking block that a text begins with, where the template knows them."""
        names = self._template.own.replace("/", "")  # whoever knows one end knows the other
        marks = [mark for mark in THINKING_MARK.finditer(text) if mark.group().replace("/", "") in names][:2]
        closing = [any(mark.groups()) for mark in marks]
        if opened and closing[:1] == [True]:
            return marks[:1]
        return marks if closing == [False, True] and not text[: marks[0].start()].strip() else []

    def _render_once(self, slot: Slot, texts: tuple[str, ...]) -> str:
        """What a slot makes of texts; kept until `reading_ahead` ends, for `_fill` asks again."""
        rendered = self._rendered[slot.name, texts] = slot.render(*texts)
        return rendered

    def _fill(self, slot: Slot, texts: tuple[str, ...]) -> list[int]:
        return self._fill_rendered(slot, texts, self._rendered.get((slot.name, texts)) or slot.render(*texts))

    def _fill_rendered(self, slot: Slot, texts: tuple[str, ...], rendered: str) -> list[int]:
        """Ids of a prompt: tokenized whole, unless a text spells a control token."""
        ids = self._encode(rendered)
        if self._is_read_whole(slot, texts, ids):
            return ids
        literal = [self.target_ids(text) for text in slot.as_written(texts, rendered)]
        return [i for piece, text in zip(slot.piece_ids, [*literal, []], strict=True) for i in (*piece, *text)]

    def _is_read_whole(self, slot: Slot, texts: Sequence[str], ids: Sequence[int]) -> bool:
        """Whether no text of a rendered prompt became a control token when it was tokenized whole."""
        # The count catches text that only normalization turns into one.
        own = sum(map(self._control_count, slot.piece_ids))
        return not any(map(self._control_text.search, texts)) and self._control_count(ids) == own

    def _control_count(self, ids: Sequence[int]) -> int:
        return sum(i in self._control_ids for i in ids)

    def _slot(self, what: str, render: Callable[..., str], texts: int = 1, shape: Shape = PLAIN) -> Slot:
        sentinels = [f"{SENTINEL}-{n:05}" for n in range(texts)]  # none begins another
        try:
            rendered = render(*sentinels)
        except Exception as error:  # a template can raise anything
            raise UserError(
                f"the student's {what} cannot be rendered: {error}; mend the Jinja file it comes from"
            ) from error
        pieces = holes(rendered, sentinels, what)
        order = sorted(range(texts), key=lambda n: rendered.index(sentinels[n]))
        return Slot(f"{what} {shape}", render, order, pieces, [self._encode(piece) for piece in pieces], shape)


def _template_error(error: Unrenderable) -> Failure:
    return Failure("template_error", f"the student's chat template cannot be rendered for this text: {error}")


def _writes(template: str, token: str) -> bool:
    """Whether a template spells this token as structure. Added tokens of blanks or of a word are none."""
    return bool(token.strip()) and not token.isalnum() and token in template
