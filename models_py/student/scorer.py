"""Negative log-likelihoods of answers and instructions, with and without what they are conditioned on.

One row of what comes out (nats summed over target tokens, None where a term failed or was not asked):

    ScoreRow(content_id="9f..", answer_nll=41.2, answer_nll_given_instruction=35.9, answer_tokens=12,
             instruction_nll=30.1, instruction_nll_given_answer=22.4, instruction_tokens=9,
             truncated=False, status="ok", reason=None)

Rows stream through in chunks; while the model scores one chunk, a thread tokenizes the next. The distinct sequences
of a chunk run longest first in batches of a token budget, on the path that engine.py has checked for the model.
Perplexities and ratios are derived in SQL, not here. It writes nothing and knows no store.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import torch

from models_py.conversation import NO_CONTEXT, Context
from models_py.progress import OnProgress, Progress, silent
from models_py.student.batching import chunks, distinct
from models_py.student.chat import Failure, FailureStatus, StudentChat, TermSequences
from models_py.student.engine import Engine, is_out_of_memory
from models_py.student.nll import TargetSequence

ScoreStatus = FailureStatus | Literal["ok", "not_finite", "out_of_memory"]

_TOKEN_BUDGET = {"cuda": 16_384, "cpu": 2_048}
_SMALL_MODEL, _SMALL_MODEL_BUDGET = 2e9, 32_768  # parameters; on CUDA a small model wants more tokens at once


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A pair to score and which of its terms are wanted. alone: each text by itself too, for its ratio."""

    content_id: str
    instruction: str
    input: str
    output: str
    answer_terms: bool = True
    instruction_terms: bool = True
    context: Context = NO_CONTEXT
    alone: bool = True


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The terms of one pair: NLLs in nats, summed over `*_tokens` target tokens.

    status: ok when every term asked for is there, else what stopped the first that is not; `reason` names each.
    history_truncated: the answer was read after the newest turns only that stand before it.
    """

    content_id: str
    answer_nll: float | None
    answer_nll_given_instruction: float | None
    answer_tokens: int | None
    instruction_nll: float | None
    instruction_nll_given_answer: float | None
    instruction_tokens: int | None
    truncated: bool
    status: ScoreStatus
    reason: str | None
    history_truncated: bool = False


class Scorer:
    """A causal language model as a function from pairs to score rows.

    model: a transformers causal language model. token_budget: tokens a batch; None takes 2,048 on a CPU and 16,384 on
    CUDA, 32,768 for models below 2e9 parameters. It is halved, for good, whenever memory runs out. chunk_rows: rows
    read ahead of what is yielded (two chunks are in memory). fast, compile, share_heads: see engine.py.
    """

    def __init__(
        self,
        model: Any,
        chat: StudentChat,
        *,
        token_budget: int | None = None,
        chunk_rows: int = 512,
        fast: bool = True,
        compile: bool | None = None,
        share_heads: bool = True,
    ) -> None:
        self.model = model.eval()
        self.chat = chat
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.token_budget = token_budget or _default_budget(model.device.type, self.parameters)
        self.chunk_rows = chunk_rows
        self.engine = Engine(model, fast, compile, share_heads)
        self.tokens_scored = 0  # read by the model so far, prompts included, equal sequences of a chunk once

    @property
    def path(self) -> str:
        """How batches are computed: see `Engine.path`."""
        return self.engine.path

    @property
    def paths_left(self) -> list[str]:
        """A sentence for each faster path that this model does not take, with the reason."""
        return self.engine.left

    def score(
        self, requests: Iterable[ScoreRequest], on_progress: OnProgress = silent, total: int | None = None
    ) -> Iterator[ScoreRow]:
        """A row for each request, in their order, as soon as its chunk is computed.

        total: rows expected, for progress; taken from `requests` where it has a length, else unknown.
        """
        if total is None:
            total = len(requests) if isinstance(requests, Sized) else None
        done, rate = 0, _Rate(self)
        for plans in self._planned(requests):
            wanted = [sequence for plan in plans for sequence in plan.sequences()]
            unique, places = distinct(wanted)

            def report(share: float, done: int = done, rows: int = len(plans)) -> None:
                so_far = done + share * rows
                on_progress(Progress(int(so_far), total, "rows", so_far / total if total else None, rate.note(so_far)))

            ahead = max((total or 0) - done, len(plans)) / len(plans) * sum(sequence.inputs for sequence in unique)
            self.engine.prepare(unique, flops=2.0 * self.parameters * ahead)
            nlls = self.sequence_nlls(unique, report)
            row_nlls = iter([nlls[place] for place in places])
            for plan in plans:
                yield plan.row(row_nlls)
            done += len(plans)
            on_progress(Progress(done, total, "rows", note=rate.note(done)))

    def _planned(self, requests: Iterable[ScoreRequest]) -> Iterator[list["_Plan"]]:
        """The requests of each chunk with their sequences; the next chunk is tokenized beside the caller's work.

        Requests are taken in the caller's thread: what they come from need not know of threads.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as tokenizer:
            ahead = None
            for chunk in chunks(requests, self.chunk_rows):
                ready, ahead = ahead, tokenizer.submit(_Plan.make_all, chunk, self.chat)
                if ready is not None:
                    yield ready.result()
            if ahead is not None:
                yield ahead.result()

    def sequence_nlls(self, sequences: Sequence[TargetSequence], on_share: Any = None) -> list[float | None]:
        """The NLL of each sequence's target, in nats: NaN or infinite as computed, None where memory ran out.

        on_share: called after each batch with the share of tokens done, 0 to 1.
        """
        nlls: list[float | None] = [None] * len(sequences)
        all_tokens = sum(sequence.inputs for sequence in sequences)
        done_tokens = 0
        waiting = self._plan(sequences, range(len(sequences)))
        while waiting:
            batch = waiting.pop(0)
            values = self._try_batch([sequences[i] for i in batch])
            if values is None and len(batch) > 1:
                self.token_budget = max(1, self.token_budget // 2)
                waiting = self._plan(sequences, [i for b in [batch, *waiting] for i in b])
                continue
            for i, value in zip(batch, values or [None] * len(batch), strict=True):
                nlls[i] = value
                done_tokens += sequences[i].inputs
                self.tokens_scored += sequences[i].inputs
            if on_share:
                on_share(done_tokens / all_tokens)
        assert done_tokens == all_tokens, "a sequence was scored twice or not at all"
        return nlls

    def _plan(self, sequences: Sequence[TargetSequence], indices: Sequence[int]) -> list[list[int]]:
        plan = self.engine.plan([sequences[i] for i in indices], self.token_budget)
        return [[indices[place] for place in batch] for batch in plan]

    def _try_batch(self, batch: Sequence[TargetSequence]) -> list[float | None] | None:
        """NLLs of one batch, or None when it does not fit into memory."""
        try:
            return list(self.engine.nlls(batch))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _default_budget(device: str, parameters: int) -> int:
    if device == "cuda" and parameters < _SMALL_MODEL:
        return _SMALL_MODEL_BUDGET
    return _TOKEN_BUDGET.get(device, _TOKEN_BUDGET["cpu"])


class _Rate:
    """Tokens and rows a second since scoring began, in words."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._tokens = scorer.tokens_scored
        self._since = time.monotonic()

    def note(self, rows: float) -> str:
        seconds = max(time.monotonic() - self._since, 1e-9)
        tokens = (self._scorer.tokens_scored - self._tokens) / seconds
        return f"{tokens:,.0f} tokens/s, {rows / seconds:,.1f} rows/s, {self._scorer.engine.path}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request and the sequences of its two sides: None where not asked, a Failure where there are none."""

    request: ScoreRequest
    answer: TermSequences | Failure | None
    instruction: TermSequences | Failure | None

    @classmethod
    def make_all(cls, requests: Sequence[ScoreRequest], chat: StudentChat) -> list["_Plan"]:
        answers = [(r.instruction, r.input, r.output, r.context) for r in requests if r.answer_terms]
        instructions = [(r.instruction, r.input, r.output) for r in requests if r.instruction_terms]
        with chat.reading_ahead(answers, instructions):
            return [cls.make(request, chat) for request in requests]

    @classmethod
    def make(cls, request: ScoreRequest, chat: StudentChat) -> "_Plan":
        pair = (request.instruction, request.input, request.output)
        return cls(
            request,
            chat.answer_sequences(*pair, request.context) if request.answer_terms else None,
            chat.instruction_sequences(*pair) if request.instruction_terms else None,
        )

    def sequences(self) -> Iterator[TargetSequence]:
        for side in (self.answer, self.instruction):
            if isinstance(side, TermSequences):
                if self.request.alone:
                    yield TargetSequence(tuple(side.alone), side.target_tokens)
                yield TargetSequence(tuple(side.conditioned), side.target_tokens)

    def row(self, nlls: Iterator[float | None]) -> ScoreRow:
        """The score row; takes from `nlls` as many values as `sequences` gave sequences, in the same order."""
        problems: list[tuple[ScoreStatus, str]] = []

        def terms(side: TermSequences | Failure | None, names: tuple[str, str]) -> list[float | None]:
            wanted = names if self.request.alone else names[1:]
            if isinstance(side, TermSequences):
                found = {name: _checked(name, next(nlls), problems) for name in wanted}
                return [found.get(name) for name in names]
            if isinstance(side, Failure):
                problems.append((side.status, f"{' and '.join(wanted)}: {side.reason}"))
            return [None, None]

        answer = terms(self.answer, ("answer_nll", "answer_nll_given_instruction"))
        instruction = terms(self.instruction, ("instruction_nll", "instruction_nll_given_answer"))
        sides = [side for side in (self.answer, self.instruction) if isinstance(side, TermSequences)]
        return ScoreRow(
            content_id=self.request.content_id,
            answer_nll=answer[0],
            answer_nll_given_instruction=answer[1],
            answer_tokens=self.answer.target_tokens if isinstance(self.answer, TermSequences) else None,
            instruction_nll=instruction[0],
            instruction_nll_given_answer=instruction[1],
            instruction_tokens=self.instruction.target_tokens if isinstance(self.instruction, TermSequences) else None,
            truncated=any(side.truncated for side in sides),
            history_truncated=any(side.history_truncated for side in sides),
            status=problems[0][0] if problems else "ok",
            reason="; ".join(reason for _, reason in problems) or None,
        )


def _checked(name: str, nll: float | None, problems: list[tuple[ScoreStatus, str]]) -> float | None:
    if nll is None:
        problems.append(("out_of_memory", f"{name}: the sequence does not fit into memory"))
        return None
    if not math.isfinite(nll):
        problems.append(("not_finite", f"{name}: the model computed {nll}"))
        return None
    return nll
