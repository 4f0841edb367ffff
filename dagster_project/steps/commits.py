"""How a long step commits: in batches of rows or seconds, so that a kill repeats at most one batch.

What did not fit into memory is not committed: a row is for good, and a card that is larger, or not busy, may take it.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

COMMIT_ROWS = 2000
COMMIT_EVERY_S = 30.0

Item = TypeVar("Item")


class _Made(Protocol):
    @property
    def status(self) -> str: ...


Made = TypeVar("Made", bound=_Made)


def commit_batches(
    items: Iterable[Item], *, rows: int = COMMIT_ROWS, seconds: float = COMMIT_EVERY_S
) -> Iterator[list[Item]]:
    """Lists of at most `rows` items; a shorter one when `seconds` have passed since the last."""
    batch: list[Item] = []
    since = time.monotonic()
    for item in items:
        batch.append(item)
        if len(batch) >= rows or time.monotonic() - since >= seconds:
            yield batch
            batch, since = [], time.monotonic()
    if batch:
        yield batch


@dataclass
class Misfits:
    """How many rows did not fit into memory."""

    count: int = 0

    def left_out(self, rows: Iterable[Made]) -> Iterator[Made]:
        """The rows that did fit; the others are counted."""
        for row in rows:
            if row.status == "out_of_memory":
                self.count += 1
            else:
                yield row

    def told(self, what: str) -> list[str]:
        """What a person should read of them; nothing where there are none. what: they are, in the plural."""
        remedy = "Free memory, take a larger machine or a smaller max_length"
        said = f"{self.count:,} {what} do not fit into memory. {remedy}, and run again: they are still pending"
        return [said] if self.count else []
