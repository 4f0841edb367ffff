"""Which sequences share a batch: pure functions over lengths and indices, no tensors.

    plan_batches([3, 9, 2, 8], token_budget=20)  ->  [[1, 3], [0, 2]]     padded: 18 and 6 tokens
    plan_packs([3, 9, 2, 8], token_budget=20)    ->  [[1, 3, 0], [2]]     packed: 20 and 2 tokens
    by_head([(5, 6, 1), (7, 8), (5, 6, 2)], 2)   ->  [[0, 2], [1]]        the first two begin alike

Longest first: memory problems show at once, neighbours are of like length, and a remaining time estimated from the
first batches errs on the high side. Idea: EleutherAI/lm-evaluation-harness, models/utils.py. It runs no model.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches, every index once, longest first.

    A batch costs its padded size, sequences x longest, at most `token_budget` tokens; a sequence above the budget
    stands alone. Ties keep their order, so the plan depends on nothing but its arguments.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * longest <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches


def plan_packs(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """As `plan_batches` for batches without padding: a batch costs the sum of its lengths."""
    packs: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        tokens += lengths[index]
        if packs and tokens <= token_budget:
            packs[-1].append(index)
        else:
            packs.append([index])
            tokens = lengths[index]
    return packs


def by_head(heads: Sequence[tuple[int, ...]], tokens: int) -> list[list[int]]:
    """Indices of `heads` in groups, every index once: those that share their first `tokens` ids, then all others."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, head in enumerate(heads):
        groups.setdefault(head[:tokens] if len(head) >= tokens else (), []).append(index)
    others = sorted(i for head, group in groups.items() if len(group) == 1 or not head for i in group)
    return [group for head, group in groups.items() if len(group) > 1 and head] + ([others] if others else [])


def common_head(heads: Sequence[tuple[int, ...]]) -> int:
    """How many ids all of `heads` begin with."""
    first, last = min(heads), max(heads)  # whatever lies between them in order shares what they share
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def distinct(items: Iterable[H]) -> tuple[list[H], list[int]]:
    """The distinct items in order of appearance, and for each item the place of its equal among them."""
    places: dict[H, int] = {}
    index = [places.setdefault(item, len(places)) for item in items]
    return list(places), index


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items, read only as far as they are taken."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def shards(items: Iterable[T], cost: Callable[[T], int], *, most: int, rows: int) -> Iterator[list[T]]:
    """Lists of consecutive items that cost about the same: at most `most` and at most `rows` items.

    One above `most` stands alone. Items are read only as far as they are taken.
    """
    shard: list[T] = []
    costs = 0
    for item in items:
        one = cost(item)
        if shard and (len(shard) == rows or costs + one > most):
            yield shard
            shard, costs = [], 0
        shard.append(item)
        costs += one
    if shard:
        yield shard
