"""The data version of a training set: a hash of its rows in order."""

from collections.abc import Iterable, Iterator

import polars as pl

from models_py.content import fingerprint_of_list
from models_py.conversation import Context

_CONTENT = ("rank", "pair_id", "candidate", "instruction", "input", "output")
_CONTEXT = ("system", "history")  # hashed where a row has it: sets of before there were conversations keep theirs
ROW_COLUMNS = (*_CONTENT, *_CONTEXT)
_CHARS = 16


def rows_version(frames: Iterable[pl.DataFrame]) -> str:
    """16 hex digits over the rows, which come in order, in frames with ROW_COLUMNS."""
    return fingerprint_of_list(row for frame in frames for row in _hashed(frame))[:_CHARS]


def _hashed(rows: pl.DataFrame) -> Iterator[list[object]]:
    contexts = rows.select(_CONTEXT).iter_rows()
    content = rows.select(_CONTENT).iter_rows()
    for row, context in zip(content, contexts, strict=True):
        yield [*row, *(context if Context.of(*context) else ())]
