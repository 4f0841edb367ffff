"""Parquet files, batch by batch; only columns that can matter are read.

Columns of another type than text are no error here: each row then says what it holds instead.
A file that is no Parquet, or is damaged, ends where polars gives up; that is one bad row with `ends_file`. One that
unpacks to hundreds of times its size, as its own footer says or as its rows turn out, is not read, or not read on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from models_py.sources.opened import check_unpacked, refuse_packed
from models_py.sources.row import Row

_BATCH_ROWS = 10_000
_ROWS_AT_ONCE = 64  # in Python, where every row has a text of its own
_PARQUET = ("Parquet", "write its rows as JSON Lines")
_BYTES_A_VALUE = 16  # of a text in memory, however often the file says "the same again"
_REPEATED_TIMES = 16  # by which texts may be longer than they are in the file: equal ones are stored there once


def read_parquet(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[Row]:
    """One row a row of the file. Columns that are not wanted stay unread; all are read when the file has no other."""
    import polars as pl  # only whoever reads such a file pays for it

    number = 0
    try:
        refuse_packed(path)
        table = pl.scan_parquet(path, glob=False)
        columns = table.collect_schema().names()
        chosen = [name for name in columns if is_wanted(name)] or columns
        size = path.stat().st_size
        check_unpacked(_unpacked_bytes(path, chosen), size, *_PARQUET)
        given = 0
        for batch in table.select(chosen).collect_batches(chunk_size=_BATCH_ROWS):
            for record in batch.iter_rows(named=True, buffer_size=_ROWS_AT_ONCE):
                number += 1
                given += sum(len(value) for value in record.values() if isinstance(value, str))
                check_unpacked(given // _REPEATED_TIMES, size, *_PARQUET)
                yield Row(number, None, record, record)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        problem = f"the Parquet file cannot be read: {first_line}; get it again"
        yield Row(number + 1, None, None, "", problem, ends_file=True)


def _unpacked_bytes(path: Path, chosen: list[str]) -> int:
    """How large the columns are in memory at least, by the file's footer; 0 where polars is to say what is wrong."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            footer, wanted = file.metadata, set(chosen)
            columns = [
                part.total_uncompressed_size
                for group in range(footer.num_row_groups)
                for place in range(footer.num_columns)
                if (part := footer.row_group(group).column(place)).path_in_schema.split(".")[0] in wanted
            ]
            return max(int(sum(columns)), int(footer.num_rows) * len(wanted) * _BYTES_A_VALUE)
    except (pa.ArrowException, OSError):
        return 0
