"""The rows of a query as a file or a stream: whole, whatever their number.

    csv      names first; NULL is nothing between commas, an empty text is ""
    json     one array, one row a line; jsonl: the same rows, each an object of its own
    parquet  with DuckDB's types

JSON has no NaN and no infinity: those are null there, and counted.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import duckdb

from dagster_project.commands.sql_view import whole_text
from models_py.errors import UserError
from models_py.publish import published_file

_BATCH = 10_000
_QUOTED = ('"', ",", "\n", "\r")


class JsonRows:
    """Rows as JSON; `not_numbers` counts what became null because JSON has no such number."""

    def __init__(self) -> None:
        self.not_numbers = 0

    def line(self, columns: Sequence[str], row: Sequence[object]) -> str:
        return json.dumps(
            {name: self._value(value) for name, value in zip(columns, row, strict=True)}, ensure_ascii=False
        )

    def _value(self, value: object) -> Any:
        if isinstance(value, float | Decimal):
            if math.isfinite(value):
                return float(value)
            self.not_numbers += 1
            return None
        if isinstance(value, dict):
            return {str(key): self._value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(inner) for inner in value]
        if isinstance(value, date | time):
            return value.isoformat()
        return value if value is None or isinstance(value, str | bool | int) else whole_text(value)


def rows_of(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    """The rows of a result, never all of them in memory."""
    while batch := result.fetchmany(_BATCH):
        yield from batch


def write_csv(result: duckdb.DuckDBPyConnection, out: IO[str]) -> tuple[int, str]:
    """How many rows were written, and what of them is to be told."""
    columns = [name for name, *_ in result.description or []]
    out.write(",".join(map(_csv, columns)) + "\n")
    count = 0
    for row in rows_of(result):
        count += 1
        out.write(",".join(map(_csv, row)) + "\n")
    return count, ""


def write_jsonl(result: duckdb.DuckDBPyConnection, out: IO[str], *, array: bool = False) -> tuple[int, str]:
    """As `write_csv`. Raises UserError where two columns share a name: one of them would be lost."""
    columns = _distinct([name for name, *_ in result.description or []])
    rows, count = JsonRows(), 0
    for row in rows_of(result):
        count += 1
        before = ("[\n" if count == 1 else ",\n") if array else ""
        out.write(before + rows.line(columns, row) + ("" if array else "\n"))
    if array:
        out.write("\n]\n" if count else "[]\n")
    return count, f"{rows.not_numbers} NaN or infinite numbers are null" if rows.not_numbers else ""


def write_json(result: duckdb.DuckDBPyConnection, out: IO[str]) -> tuple[int, str]:
    """As `write_jsonl`, in one array."""
    return write_jsonl(result, out, array=True)


def write_parquet(result: duckdb.DuckDBPyConnection, file: Path) -> tuple[int, str]:
    """As `write_jsonl`."""
    from pyarrow.parquet import ParquetWriter

    _distinct([name for name, *_ in result.description or []])
    reader = result.to_arrow_reader(_BATCH)
    count = 0
    with ParquetWriter(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count, ""


TEXT: dict[str, Callable[[duckdb.DuckDBPyConnection, IO[str]], tuple[int, str]]] = {
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
}
FORMATS = (*TEXT, "parquet")


def write_file(result: duckdb.DuckDBPyConnection, format: str, file: Path) -> tuple[int, str]:
    """Write the rows to a file, whole or not at all; one that is there is replaced."""
    with published_file(file) as partial:
        if format == "parquet":
            return write_parquet(result, partial)
        with partial.open("w", encoding="utf-8", errors="surrogatepass", newline="") as out:
            return TEXT[format](result, out)


def _csv(value: object) -> str:
    if value is None:
        return ""
    text = whole_text(value)
    if text == "" or text != text.strip() or any(sign in text for sign in _QUOTED):
        return '"' + text.replace('"', '""') + '"'
    return text


def _distinct(columns: list[str]) -> list[str]:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise UserError(f"Two columns are called {', '.join(twice)}: give each a name of its own with AS.")
    return columns
