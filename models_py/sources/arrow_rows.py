"""Arrow files and streams (Feather, `datasets.save_to_disk`), batch by batch; only columns that can matter.

A stream has no length: one that lost its end looks like a shorter one, but for the mark that every writer sets there.
Without it the file counts as damaged.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from models_py.sources.opened import refuse_packed
from models_py.sources.row import Row

_BATCH_ROWS = 10_000
_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def read_arrow(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[Row]:
    """One row a row of the file. Columns that are not wanted stay unread; all are read when the file has no other."""
    import pyarrow as pa  # only whoever reads such a file pays for it

    number = 0
    try:
        refuse_packed(path)
        for batch in _batches(path):
            names = batch.schema.names
            chosen = batch.select([name for name in names if is_wanted(name)] or names)
            for start in range(0, chosen.num_rows, _BATCH_ROWS):
                for record in chosen.slice(start, _BATCH_ROWS).to_pylist():
                    number += 1
                    yield Row(number, None, record, record)
        if not _has_its_end(path):
            raise EOFError("it breaks off behind this row")
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        problem = f"the Arrow file cannot be read: {first_line}; get it again"
        yield Row(number + 1, None, None, "", problem, ends_file=True)


def _is_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_FILE_MAGIC)) == _FILE_MAGIC


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:
        if not _is_file(path):
            yield from pa.ipc.open_stream(source)
            return
        reader = pa.ipc.open_file(source)
        for place in range(reader.num_record_batches):
            yield reader.get_batch(place)


def _has_its_end(path: Path) -> bool:
    if _is_file(path):  # it could not have been opened without
        return True
    with path.open("rb") as file:
        file.seek(-min(8, path.stat().st_size), 2)
        return file.read().endswith(_END_OF_STREAM)
