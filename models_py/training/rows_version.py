"""The data version of a training set: a hash of its rows in order."""

import polars as pl

from models_py.content import fingerprint
from models_py.conversation import Context

_CONTENT = ("rank", "pair_id", "candidate", "instruction", "input", "output")
_CONTEXT = ("system", "history")  # hashed where a row has it: sets of before there were conversations keep theirs
ROW_COLUMNS = (*_CONTENT, *_CONTEXT)
_CHARS = 16


def rows_version(rows: pl.DataFrame) -> str:
    """16 hex digits over the rows, which come in order and with ROW_COLUMNS."""
    contexts = rows.select(_CONTEXT).iter_rows()
    content = rows.select(_CONTENT).iter_rows()
    return fingerprint(
        [[*row, *(context if Context.of(*context) else ())] for row, context in zip(content, contexts, strict=True)]
    )[:_CHARS]
