"""The formats of sources. A new one is a line here and the file with its reader.

FORMATS["jsonl"].read(Path("pairs.jsonl"), matters)     # Row(number=1, record={...}), ...
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models_py.sources.arrow_rows import read_arrow
from models_py.sources.csv_rows import read_csv
from models_py.sources.fields import Wanted
from models_py.sources.json_rows import read_json
from models_py.sources.opened import PACKED_SUFFIXES
from models_py.sources.parquet_rows import read_parquet
from models_py.sources.row import Row


@dataclass(frozen=True, slots=True)
class Format:
    """How files are read, and the suffixes that tell it, lower case, `.gz` and other packings taken away.

    read: a file's rows, good and bad; called with a name, the second argument tells whether that field is read, for
    formats that can leave the others unread. Of what a file contains it raises nothing but UnreadableError.
    no_value: texts, in lower case, that stand for null where the format has none.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Wanted], Iterator[Row]]
    no_value: frozenset[str] = frozenset()


_PANDAS_NULLS = frozenset({"nan", "<na>"})
FORMATS = {
    "json": Format((".json",), read_json),
    "jsonl": Format((".jsonl", ".ndjson", ".jsonlines"), read_json),
    "csv": Format((".csv",), read_csv, _PANDAS_NULLS),
    "parquet": Format((".parquet", ".pq"), read_parquet),
    "tsv": Format((".tsv",), lambda path, is_wanted: read_csv(path, is_wanted, ("\t", ",")), _PANDAS_NULLS),
    "arrow": Format((".arrow", ".feather", ".ipc"), read_arrow),
}


def by_suffix(path: Path) -> Format | None:
    """The format that the file's name tells; None for a suffix of none."""
    told = [suffix for suffix in path.suffixes if suffix.lower() not in PACKED_SUFFIXES][-1:]
    return next((form for form in FORMATS.values() for suffix in told if suffix.lower() in form.suffixes), None)


def suffixes() -> str:
    """All suffixes, for messages to people."""
    return ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
