"""A connection for a query that somebody wrote: it reads the lake and can do nothing else.

DuckDB calls an attached database read-only and still attaches a second one, writes files by COPY and EXPORT, reads any
file, installs extensions and changes settings. So two things stand in the way here:

    lock(connection, ...)      no files but the lake's data, no extension and no setting after this
    check(connection, query)   one SELECT (also FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN), which calls only
                               table functions that read what the lake holds or make rows of nothing

The second is needed too: the extensions for SQLite and PostgreSQL open files and servers past DuckDB's own lock. The
query is taken apart by DuckDB's parser, and what is not known to be harmless is refused.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from models_py.errors import UserError

_MAKE_ROWS = (
    "generate_series histogram histogram_values json_each json_tree range repeat repeat_row summary unnest "
    "test_all_types"
)
_TELL_OF_TABLES = (
    "duckdb_columns duckdb_constraints duckdb_databases duckdb_extensions duckdb_functions duckdb_indexes "
    "duckdb_keywords duckdb_schemas duckdb_settings duckdb_tables duckdb_types duckdb_views pragma_database_list "
    "pragma_show pragma_table_info pragma_version"
)
_TELL_OF_THE_LAKE = (  # as functions of `lake`, and with `ducklake_` before the name
    "current_snapshot last_committed_snapshot list_files options settings snapshots table_changes table_deletions "
    "table_info table_insertions"
)
_HARMLESS = {*_MAKE_ROWS.split(), *_TELL_OF_TABLES.split()}
_HARMLESS |= {f"{before}{name}" for name in _TELL_OF_THE_LAKE.split() for before in ("", "ducklake_")}
_HARMFUL = {"getenv", "nextval", "write_log"}  # of those that give a value
_EXPLAIN = re.compile(r"\s*explain\b(\s+analyze\b|\s*\(\s*(format|analyze)\b[^()]*\))?", re.IGNORECASE)
_ONE_SELECT = (
    "make sql is read-only and takes one query: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW, PIVOT with its "
    "values (IN), EXPLAIN of these."
)


def lock(connection: duckdb.DuckDBPyConnection, data_path: str) -> None:
    """Shut everything but the lake's data; what is attached stays so. Cannot be taken back."""
    if "://" in data_path:
        connection.execute("from duckdb_secrets()").fetchall()  # read now: their files are shut too
    connection.execute("set python_enable_replacements = false")  # a table's name is no variable of Python
    connection.execute(f"set allowed_directories = [{literal(data_path)}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise UserError for a query that is not one SELECT, or calls a function that does more than to make rows.

    Raises duckdb.ParserException where it is no SQL.
    """
    explained = _EXPLAIN.sub("", query, count=1)
    told = connection.execute(f"select json_serialize_sql({literal(explained)})").fetchone()
    try:
        parsed = json.loads(told[0]) if told and explained.strip() else {}
    except RecursionError as error:
        raise UserError("The query is nested too deeply to be looked through.") from error
    if parsed.get("error_type") == "parser":
        connection.extract_statements(query)  # tells where it is wrong
    statements = parsed.get("statements") or []  # of anything but SELECT there are none
    if len(statements) != 1:
        raise UserError(_ONE_SELECT)
    for name, makes_rows in _functions(statements):
        if name not in _HARMLESS if makes_rows else name in _HARMFUL:
            raise UserError(
                f"make sql is read-only and does not call {name}: it reads the tables of the lake, not files and "
                "servers, and changes neither the lake nor settings."
            )


def literal(text: str) -> str:
    """A text as SQL. Bound as a value it would make DuckDB import pandas first, which takes longer than a query."""
    return "'" + text.replace("'", "''") + "'"


def _functions(parsed: Any) -> Iterator[tuple[str, bool]]:
    """The name of every function that is called, and whether it stands where a table does."""
    nodes = [(parsed, False)]
    while nodes:
        node, is_table = nodes.pop()
        if isinstance(node, list):
            nodes += [(inner, False) for inner in node]
        elif isinstance(node, dict):
            if "function_name" in node:
                yield node["function_name"].lower(), is_table
            calls = node.get("type") == "TABLE_FUNCTION"
            nodes += [(inner, calls and key == "function") for key, inner in node.items()]
