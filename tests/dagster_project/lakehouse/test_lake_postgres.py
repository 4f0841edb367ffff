"""A lake whose catalog is PostgreSQL: a real server, real processes."""

import json
import re
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.locked import check
from models_py.errors import UserError
from models_py.postgres import LostLockError
from tests.support.lakes import append, attachment, ids, snapshots
from tests.support.lost_answers import loses_answers
from tests.support.postgres import fresh_database, run_sql
from tests.support.processes import finish, python


@pytest.mark.slow
def test_a_catalog_in_postgres_serves_readers_and_writers(postgres: str, tmp_path: Path) -> None:
    catalog, data = postgres, f"{tmp_path}/data/"
    lake = Lake(tmp_path / "warehouse", catalog=catalog, data_path=data)
    with pytest.raises(UserError, match="`make run` creates it"):
        lake.read("select 1")

    lake.prepare()
    empty = lake.snapshot_id()
    lake.append(
        {"raw.raw_pairs": pl.DataFrame({"pair_id": ["a"], "category": [None]})}, Commit("it's told", asset="raw")
    )
    assert (ids(lake), ids(lake, as_of=empty)) == (["a"], [])
    told = "select commit_message, commit_extra_info from lake.snapshots() order by snapshot_id desc"
    message, extra = lake.read(told).row(0)
    assert (message, {**json.loads(extra), "mark": ""}) == ("it's told", {"asset": "raw", "rows": 1, "mark": ""})
    counted = "select count(*) from raw.raw_pairs"
    assert lake.recall(counted).item() == 1
    before = snapshots(lake)
    Lake(tmp_path / "warehouse", catalog=catalog, data_path=data).prepare()
    assert snapshots(lake) == before

    with lake.locked() as connection:  # as `make sql` does
        for query, answer in (("select pair_id from raw.raw_pairs", "a"), ("select count(*) from lake.snapshots()", 3)):
            check(connection, query)
            assert connection.execute(query).fetchone() == (answer,)
        with pytest.raises(UserError, match="does not call postgres_query"):
            check(connection, "from postgres_query('__ducklake_metadata_lake', 'delete from ducklake_snapshot')")
    assert "postgres_scanner.duckdb_extension'; ATTACH" in lake.attach_line()

    append(Lake(tmp_path / "other", catalog=catalog, data_path=data), "b")  # as from another machine
    assert ids(lake) == ["a", "b"]
    assert lake.recall(counted).item() == 2
    shutil.rmtree(data)
    assert lake.recall(counted).item() == 2  # known


def test_a_commit_whose_answer_is_lost_is_made_once_and_whole(postgres_lake: Lake) -> None:
    """DuckLake takes it for failed and removes what it wrote, though the catalog has it."""
    found = re.search(r"port=(\d+)", postgres_lake.catalog)
    assert found
    with loses_answers(int(found[1])) as way:
        catalog = postgres_lake.catalog.replace(found[0], f"port={way.port}")
        lake = Lake(postgres_lake.warehouse, catalog=catalog, data_path=postgres_lake.data_path)
        append(lake, "before")
        way.lose()
        append(lake, "lost")
        assert way.has_lost
        assert (ids(lake), lake.scalar("select count(*) from raw.raw_pairs")) == (["before", "lost"], 2)

        append(lake, "after")
        swapped = pl.DataFrame({"pair_id": ["before"], "category": ["swapped"]})
        way.lose()
        lake.replace("raw.raw_pairs", {"pair_id": "before"}, swapped, Commit("in its place"))
        assert way.has_lost
        assert lake.read("select pair_id, category from raw.raw_pairs order by all").rows() == [
            ("after", None),
            ("before", "swapped"),
            ("lost", None),
        ]
    postgres_lake.check_sound()
    assert ids(Lake(postgres_lake.warehouse, catalog=postgres_lake.catalog, data_path=postgres_lake.data_path)) == [
        "after",
        "before",
        "lost",
    ]


def test_an_attached_catalog_stays_so_and_holds_nobody_up(postgres_lake: Lake, tmp_path: Path) -> None:
    lake, catalog = postgres_lake, postgres_lake.catalog
    append(lake, "ours")
    before = (attachment(lake), attachment(lake, read_only=False))
    append(lake, "more")
    assert (attachment(lake), attachment(lake, read_only=False)) == before
    append(Lake(tmp_path / "other", catalog=catalog, data_path=lake.data_path), "theirs")
    assert ids(lake) == ["more", "ours", "theirs"]
    others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    assert {state for (state,) in run_sql(catalog, f"select state {others}")} == {"idle"}

    run_sql(catalog, f"select pg_terminate_backend(pid) {others}")  # as a server that was started again
    assert ids(lake) == ["more", "ours", "theirs"]
    append(lake, "after")
    assert ids(lake) == ["after", "more", "ours", "theirs"]


def test_a_catalog_that_was_restored_is_read_as_it_is(postgres_lake: Lake, postgres_server: str) -> None:
    lake, catalog = postgres_lake, postgres_lake.catalog
    append(lake, "kept")
    copy = fresh_database(postgres_server, copied=catalog)
    append(lake, "lost")
    assert ids(lake) == ["kept", "lost"]
    names = [address.rpartition("=")[2] for address in (catalog, copy)]
    for statement in (f"drop database {names[0]} with (force)", f"alter database {names[1]} rename to {names[0]}"):
        run_sql(f"{postgres_server} dbname=postgres", statement)
    assert ids(lake) == ["kept"]
    append(lake, "new")
    assert ids(lake) == ["kept", "new"]


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path, catalog="postgres:host=127.0.0.1 port=1 user=lake dbname=lake")
    with pytest.raises(UserError, match=r"lake at postgres:host=127\.0\.0\.1 port=1 .*cannot be opened"):
        lake.prepare()


WORKER = """
import sys, time
from pathlib import Path
from dagster_project.lakehouse.lake import Lake
from tests.support.lakes import append, ids

lake = Lake(Path(sys.argv[1]), catalog=sys.argv[2], data_path=sys.argv[3])
for _ in range(5):
    with lake.exclusively("scoring"):
        new = next(iter(sorted({f"row{i}" for i in range(5)} - {*ids(lake)})), None)
        if new is not None:
            print(new, flush=True)  # paid for
            append(lake, new)
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_two_machines_never_pay_for_the_same_rows(postgres_lake: Lake, tmp_path: Path) -> None:
    machines = [python(WORKER, tmp_path / name, postgres_lake.catalog, postgres_lake.data_path) for name in "xy"]
    paid = [finish(machine).split() for machine in machines]
    assert sorted([*paid[0], *paid[1]]) == ids(postgres_lake) == [f"row{i}" for i in range(5)]


def test_nothing_is_committed_under_a_lock_that_was_lost(postgres_lake: Lake) -> None:
    """Its session is ended in the middle of the work, as when a firewall drops it; another machine goes on at once."""
    lake = postgres_lake
    with lake.exclusively("scoring"):
        append(lake, "before")
        run_sql(lake.catalog, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
        before = snapshots(lake)
        with lake.exclusively("scoring"):
            for _ in range(2):
                with pytest.raises(LostLockError, match=r"lock scoring of .* was lost in the middle of the work"):
                    append(lake, "lost")
    assert snapshots(lake) == before
    append(lake, "after")
    assert ids(lake) == ["after", "before"]


def test_the_writers_lock_is_the_servers(postgres_lake: Lake) -> None:
    said: list[str] = []
    other = Lake(postgres_lake.warehouse / "other", catalog=postgres_lake.catalog, data_path=postgres_lake.data_path)

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        held = "select count(*) from pg_locks where locktype = 'advisory' and granted"
        said.extend(str(count) for (count,) in run_sql(postgres_lake.catalog, held))

    other.write(change, Commit("looks"))
    assert said == ["1"]
    assert not [*other.warehouse.glob("*.lock")]
