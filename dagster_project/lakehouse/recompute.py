"""What the models of sql/ make of the lake as it was at a snapshot: computed anew, not read from what was stored then.

    with recomputed(lake, 24, "selection.recycled_pairs") as connection:
        connection.execute("from selection.recycled_pairs where recipe = 'paper'")

Tables are those of the snapshot; one that it has not yet is empty, a column that it lacks holds what `unused` says. The
models are those of this project as it is now, and so may select otherwise than the project of then did.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_macros, load_models
from dagster_project.lakehouse.tables import SCHEMAS, TABLES, Table

_CATALOG = "again"  # in memory, beside the lake


@contextmanager
def recomputed(lake: Lake, snapshot: int, *wanted: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the models `wanted`, and all that they read, are computed from the tables of a snapshot.

    Raises UserError where the lake has no such snapshot, or no longer.
    """
    with lake.connect(as_of=snapshot) as connection:
        connection.execute(f"attach ':memory:' as {_CATALOG}")
        try:
            connection.execute(f"use {_CATALOG}")
            for schema in SCHEMAS:
                connection.execute(f"create schema {schema}")
            for table in TABLES:
                connection.execute(_as_it_was(connection, table))
            for macro in load_macros().values():
                connection.execute(macro.sql)
            needed = _needed(wanted)
            for model in load_models().values():
                if model.table in needed:
                    connection.execute(f"create {model.materialized} {model.table} as {model.file.sql}")
            yield connection
        finally:
            connection.execute("use lake")
            connection.execute(f"detach {_CATALOG}")


def _as_it_was(connection: duckdb.DuckDBPyConnection, table: Table) -> str:
    """A statement that makes a table as the snapshot has it. Row ids come along: models take the newest row by them."""
    known = {
        name
        for (name,) in connection.execute(
            "select column_name from duckdb_columns() where database_name = 'lake' and concat(schema_name, '.', "
            "table_name) = ?",
            [table.name],
        ).fetchall()
    }
    if not known:
        return table.ddl
    columns = [
        column.name if column.name in known else f"cast({column.unused or 'null'} as {column.type}) as {column.name}"
        for column in table.columns
    ]
    return f"create view {table.name} as select rowid as rowid, {', '.join(columns)} from lake.{table.name}"


def _needed(wanted: tuple[str, ...]) -> set[str]:
    """The models and tables that these read, and they themselves."""
    models, needed, to_look_at = load_models(), set[str](), [*wanted]
    while to_look_at:
        name = to_look_at.pop()
        if name not in needed:
            needed.add(name)
            to_look_at += models[name].depends_on if name in models else ()
    return needed
