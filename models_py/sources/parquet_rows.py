"""Parquet files, batch by batch; only columns that can matter are read.

Columns of another type than text are no error here: each row then says what it holds instead.
A file that is no Parquet, or is damaged, ends where polars gives up; that is one bad row with `ends_file`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from models_py.sources.row import Row

_BATCH_ROWS = 10_000


def read_parquet(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[Row]:
    """One row a row of the file. Columns that are not wanted stay unread; all are read when the file has no other."""
    import polars as pl  # only whoever reads such a file pays for it

    number = 0
    try:
        table = pl.scan_parquet(path, glob=False)
        columns = table.collect_schema().names()
        chosen = [name for name in columns if is_wanted(name)] or columns
        for batch in table.select(chosen).collect_batches(chunk_size=_BATCH_ROWS):
            for record in batch.iter_rows(named=True):
                number += 1
                yield Row(number, None, record, record)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        problem = f"the Parquet file cannot be read: {first_line}; get it again"
        yield Row(number + 1, None, None, "", problem, ends_file=True)
