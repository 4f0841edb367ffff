"""What a lake promises, with its catalog in SQLite and in PostgreSQL, its data in a folder and in an object store."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from pyarrow.fs import LocalFileSystem, copy_files

from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.locked import check
from dagster_project.lakehouse.trouble import DataStoreError
from models_py.errors import UserError
from tests.support.lakes import append, ids, pairs, snapshots
from tests.support.postgres import fresh_database, run_sql
from tests.support.s3 import files

pytestmark = pytest.mark.slow

_MOVE = "update ducklake_metadata set value = '{}' where key = 'data_path'"
_FOUR = [
    ("sqlite", "folder"),
    ("sqlite", "s3"),
    pytest.param(("postgres", "folder"), marks=pytest.mark.postgres),
    pytest.param(("postgres", "s3"), marks=pytest.mark.postgres),
]


@pytest.fixture(params=_FOUR, ids=str)
def lake(request: pytest.FixtureRequest, empty_warehouse: Path, tmp_path: Path) -> Lake:
    """An empty lake with the whole schema; a copy, for making one takes seconds."""
    catalog, data = request.param
    folder = tmp_path / "data"
    to = f"{request.getfixturevalue('s3')}/lake/" if data == "s3" else f"{folder}/"
    (tmp_path / "warehouse").mkdir()
    if catalog == "postgres":
        origin = request.getfixturevalue("empty_postgres_lake")
        address = fresh_database(request.getfixturevalue("postgres_server"), copied=origin)
        ((data_of,),) = run_sql(address, "select value from ducklake_metadata where key = 'data_path'")
        run_sql(address, _MOVE.format(to))
    else:
        address, data_of = None, empty_warehouse / "data"
        shutil.copy(empty_warehouse / "catalog.sqlite", tmp_path / "warehouse")
        with closing(sqlite3.connect(tmp_path / "warehouse" / "catalog.sqlite")) as file, file:
            file.execute(_MOVE.format(to))
    if data == "s3":
        copy_files(str(data_of), to.removeprefix("s3://").rstrip("/"), LocalFileSystem(), files())
    else:
        shutil.copytree(data_of, folder)
    return Lake(tmp_path / "warehouse", catalog=address, data_path=to)


def test_rows_are_appended_replaced_mirrored_and_read_as_they_were(lake: Lake) -> None:
    first = append(lake, "a", "b")
    lake.replace("raw.raw_pairs", {"pair_id": "b"}, pairs("c"), Commit("c for b"))
    assert (ids(lake), ids(lake, as_of=first)) == (["a", "c"], ["a", "b"])
    lake.mirror({"raw.raw_pairs": pairs("c", "d")}, Commit("mirrored"))
    before = snapshots(lake)
    lake.mirror({"raw.raw_pairs": pairs("d", "c")}, Commit("the same"))
    assert (ids(lake), snapshots(lake)) == (["c", "d"], before)
    batches = list(lake.batches("select pair_id from raw.raw_pairs order by all", rows=1))
    assert [row for batch in batches for row in batch["pair_id"]] == ["c", "d"]


def test_a_data_version_is_the_same_wherever_the_rows_lie(lake: Lake) -> None:
    append(lake, "a", "b")
    assert lake.facts("raw.raw_pairs", ["pair_id", "instruction"]).data_version == "340b4d7b0bd8ea0e"


def test_an_append_is_whole_or_not_at_all_and_a_conflict_is_tried_again(lake: Lake) -> None:
    tries = []

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("insert into raw.raw_pairs (pair_id) values ('once')")
        tries.append(1)
        if len(tries) < 3:
            raise duckdb.TransactionException("a conflict")

    before = snapshots(lake)
    lake.write(change, Commit("in the end"))
    with pytest.raises(duckdb.ConversionException):
        lake.write(lambda connection: connection.execute("select 'x'::int"), Commit("never"))
    assert (len(tries), ids(lake), snapshots(lake)) == (3, ["once"], before + 1)


def test_another_machine_sees_what_was_committed_and_is_recalled_it_anew(lake: Lake, tmp_path: Path) -> None:
    counted = "select count(*) from raw.raw_pairs"
    append(lake, "a")
    assert lake.recall(counted).item() == 1
    other = lake
    if lake.catalog.startswith("postgres:"):
        other = Lake(tmp_path / "other", catalog=lake.catalog, data_path=lake.data_path)
    other.prepare()  # changes nothing
    append(other, "b")
    assert (lake.recall(counted).item(), lake.recall(counted).item()) == (2, 2)
    with lake.exclusively("scoring"), other.exclusively("reflection"):
        append(other, "c")
    assert ids(lake) == ["a", "b", "c"]


def test_files_are_merged_and_snapshots_expired(lake: Lake) -> None:
    for name in "abc":
        append(lake, name)
    compacted = lake.compact([], at_once=True)
    assert ("raw.raw_pairs", 3, 1) in compacted.merged
    assert (compacted.kept, ids(lake)) == (1, ["a", "b", "c"])


def test_a_query_reaches_the_lake_and_neither_other_files_nor_a_secret(lake: Lake, tmp_path: Path) -> None:
    append(lake, "a")
    with lake.locked() as connection:
        assert connection.execute("select pair_id from raw.raw_pairs").fetchall() == [("a",)]
        for other in ("s3://elsewhere/x.parquet", f"{tmp_path}/x.csv"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(f"from '{other}'")
        shown = "select name, value from duckdb_settings()"
        check(connection, shown)
        told = str(connection.execute(shown).fetchall()) + str(connection.execute("from duckdb_secrets()").fetchall())
        with pytest.raises(UserError, match="does not call duckdb_secrets"):
            check(connection, "from duckdb_secrets()")
    assert "hunter2" not in told + lake.attach_line() + repr(lake._store())


# --- an object store


def test_a_users_own_secret_is_used_where_the_environment_names_no_key(
    s3: str, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where DuckDB keeps secrets
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    with duckdb.connect() as connection:
        load_extension(connection, "httpfs")
        connection.execute(
            "create persistent secret mine (type s3, key_id 'me', secret 'mine', url_style 'path', use_ssl false, "
            f"endpoint '{s3_server.removeprefix('http://')}')"
        )
    lake = Lake(tmp_path / "warehouse", data_path=f"{s3}/lake/")
    append(lake, "whole")
    with lake.locked() as connection:  # as `make sql` does
        assert connection.execute("select pair_id from raw.raw_pairs").fetchall() == [("whole",)]
        for other in (f"{s3}/other.parquet", f"{s3}/lake2/x.parquet"):
            with pytest.raises(duckdb.PermissionException):
                connection.execute(f"from '{other}'")
    with duckdb.connect() as connection:
        connection.execute(lake.attach_line())
        assert connection.execute("select pair_id from lake.raw.raw_pairs").fetchall() == [("whole",)]


def test_a_bucket_that_is_not_there_is_named(s3: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path, data_path="s3://nobucket/lake/")
    with pytest.raises(
        DataStoreError, match=r"data at s3://nobucket/lake/ .*404.*make the bucket, or mend `lake\.data"
    ):
        lake.prepare()


def test_a_store_that_does_not_answer_is_named(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DataStoreError, match=r"Could not connect.*AWS_ENDPOINT_URL names it") as raised:
        Lake(tmp_path, data_path=f"{s3}/lake/").prepare()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL is no address"),
    ],
)
def test_half_a_key_and_half_an_address_are_told(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told):
        Lake(tmp_path, data_path=f"{s3}/lake/").prepare()
