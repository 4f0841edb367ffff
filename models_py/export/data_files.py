"""Rows in a shape as one Parquet file or JSON Lines, never all of them in memory.

    written = write_data(folder / "data/train.parquet", MESSAGES, rows, used=frozenset({"system"}))
    written.rows, written.left_out, written.content

The same rows give the same bytes; `content` is a hash of the records, the same in Parquet and in JSON Lines.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from models_py.content import canonical_json
from models_py.export.shapes import CANDIDATES, Column, Record, Row, Shape
from models_py.progress import OnProgress, Progress, silent

FILES = ("parquet", "jsonl")
DEFAULT = "default"
FOLDERS = {DEFAULT: "data", CANDIDATES.name: "candidates"}  # of a data set: config -> where its file lies
_GROUP = 10_000  # rows of a row group, and between two reports
_NO_NUMBERS = "a statistic is infinite, for which JSON has no number: null"


@dataclass(slots=True)
class Written:
    """What a file holds. left_out: reason -> rows that the shape cannot say. remarks: what to tell -> of how many."""

    columns: dict[str, Column]
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    content: str = ""


def write_data(
    file: Path,
    shape: Shape,
    rows: Iterable[Row],
    *,
    used: Collection[str] = frozenset(),
    total: int | None = None,
    on_progress: OnProgress = silent,
) -> Written:
    """Write the rows, in order, as the file's suffix says; its folder is made.

    used: the optional columns that some row fills. total: of rows, for the progress.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: column for name, column in shape.columns.items() if not column.optional or name in used}
    written = Written(columns)
    digest = hashlib.sha256()

    def records() -> Iterator[Record]:
        for row in rows:
            if reason := shape.unsayable(row):
                written.left_out[reason] += 1
                continue
            record = shape.record(row)
            told = {name: _number_or_null(record[name]) for name in columns}
            if any(told[name] is None and record[name] is not None for name in columns):
                written.remarks[_NO_NUMBERS] += 1
            written.remarks.update(shape.remarks(row))
            digest.update(canonical_json(told) + b"\n")
            written.rows += 1
            yield told

    batches = _batches(records())
    write = _write_parquet if file.suffix == ".parquet" else _write_jsonl
    for _ in write(file, columns, batches):
        on_progress(Progress(written.rows, total, "rows"))
    written.content = digest.hexdigest()[:16]
    return written


def _number_or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, _GROUP)):
        yield batch


def _write_parquet(file: Path, columns: Mapping[str, Column], batches: Iterable[list[Record]]) -> Iterator[None]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([(name, _arrow_type(column)) for name, column in columns.items()])
    with ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, schema))
            yield


def _write_jsonl(file: Path, columns: Mapping[str, Column], batches: Iterable[list[Record]]) -> Iterator[None]:
    with file.open("w", encoding="utf-8", newline="") as out:
        for batch in batches:
            out.writelines(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in batch)
            yield


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "message": message,
        "messages": pa.list_(message),
        "turns": pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])),
        "pairs": pa.list_(pa.list_(pa.string())),
    }
    return types[column.type]


def features(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """The columns as the front matter of a data card declares them, so that no reader has to guess a type.

    Nothing in it is shared: YAML would write an alias, and `datasets` takes apart what it reads.
    """
    return [{"name": name, **deepcopy(_FEATURES[column.type])} for name, column in columns.items()]


def _struct(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "dtype": "string"} for name in names]


_FEATURES: dict[str, dict[str, Any]] = {
    "string": {"dtype": "string"},
    "int64": {"dtype": "int64"},
    "double": {"dtype": "float64"},
    "bool": {"dtype": "bool"},
    "message": {"struct": _struct("role", "content")},
    "messages": {"list": _struct("role", "content")},
    "turns": {"list": _struct("from", "value")},
    "pairs": {"list": {"list": "string"}},
}
