"""Negative log-likelihoods of answers and instructions, with and without what they are conditioned on.

One row of what comes out (nats summed over target tokens, None where a term failed or was not asked):

    ScoreRow(content_id="9f..", answer_nll=41.2, answer_nll_given_instruction=35.9, answer_tokens=12,
             instruction_nll=30.1, instruction_nll_given_answer=22.4, instruction_tokens=9,
             truncated=False, status="ok", reason=None)

Rows stream through in chunks; the distinct sequences of a chunk are sorted longest first and run in right-padded
batches of a token budget, padding counted. A causal model never looks right, so padding needs no mask:

    sequence     p p p p t t t
    inputs       p p p p t t _ _     the last token is never an input, so the last `target_tokens`
    scored             ^ ^ ^         inputs predict exactly the target

Only the scored positions go through the output layer, and their cross entropy is at least float32 whatever the
model's dtype. Perplexities and ratios are derived in SQL, not here. It writes nothing and knows no store.
"""

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from models_py.progress import OnProgress, Progress, silent
from models_py.student.batching import chunks, distinct, plan_batches
from models_py.student.chat import Failure, StudentChat, TermSequences

ScoreStatus = Literal["ok", "empty_answer", "empty_instruction", "prompt_too_long", "not_finite", "out_of_memory"]

_TOKEN_BUDGET = {"cuda": 16_384, "cpu": 2_048}
_TILE_ROWS = 512  # rows of logits held in float32 at once


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A pair to score and which of its terms are wanted."""

    content_id: str
    instruction: str
    input: str
    output: str
    answer_terms: bool = True
    instruction_terms: bool = True


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The terms of one pair: NLLs in nats, summed over `*_tokens` target tokens.

    status: ok when every term asked for is there, else what stopped the first that is not; `reason` names each.
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


@dataclass(frozen=True, slots=True)
class TargetSequence:
    """Token ids of which the last `target_tokens` are scored."""

    ids: tuple[int, ...]
    target_tokens: int


class Scorer:
    """A causal language model as a function from pairs to score rows.

    model: a transformers causal language model. token_budget: padded tokens a batch; None takes 16,384 on CUDA and
    2,048 on a CPU. It is halved, for good, whenever memory runs out. chunk_rows: rows read ahead of what is yielded.
    """

    def __init__(self, model: Any, chat: StudentChat, token_budget: int | None = None, chunk_rows: int = 512) -> None:
        self.model = model.eval()
        self.chat = chat
        self.token_budget = token_budget or _TOKEN_BUDGET.get(model.device.type, _TOKEN_BUDGET["cpu"])
        self.chunk_rows = chunk_rows

    def score(
        self, requests: Iterable[ScoreRequest], on_progress: OnProgress = silent, total: int | None = None
    ) -> Iterator[ScoreRow]:
        """A row for each request, in their order, as soon as its chunk is computed.

        total: rows expected, for progress; taken from `requests` where it has a length.
        """
        if total is None:
            total = len(requests) if isinstance(requests, Sized) else 0
        done = 0
        for chunk in chunks(requests, self.chunk_rows):
            plans = [_Plan.make(request, self.chat) for request in chunk]
            wanted = [sequence for plan in plans for sequence in plan.sequences()]
            unique, places = distinct(wanted)

            def report(share: float, done: int = done, rows: int = len(chunk)) -> None:
                so_far = done + share * rows
                on_progress(Progress(int(so_far), total, "rows", so_far / total if total else None))

            nlls = self.sequence_nlls(unique, report)
            row_nlls = iter([nlls[place] for place in places])
            for plan in plans:
                yield plan.row(row_nlls)
            done += len(chunk)
            on_progress(Progress(done, total, "rows"))

    def sequence_nlls(self, sequences: Sequence[TargetSequence], on_share: Any = None) -> list[float | None]:
        """The NLL of each sequence's target, in nats: NaN or infinite as computed, None where memory ran out.

        on_share: called after each batch with the share of tokens done, 0 to 1.
        """
        nlls: list[float | None] = [None] * len(sequences)
        all_tokens = sum(len(sequence.ids) for sequence in sequences)
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
                done_tokens += len(sequences[i].ids)
            if on_share:
                on_share(done_tokens / all_tokens)
        assert done_tokens == all_tokens, "a sequence was scored twice or not at all"
        return nlls

    def _plan(self, sequences: Sequence[TargetSequence], indices: Sequence[int]) -> list[list[int]]:
        lengths = [len(sequences[i].ids) for i in indices]
        return [[indices[place] for place in batch] for batch in plan_batches(lengths, self.token_budget)]

    def _try_batch(self, batch: Sequence[TargetSequence]) -> list[float | None] | None:
        """NLLs of one batch, or None when it does not fit into memory."""
        try:
            return list(batch_nlls(self.model, batch))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


@torch.inference_mode()
def batch_nlls(model: Any, batch: Sequence[TargetSequence]) -> list[float]:
    """The NLL in nats of each sequence's target, from one forward pass over the whole batch.

    Raises RuntimeError when memory runs out.
    """
    width = max(len(sequence.ids) for sequence in batch) - 1
    padded = [[*s.ids[:-1], *[0] * (width - len(s.ids) + 1)] for s in batch]
    inputs = torch.tensor(padded, device=model.device)  # (B, T)
    scored: list[int] = []  # (N,) positions in the flattened (B * T)
    for row, s in enumerate(batch):
        end = row * width + len(s.ids) - 1
        scored += range(end - s.target_tokens, end)
    positions = torch.tensor(scored, device=model.device)
    targets = torch.tensor([i for s in batch for i in s.ids[-s.target_tokens :]], device=model.device)  # (N,)

    with _only_positions(model, positions):
        logits = model(input_ids=inputs, use_cache=False).logits  # (1, N, V)
    precise = torch.promote_types(logits.dtype, torch.float32)
    losses = [
        torch.nn.functional.cross_entropy(rows.to(precise), wanted, reduction="none")
        for rows, wanted in zip(logits[0].split(_TILE_ROWS), targets.split(_TILE_ROWS), strict=True)
    ]
    per_token = torch.cat(losses).double().cpu()  # (N,) one copy to the host a batch
    return [part.sum().item() for part in per_token.split([s.target_tokens for s in batch])]


@contextmanager
def _only_positions(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Let only some of the (B * T) hidden states reach the output layer; what the model does after it stays.

    Taking the layer out of the model and calling it would lose the soft caps and scales that some models apply.
    """

    def pick(_module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]  # (B, T, H)
        return (hidden.flatten(0, 1)[positions].unsqueeze(0), *args[1:])  # (1, N, H)

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request and the sequences of its two sides: None where not asked, a Failure where there are none."""

    request: ScoreRequest
    answer: TermSequences | Failure | None
    instruction: TermSequences | Failure | None

    @classmethod
    def make(cls, request: ScoreRequest, chat: StudentChat) -> "_Plan":
        pair = (request.instruction, request.input, request.output)
        return cls(
            request,
            chat.answer_sequences(*pair) if request.answer_terms else None,
            chat.instruction_sequences(*pair) if request.instruction_terms else None,
        )

    def sequences(self) -> Iterator[TargetSequence]:
        for side in (self.answer, self.instruction):
            if isinstance(side, TermSequences):
                yield TargetSequence(tuple(side.alone), side.target_tokens)
                yield TargetSequence(tuple(side.conditioned), side.target_tokens)

    def row(self, nlls: Iterator[float | None]) -> ScoreRow:
        """The score row; takes from `nlls` as many values as `sequences` gave sequences, in the same order."""
        problems: list[tuple[ScoreStatus, str]] = []

        def terms(side: TermSequences | Failure | None, names: tuple[str, str]) -> list[float | None]:
            if isinstance(side, TermSequences):
                return [_checked(name, next(nlls), problems) for name in names]
            if isinstance(side, Failure):
                problems.append((side.status, f"{' and '.join(names)}: {side.reason}"))
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
