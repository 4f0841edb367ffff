"""Which rows make which optimizer step, known before the first one: a pure function of lengths, settings and seed.

    rows of 3, 9, 2 and 8 tokens, batch_size 2, device_batch_size 1, two epochs:

    step 1   [2] [0]         step 3   [1] [2]        each bracket is a forward pass,
    step 2   [1] [3]         step 4   [3] [0]        each number a row

Every epoch goes through all rows once, in an order that the seed and the number of the epoch decide; its last step may
be smaller. A budget goes round as often as needed and ends within a step where it has to. With packing a step has the
same rows, only that they lie in packs of at most `max_length` tokens (best fit, longest first), and a pass takes
several packs. So whatever way rows fall into passes, the steps, their losses and the schedule stay the same.

Several processes share the passes of a step: `of_process`.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from models_py.training.settings import Budget, TrainingSettings

T = TypeVar("T")
Pass = tuple[int, ...]  # the rows of one forward pass


@dataclass(frozen=True, slots=True)
class Step:
    """The forward passes of an optimizer step. epoch: how often all rows have been gone through at its end."""

    passes: tuple[Pass, ...]
    epoch: float

    @property
    def rows(self) -> list[int]:
        """Its rows, in the order of its passes."""
        return [row for rows in self.passes for row in rows]

    def of_process(self, rank: int, processes: int) -> list[Pass]:
        """The passes of one of the processes. All have equally many: an empty one stands for what a process lacks."""
        rounds = math.ceil(len(self.passes) / processes)
        own = list(self.passes[rank::processes])
        return own + [()] * (rounds - len(own))


def planned(lengths: Sequence[int], targets: Sequence[int], settings: TrainingSettings) -> list[Step]:
    """All steps of a training. lengths, targets: tokens of each row, and how many of them the loss counts.

    Raises ValueError where there is no row, or none with a target while the budget counts these.
    """
    if not lengths or not any(targets):
        raise ValueError("there is nothing to train on")
    left = _Left.of(settings.budget or Budget(steps=_steps(len(lengths), settings)))
    steps: list[Step] = []
    for epoch, start, batch in _batches(len(lengths), settings):
        rows = left.take(batch, targets)
        steps.append(Step(tuple(_passes(rows, lengths, settings)), epoch + (start + len(rows)) / len(lengths)))
        if left.is_nothing:
            break
    return steps


def spent(steps: Sequence[Step], lengths: Sequence[int], targets: Sequence[int]) -> dict[str, int]:
    """What a training sees, a row counted as often as it is gone through."""
    rows = [row for step in steps for row in step.rows]
    return {
        "rows_seen": len(rows),
        "target_tokens_seen": sum(targets[row] for row in rows),
        "tokens_seen": sum(lengths[row] for row in rows),
    }


def best_fit(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of `lengths` in packs of at most `limit` tokens, every index once; what is longer lies alone.

    Longest first, each into the fullest pack that has room: best fit decreasing, never more than 11/9 of the fewest
    packs there can be, and one.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens free, pack), sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect.bisect_left(room, (lengths[index], 0))
        if at < len(room):
            free, pack = room.pop(at)
            packs[pack].append(index)
        else:
            free, pack = limit, len(packs)
            packs.append([index])
        bisect.insort(room, (free - lengths[index], pack))
    return packs


def utilisation(steps: Sequence[Step], lengths: Sequence[int], limit: int) -> float:
    """Tokens over the room of the packs that were made: 1 is full packs only."""
    packs = [pack for step in steps for pack in best_fit([lengths[row] for row in step.rows], limit)]
    return sum(lengths[row] for step in steps for row in step.rows) / (len(packs) * limit)


@dataclass(slots=True)
class _Left:
    """What is left of a budget."""

    steps: float
    rows: float
    target_tokens: float

    @classmethod
    def of(cls, budget: Budget) -> Self:
        limits = (budget.steps, budget.rows, budget.target_tokens)
        return cls(*(math.inf if limit is None else limit for limit in limits))

    @property
    def is_nothing(self) -> bool:
        return min(self.steps, self.rows, self.target_tokens) <= 0

    def take(self, rows: Sequence[int], targets: Sequence[int]) -> list[int]:
        """The rows of one more step that can be afforded: at least one while something is left."""
        taken: list[int] = []
        for row in rows:
            if self.is_nothing:
                break
            taken.append(row)
            self.rows -= 1
            self.target_tokens -= targets[row]
        self.steps -= 1
        return taken


def _steps(rows: int, settings: TrainingSettings) -> int:
    """How many steps a training without a budget takes."""
    return settings.max_steps or math.ceil(settings.epochs * math.ceil(rows / settings.batch_size))


def _batches(rows: int, settings: TrainingSettings) -> Iterator[tuple[int, int, list[int]]]:
    """For ever: an epoch from 0, where in it a step begins, the rows of the step."""
    for epoch in itertools.count():
        order = _order(rows, settings.seed + epoch)
        for start in range(0, rows, settings.batch_size):
            yield epoch, start, order[start : start + settings.batch_size]


def _order(rows: int, seed: int) -> list[int]:
    import torch

    order: list[int] = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def _passes(rows: Sequence[int], lengths: Sequence[int], settings: TrainingSettings) -> Iterator[Pass]:
    if not settings.packing:
        yield from _grouped(rows, settings.rows_a_pass)
        return
    packs = best_fit([lengths[row] for row in rows], settings.max_length)
    for group in _grouped(packs, settings.device_batch_size):
        yield tuple(rows[place] for pack in group for place in pack)


def _grouped(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    return (tuple(items[start : start + size]) for start in range(0, len(items), size))
