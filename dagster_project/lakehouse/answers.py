"""Answers that are known: a query that reads what it read before need not run again.

Under every question (SQL with its parameters) lies its latest answer, with the state of all that the question reads:

    table   its columns, and the paths of its data and delete files, which DuckLake names by a UUID and never rewrites
    view    its SQL, and in turn all that this reads
    macros  all of them

So an append, a mirror, a refresh or a compaction of any table below the question, and a changed definition, make it
another state, whichever process or machine they come from; a lake that was copied or restored is told apart too. What
reads anything else (a clock, chance, a file, `lake.snapshots()`) has no state and is asked anew each time.

`answers.sqlite` in the warehouse keeps them. It may be deleted at any time, and nothing depends on what is in it: an
answer whose seal is broken counts as none, a file that is no database is made anew.
"""

import hashlib
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from dagster_project.lakehouse.catalog import CATALOG
from dagster_project.lakehouse.locked import literal
from models_py.content import fingerprint

_TABLE_FUNCTIONS = {"generate_series", "range", "unnest"}  # those that read nothing
# Functions and words that do not say the same at every call, by DuckDB's own word, or that look outside the query.
_CHANGEABLE = re.compile(
    r"(get_)?current_|local(time|timestamp)$|transaction_timestamp$|now$|today$|ago$|random$|(gen_random_)?uuid|getenv$"
    r"|getvariable$|currval$|nextval$|setseed$|sleep_ms$|stats$|error$|in_search_path$|txid_current$|write_log$"
)

_CLOCKS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}

# One row a table, view or macro of a snapshot. DuckLake inlines no row of ours; a table where another writer let it has
# rows outside its files, and no version.
_OBJECTS = f"""
with snapshot as (
    select snapshot_id as id from {CATALOG}.ducklake_snapshot where snapshot_id = $snapshot
),

inlined as (
    select count(*) > 0 as found from (
        select 1 from {CATALOG}.ducklake_inlined_data_tables
        union all
        select 1 from {CATALOG}.ducklake_snapshot_changes where contains(changes_made, 'inlined')
    )
),

files as (
    select table_id, path, partial_max, begin_snapshot, end_snapshot from {CATALOG}.ducklake_data_file
    union all
    select table_id, path, partial_max, begin_snapshot, end_snapshot from {CATALOG}.ducklake_delete_file
),

contents as (
    -- A merged file holds rows of several snapshots; of a later one than this they do not count.
    select
        files.table_id,
        string_agg(
            concat_ws(' ', path, if(partial_max > snapshot.id, snapshot.id, partial_max)), ', ' order by path
        ) as files
    from files
    inner join snapshot on begin_snapshot <= snapshot.id and coalesce(end_snapshot > snapshot.id, true)
    group by files.table_id
),

columns as (
    select
        table_id,
        string_agg(
            concat_ws(' ', column_id, column_name, column_type, initial_default), ', ' order by column_id
        ) as columns
    from {CATALOG}.ducklake_column
    inner join snapshot on begin_snapshot <= snapshot.id and coalesce(end_snapshot > snapshot.id, true)
    group by table_id
),

objects as (
    select
        'table' as kind,
        schema_id,
        table_name as name,
        concat_ws(': ', table_uuid, columns, files) as told,
        begin_snapshot,
        end_snapshot
    from {CATALOG}.ducklake_table
    inner join columns using (table_id)
    left join contents using (table_id)
    union all
    select 'view', schema_id, view_name, sql, begin_snapshot, end_snapshot
    from {CATALOG}.ducklake_view
    union all
    select
        'macro',
        schema_id,
        macro_name,
        concat_ws(' ', impl_id, column_id, parameter_name, default_value, sql),
        begin_snapshot,
        end_snapshot
    from {CATALOG}.ducklake_macro
    inner join {CATALOG}.ducklake_macro_impl using (macro_id)
    left join {CATALOG}.ducklake_macro_parameters using (macro_id, impl_id)
)

select objects.kind, schemas.schema_name || '.' || objects.name, objects.told
from objects
inner join {CATALOG}.ducklake_schema as schemas using (schema_id)
inner join snapshot
    on objects.begin_snapshot <= snapshot.id and coalesce(objects.end_snapshot > snapshot.id, true)
    and schemas.begin_snapshot <= snapshot.id and coalesce(schemas.end_snapshot > snapshot.id, true)
where not (select found from inlined)
order by all
"""


@dataclass(frozen=True, slots=True)
class LakeState:
    """What every table and view of the lake is made of at one snapshot."""

    snapshot: int
    tables: dict[str, str]  # schema.table -> its columns and files
    views: dict[str, str]  # schema.view -> its SQL
    macros: dict[str, str]

    @classmethod
    def at(cls, connection: duckdb.DuckDBPyConnection, snapshot: int) -> "LakeState":
        told: dict[str, dict[str, str]] = {"table": {}, "view": {}, "macro": {}}
        for kind, name, what in connection.execute(_OBJECTS, {"snapshot": snapshot}).fetchall():
            told[kind][name] = told[kind].get(name, "") + what  # a macro has a row a parameter
        return cls(snapshot, told["table"], told["view"], told["macro"])

    def of(self, *queries: str) -> str | None:
        """A hash of all that the queries read, through all views; None where they read what has no state."""
        found: dict[str, str] = {}
        waiting = list(queries)
        while waiting:
            names = relations_read(waiting.pop())
            if names is None or not names <= self.tables.keys() | self.views.keys():
                return None
            for name in names - found.keys():
                found[name] = self.tables.get(name) or self.views[name]
                waiting += [self.views[name]] if name in self.views else []
        return fingerprint(found, self.macros)


@cache
def relations_read(sql: str) -> frozenset[str] | None:
    """The tables and views, `schema.table`, that a SELECT reads; None where it reads anything else, or is none."""
    with _parser().cursor() as parser:
        row = parser.execute(f"select json_serialize_sql({literal(sql)})").fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree["error"]:
        return None
    nodes = list(_nodes(tree))
    if any(_is_changeable(node) for node in nodes):
        return None
    ctes = {entry["key"] for node in nodes for entry in node.get("cte_map", {}).get("map", [])}
    tables = [node for node in nodes if node.get("type") == "BASE_TABLE"]
    if any(not table["schema_name"] and table["table_name"] not in ctes for table in tables):
        return None
    return frozenset(f"{table['schema_name']}.{table['table_name']}" for table in tables if table["schema_name"])


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed statement."""
    if isinstance(tree, dict):
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(branch)


def _is_changeable(node: dict[str, Any]) -> bool:
    """Whether this part of a statement may say something else although no table has changed."""
    match node.get("type"):
        case "TABLE_FUNCTION":
            return node["function"]["function_name"] not in _TABLE_FUNCTIONS
        case "FUNCTION":
            return bool(_CHANGEABLE.match(node["function_name"]))
        case "COLUMN_REF":  # current_date and its like are words
            return node["column_names"][-1] in _CLOCKS
        case "SHOW_REF":
            return True
        case "BASE_TABLE":
            return node["catalog_name"] not in {"", "lake"} or bool(node["at_clause"]) or bool(node["sample"])
        case _:
            return bool(node.get("sample"))


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, with DuckDB's types."""

    columns: list[tuple[str, str]]  # name, type
    rows: pl.DataFrame

    def packed(self) -> bytes:
        rows = io.BytesIO()
        self.rows.write_ipc(rows)
        return json.dumps(self.columns).encode() + b"\n" + rows.getvalue()

    @classmethod
    def unpacked(cls, packed: bytes) -> "Answer":
        columns, _, rows = packed.partition(b"\n")
        return cls([(name, type) for name, type in json.loads(columns)], pl.read_ipc(rows))


class Answers:
    """The file of answers. What cannot be read or written is no answer: nobody needs to know."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, question: str, state: str | None) -> bytes | None:
        """The answer to the question in that state, None when it is not known."""
        if state is None:
            return None
        rows = self._execute("select answer, seal from answers where question = ? and state = ?", question, state)
        for answer, seal in rows:
            if seal == _seal(question, state, answer):
                return bytes(answer)
        return None

    def put(self, question: str, state: str | None, answer: bytes) -> bytes:
        """The answer, kept in the place of the question's earlier one, but where the question has no state."""
        if state is None:
            return answer
        self._execute("create table if not exists answers (question primary key, state, answer, seal)")
        row = (question, state, answer, _seal(question, state, answer))
        self._execute("insert or replace into answers values (?, ?, ?, ?)", *row)
        return answer

    def _execute(self, sql: str, *values: str | bytes) -> list[Any]:
        try:
            with closing(sqlite3.connect(self._file, timeout=5)) as file, file:
                file.execute("pragma synchronous = off")  # the seal tells what a power cut left half written
                return file.execute(sql, values).fetchall()
        except sqlite3.OperationalError:  # not made yet, busy, on a disk that is full or read-only
            return []
        except sqlite3.DatabaseError:  # damaged
            self._file.unlink(missing_ok=True)
            return []


def _seal(question: str, state: str, answer: bytes) -> str:
    return hashlib.sha256(b" ".join((question.encode(), state.encode(), answer))).hexdigest()
