"""The formats of sources. A new one is a line here and the file with its reader.

FORMATS["jsonl"].read(Path("pairs.jsonl"), {"instruction", "output"})     # Row(number=1, record={...}), ...
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from models_py.sources.csv_rows import read_csv
from models_py.sources.json_rows import read_json, read_json_lines
from models_py.sources.parquet_rows import read_parquet
from models_py.sources.row import Row


@dataclass(frozen=True, slots=True)
class Format:
    """How files are read, and the suffixes that tell it, lower case, `.gz` taken away.

    read: a file's rows, good and bad; the second argument names the fields that matter, for formats that can leave the
    others unread. It never raises for what a file contains.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Collection[str]], Iterator[Row]]


FORMATS = {
    "json": Format((".json",), lambda path, _: read_json(path)),
    "jsonl": Format((".jsonl", ".ndjson"), lambda path, _: read_json_lines(path)),
    "csv": Format((".csv",), lambda path, _: read_csv(path)),
    "parquet": Format((".parquet",), read_parquet),
}


def by_suffix(path: Path) -> Format | None:
    """The format that the file's name tells; None for a suffix of none."""
    told = [suffix for suffix in path.suffixes if suffix.lower() != ".gz"][-1:]
    return next((form for form in FORMATS.values() for suffix in told if suffix.lower() in form.suffixes), None)


def suffixes() -> str:
    """All suffixes, for messages to people."""
    return ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
