"""Which sequences share a batch: pure functions over lengths and indices, no tensors.

    plan_batches([3, 9, 2, 8], token_budget=20)  ->  [[1, 3], [0, 2]]     padded: 18 and 6 tokens
    plan_packs([3, 9, 2, 8], token_budget=20)    ->  [[1, 3, 0], [2]]     packed: 20 and 2 tokens

Longest first: memory problems show at once, neighbours are of like length, and a remaining time estimated from the
first batches errs on the high side. Idea: EleutherAI/lm-evaluation-harness, models/utils.py. It runs no model.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
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
