"""How a long step commits: in batches of rows or seconds, so that a kill repeats at most one batch."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

COMMIT_ROWS = 2000
COMMIT_EVERY_S = 30.0

Item = TypeVar("Item")


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
