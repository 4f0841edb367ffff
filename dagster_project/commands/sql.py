"""`make sql`: one query on the lake, read-only, as a table, line by line, or as a file.

    python -m dagster_project.commands.sql [--as-of SNAPSHOT] [--format FORMAT] [--out FILE] [--profile NAME]
        (--file QUERY.sql | [--] "select * from selection.selection_summary")

The query reaches the lake and nothing else (lakehouse/locked.py); a file is written by this program, not by DuckDB.
"""

import io
import os
import shutil
import sys
from pathlib import Path

import duckdb

from dagster_project.commands.sql_view import LINE_ROWS, TABLE_ROWS, Shown, as_lines, as_table
from dagster_project.commands.sql_write import FORMATS, TEXT, rows_of, write_file
from dagster_project.commands.terminal import Arguments, any_encoding, plain
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.locked import check
from dagster_project.profile.load import load_profile
from models_py.errors import UserError

_WIDTH = 100  # where the output is no terminal


def main(arguments: list[str] | None = None) -> int:
    """Print or write the result and, on standard error, how to attach the lake in a DuckDB prompt of one's own."""
    parser = Arguments(prog="make sql", description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("query", nargs="?")
    asked.add_argument("--file", type=Path, metavar="QUERY.sql", help="the query is written there")
    parser.add_argument("--as-of", type=int, metavar="SNAPSHOT", help="read the lake as it was at this snapshot")
    parser.add_argument("--format", default="", help=f"table, line, {', '.join(FORMATS)} (default: what fits)")
    parser.add_argument("--out", default="", metavar="FILE", help="write there; its ending may name the format")
    parser.add_argument("--profile", help="profile whose lake is read (default: REFLECTION_PROFILE, else quickstart)")
    parser.add_argument("--max-rows", type=int, help="rows printed before the middle is left out")
    options = parser.parse_args(arguments)
    any_encoding()
    try:
        lake = open_lake(load_profile(options.profile))
        format = format_of(options.format, options.out)
        query = _written_in(options.file) if options.file else options.query
        with lake.locked(as_of=options.as_of) as connection:
            check(connection, query)
            show(connection.execute(query), format, options.out, lake, options.max_rows)
    except BrokenPipeError:  # whoever read it has seen enough; at its end Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except UserError as error:
        return _failed(str(error))
    except duckdb.PermissionException as error:
        return _failed(f"make sql is read-only and opens no file but the lake's: {error}")
    except duckdb.Error as error:
        return _failed(f"{type(error).__name__}: {error}")
    print(f"-- in a DuckDB prompt: {lake.attach_line(as_of=options.as_of)}", file=sys.stderr)
    return 0


def _written_in(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"FILE={file}: no query can be read there ({why}).") from error


def _failed(why: str) -> int:
    print(plain(why, lines=True), file=sys.stderr)
    return 1


def show(result: duckdb.DuckDBPyConnection, format: str, out: str, lake: Lake, max_rows: int | None = None) -> None:
    """Print what a query gave, or write it to the file `out`. format: from `format_of`."""
    if format in FORMATS:
        _write(result, format, out, lake)
    else:
        print(_view(result, format, max_rows))
    sys.stdout.flush()


def format_of(format: str, out: str) -> str:
    """What was asked for, by name or by the ending of the file; empty for what fits the terminal.

    Raises UserError for a format that there is not.
    """
    format = format.lower() or Path(out).suffix.lstrip(".").lower()
    known = FORMATS if out else (*FORMATS, "table", "line", "")
    if format not in known:
        raise UserError(
            f"FORMAT is {format!r}; there are {', '.join(FORMATS)}"
            + (f" for the file {out}." if out else ", and table and line for the terminal.")
        )
    if format == "parquet" and not out:
        raise UserError("FORMAT=parquet needs a file: OUT=rows.parquet.")
    return format


def _view(result: duckdb.DuckDBPyConnection, format: str, max_rows: int | None) -> str:
    columns = [name for name, *_ in result.description or []]
    shown = Shown.of(columns, rows_of(result), TABLE_ROWS if max_rows is None else max_rows)
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    table = None if format == "line" else as_table(shown, width if format != "table" else sys.maxsize)
    if table is not None:
        return table
    return as_lines(shown if max_rows is not None else shown.fewer(LINE_ROWS), width, whole=format == "line")


def _write(result: duckdb.DuckDBPyConnection, format: str, out: str, lake: Lake) -> None:
    if not out:
        if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the terminal's encoding: this is data
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogatepass", newline="")
        _, told = TEXT[format](result, sys.stdout)
    else:
        file = _outside(Path(out), lake)
        rows, told = write_file(result, format, file)
        print(f"{rows:,} rows in {file}", file=sys.stderr)
    if told:
        print(told, file=sys.stderr)


def _outside(file: Path, lake: Lake) -> Path:
    """Where to write. Raises UserError for a place that cannot be written or belongs to the warehouse."""
    if file.resolve().is_relative_to(lake.warehouse.resolve()):
        raise UserError(f"OUT={file} lies in the warehouse, whose files are not yours to write: name another folder.")
    if file.is_dir() or not file.parent.is_dir():
        raise UserError(f"OUT={file}: {'that is a folder' if file.is_dir() else f'there is no folder {file.parent}'}.")
    return file


if __name__ == "__main__":
    sys.exit(main())
