"""The lake, a real DuckLake each time: what is stored is read, what is killed leaves no trace, errors name a remedy."""

import re
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import dagster_project.lakehouse.lake as lake_module
from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_macros, load_models
from dagster_project.lakehouse.tables import LAKE_CONTRACT, SCHEMAS, TABLES
from models_py.content import content_id
from models_py.conversation import NO_HISTORY, Context, Message
from models_py.errors import UserError
from tests.conftest import PROJECT
from tests.support.files import sqlite_file
from tests.support.lakes import append, ids, pairs, snapshots
from tests.support.processes import finish, python

PAIRS = "raw.raw_pairs"


# ── the schema ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_table_and_view_exists_before_the_first_row(shared_lake: Lake) -> None:
    with shared_lake.connect() as connection:
        rows = connection.execute(
            "select table_schema || '.' || table_name, table_type from information_schema.tables "
            "where table_catalog = 'lake' and table_schema <> 'main'"
        ).fetchall()
    expected = {table.name: "BASE TABLE" for table in TABLES}
    expected |= {
        model.table: "BASE TABLE" if model.materialized == "table" else "VIEW" for model in load_models().values()
    }
    assert dict(rows) == expected


def test_every_schema_and_macro_exists(shared_lake: Lake) -> None:
    with shared_lake.connect() as connection:
        schemas = connection.execute("select schema_name from duckdb_schemas() where database_name = 'lake'").fetchall()
        macros = connection.execute(
            "select function_name from duckdb_functions() where database_name = 'lake' and schema_name = 'selection'"
        ).fetchall()
    assert {row[0] for row in schemas} >= {*SCHEMAS}
    assert {row[0] for row in macros} == set(load_macros())


def test_tables_columns_and_views_carry_their_descriptions(shared_lake: Lake) -> None:
    with shared_lake.connect() as connection:
        tables = dict(
            connection.execute("select schema_name || '.' || table_name, comment from duckdb_tables()").fetchall()
        )
        views = dict(
            connection.execute("select schema_name || '.' || view_name, comment from duckdb_views()").fetchall()
        )
        columns = {
            (name, column): comment
            for name, column, comment in connection.execute(
                "select schema_name || '.' || table_name, column_name, comment from duckdb_columns()"
            ).fetchall()
        }
    for table in TABLES:
        assert tables[table.name] == table.description
        for column in table.columns:
            assert columns[table.name, column.name] == column.description
    for model in load_models().values():
        assert (tables if model.materialized == "table" else views)[model.table] == model.description


def test_columns_have_the_types_of_the_contract(shared_lake: Lake) -> None:
    for table in TABLES:
        facts = shared_lake.facts(table.name, table.stable_columns)
        assert facts.columns == [(column.name, column.type) for column in table.columns]


def test_the_definitions_are_one_file_not_one_a_row(shared_lake: Lake) -> None:
    files = list((shared_lake.warehouse / "data" / "main" / "lake_definitions").glob("*.parquet"))
    assert len(files) == 1


def test_a_lake_of_before_a_table_or_column_gets_them_and_keeps_its_rows(lake: Lake) -> None:
    lake.append({PAIRS: pairs("a")}, Commit("a pair of before"))

    def age(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("drop table scoring.chosen_scores")
        connection.execute(f"alter table {PAIRS} drop column category")
        connection.execute(f"alter table {PAIRS} drop column system")
        connection.execute(f"alter table {PAIRS} drop column history")
        connection.execute("delete from main.lake_definitions where name like 'columns %'")

    lake.write(age, Commit("as an earlier version made it"))
    now = Lake(lake.warehouse)
    now.prepare()
    assert now.read(f"select pair_id, category, system, history from {PAIRS}").rows() == [("a", None, "", "[]")]
    assert now.scalar("select count(*) from scoring.chosen_scores") == 0


def test_frozen_rows_of_before_they_had_ids_are_given_the_ids_of_their_texts(lake: Lake) -> None:
    context = Context("Be brief.", (Message("user", "Hm?"), Message("assistant", "Ja.")))
    instruction, input, output = "Say\x1b it", "\n", "«so»"
    texts = {"instruction": instruction, "input": input, "output": output}
    alone = {"pair_id": "a", "system": "", "history": NO_HISTORY, **texts}
    later = {"pair_id": "b", "system": context.system, "history": context.history_json, **texts}
    lake.append({"training.training_pairs": [alone, later]}, Commit("frozen before"))

    def age(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("drop view training.current_training_sets")
        connection.execute("alter table training.training_pairs drop column content_id")
        connection.execute("delete from main.lake_definitions where name like '%training%'")

    lake.write(age, Commit("as an earlier version made it"))
    now = Lake(lake.warehouse)
    now.prepare()
    told = [content_id(instruction, input, output), content_id(instruction, input, output, context)]
    assert now.read("select content_id from training.training_pairs order by pair_id")["content_id"].to_list() == told


def test_a_second_prepare_makes_no_snapshot(lake: Lake) -> None:
    before = snapshots(lake)
    Lake(lake.warehouse).prepare()
    assert snapshots(lake) == before


# ── append ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_appended_by_name_and_missing_columns_are_null(lake: Lake) -> None:
    frame = pl.DataFrame({"output": ["y"], "category": [None], "pair_id": ["a"]})
    lake.append({PAIRS: frame}, Commit("one pair"))
    assert lake.read(f"select pair_id, output, category, source_row from {PAIRS}").rows() == [("a", "y", None, None)]


def test_created_at_is_stamped_in_utc_unless_given(lake: Lake) -> None:
    given = datetime(2026, 1, 2, 3, 4, 5)
    table = "training.training_pairs"
    lake.append({table: pl.DataFrame({"recipe": ["stamped"]})}, Commit("now"))
    lake.append({table: pl.DataFrame({"recipe": ["given"], "created_at": [given]})}, Commit("then"))
    times = dict(lake.read(f"select recipe, created_at from {table}").rows())
    assert times["given"] == given
    assert abs((datetime.now(UTC).replace(tzinfo=None) - times["stamped"]).total_seconds()) < 60


def test_what_fails_after_a_commit_never_repeats_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(connection: duckdb.DuckDBPyConnection, since: int | None = None) -> list[str]:
        if since is None:
            return []
        raise duckdb.IOException("Failed to execute query: database is locked")

    with monkeypatch.context() as patch, pytest.raises(duckdb.IOException, match="is locked"):
        patch.setattr(lake_module, "data_files", locked)
        append(lake, "once")
    assert ids(lake) == ["once"]


def test_all_frames_of_an_append_are_one_snapshot_or_none(lake: Lake) -> None:
    before = snapshots(lake)

    def half(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"insert into {PAIRS} (pair_id) values ('a')")
        connection.execute("insert into raw.quarantined_rows (no_such_column) values (1)")

    with pytest.raises(duckdb.Error, match="no_such_column"):
        lake.write(half, Commit("half"))
    assert ids(lake) == []
    both = lake.append({PAIRS: pairs("a"), "raw.quarantined_rows": pl.DataFrame({"reason": ["r"]})}, Commit("both"))
    assert snapshots(lake) == before + 1
    assert both == lake.snapshot_id()


def test_rows_come_in_the_types_of_their_table(lake: Lake) -> None:
    seen = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    rows = [{"request_id": "a", "cost_usd": 1, "created_at": seen}, {"request_id": "b", "attempts": 2, "cost_usd": 0.5}]
    lake.append({"reflection.teacher_replies": rows}, Commit("one mapping a row"))
    read = "select request_id, cost_usd, attempts, reply, created_at from reflection.teacher_replies order by all"
    assert lake.read(read).rows() == [("a", 1.0, None, None, datetime(2026, 1, 2, 1)), ("b", 0.5, 2, None, None)]
    assert lake.append({"reflection.teacher_replies": []}, Commit("none")) == lake.snapshot_id()


def test_a_column_that_no_table_has_is_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match=r"raw\.raw_pairs has no column pair"):
        lake.append({PAIRS: [{"pair": "a"}]}, Commit("never"))


def test_every_columns_type_has_its_twin_in_frames(lake: Lake) -> None:
    for table in TABLES:
        assert lake.read(f"from {table.name}").schema == table.polars_schema, table.name


def test_an_append_of_nothing_makes_no_snapshot(written_lake: Lake) -> None:
    before = written_lake.snapshot_id()
    assert append(written_lake) == before == written_lake.snapshot_id()


def test_a_commit_says_who_what_and_why(lake: Lake) -> None:
    lake.append({PAIRS: pairs("a")}, Commit("it's told", asset="raw/raw_pairs", run_id="r1", data_version="v1"))
    row = lake.read(
        "select author, commit_message, commit_extra_info from lake.snapshots() order by snapshot_id desc limit 1"
    ).row(0)
    extra = '{"asset": "raw/raw_pairs", "run_id": "r1", "data_version": "v1", "rows": 1}'
    assert row == ("reflection-lake", "it's told", extra)


def test_every_change_of_the_lake_is_a_row(lake: Lake) -> None:
    lake.append({PAIRS: pairs("a", "b")}, Commit("two", asset="raw/raw_pairs", run_id="r1", data_version="v1"))
    lake.mirror({PAIRS: pairs("a")}, Commit("one left", asset="raw/raw_pairs"))
    lake.write(lambda connection: connection.execute(f"delete from {PAIRS}"), Commit("by hand"))
    columns = "asset, data_version, row_count, run_id, commit_message"
    rows = lake.read(f"select {columns} from lineage.data_versions order by snapshot_id desc limit 3").rows()
    assert rows == [
        (None, None, None, None, "by hand"),
        ("raw/raw_pairs", None, 1, None, "one left"),
        ("raw/raw_pairs", "v1", 2, "r1", "two"),
    ]


@pytest.mark.parametrize(
    "name", ["raw.raw_pairs; drop table raw.raw_pairs", "Raw Pairs", "a.b.c", "", 'raw."raw_pairs"']
)
def test_only_identifiers_are_table_names(shared_lake: Lake, name: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        shared_lake.append({name: pairs("a")}, Commit("never"))


# ── mirror ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sources(*rows: tuple[str, list[str], float]) -> dict[str, pl.DataFrame]:
    schema: dict[str, Any] = {"source": pl.String, "paths": pl.List(pl.String), "max_bad_fraction": pl.Float64}
    return {"profile.sources": pl.DataFrame(list(rows), schema=schema, orient="row")}


def test_a_mirror_of_changed_content_replaces_all_of_it_in_one_snapshot(lake: Lake) -> None:
    lake.mirror(_sources(("a", ["1", "2"], 0.1), ("b", [], 0.1)), Commit("first"))
    before = snapshots(lake)
    lake.mirror(_sources(("b", [], 0.2)), Commit("second"))
    assert lake.read("select source, paths, max_bad_fraction from profile.sources").rows() == [("b", [], 0.2)]
    assert snapshots(lake) == before + 1


def test_a_mirror_of_equal_content_makes_no_snapshot_whatever_the_order(lake: Lake) -> None:
    first = lake.mirror(_sources(("a", ["1"], 0.1), ("b", [], 0.2)), Commit("first"))
    assert lake.mirror(_sources(("b", [], 0.2), ("a", ["1"], 0.1)), Commit("again")) == first == lake.snapshot_id()


def test_a_mirror_of_equal_content_waits_for_no_writer(written_lake: Lake, writer: "subprocess.Popen[str]") -> None:
    before = snapshots(written_lake)
    written_lake.mirror({"raw.raw_pairs": pairs("whole")}, Commit("again"))
    assert writer.poll() is None
    assert snapshots(written_lake) == before


def test_a_mirror_sees_that_equal_rows_became_other_equal_rows(lake: Lake) -> None:
    lake.mirror(_sources(("a", [], 0.1), ("a", [], 0.1), ("b", [], 0.1)), Commit("first"))
    lake.mirror(_sources(("a", [], 0.1), ("b", [], 0.1), ("b", [], 0.1)), Commit("second"))
    assert lake.read("select source from profile.sources order by all")["source"].to_list() == ["a", "b", "b"]


def test_a_mirror_of_nothing_empties_the_table(lake: Lake) -> None:
    lake.mirror(_sources(("a", [], 0.1)), Commit("first"))
    lake.mirror(_sources(), Commit("none"))
    assert lake.scalar("select count(*) from profile.sources") == 0


# ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_as_of_reads_the_lake_as_it_was(lake: Lake) -> None:
    empty = lake.snapshot_id()
    first = append(lake, "a")
    append(lake, "b")
    assert (ids(lake, as_of=empty), ids(lake, as_of=first), ids(lake)) == ([], ["a"], ["a", "b"])


def test_as_of_reads_views_as_they_were(lake: Lake) -> None:
    lake.append({"profile.teachers": pl.DataFrame({"teacher": ["t"]})}, Commit("a teacher"))
    first = append(lake, "a")
    append(lake, "b")
    view = "select pair_id from selection.instruction_candidates order by all"
    assert lake.read(view, as_of=first)["pair_id"].to_list() == ["a"]
    assert lake.read(view)["pair_id"].to_list() == ["a", "b"]


@pytest.mark.parametrize("snapshot", [999_999, -1])
def test_an_unknown_snapshot_is_named(shared_lake: Lake, snapshot: int) -> None:
    with pytest.raises(UserError, match=rf"no snapshot {snapshot}.*lake\.snapshots\(\)"):
        shared_lake.read("select 1", as_of=snapshot)


def test_parameters_are_values_not_sql(written_lake: Lake) -> None:
    hostile = "'; drop table raw.raw_pairs; --"
    assert written_lake.scalar(f"select count(*) from {PAIRS} where pair_id = ?", [hostile]) == 0
    assert written_lake.read(f"select pair_id from {PAIRS} where pair_id = $id", {"id": "whole"}).height == 1


def test_readers_cannot_write(shared_lake: Lake) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        shared_lake.read(f"delete from {PAIRS}")


def test_batches_hold_every_row_in_order_and_never_all_of_them(shared_lake: Lake) -> None:
    frames = list(shared_lake.batches("select i from range(10000) t(i) where i >= ? order by i", [10], rows=2048))
    assert pl.concat(frames)["i"].to_list() == list(range(10, 10000))
    assert max(frame.height for frame in frames) <= 2048


def test_batches_that_are_given_up_leave_the_lake_usable(written_lake: Lake) -> None:
    next(written_lake.batches("from range(10000)", rows=100))
    append(written_lake, "next")
    assert ids(written_lake) == ["next", "whole"]


def test_a_writer_may_write_while_batches_are_read(written_lake: Lake) -> None:
    for frame in written_lake.batches(f"select pair_id from {PAIRS}", rows=1):
        append(written_lake, frame["pair_id"][0] + "-scored")
    assert ids(written_lake) == ["whole", "whole-scored"]


# ── facts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _version(lake: Lake, *rows: str, columns: tuple[str, ...] = ("a", "b")) -> str:
    return lake.facts(f"(values {', '.join(rows)}) t(a, b)", columns).data_version


def test_a_data_version_does_not_depend_on_the_order_of_rows(shared_lake: Lake) -> None:
    assert _version(shared_lake, "(1, 'x')", "(2, 'y')") == _version(shared_lake, "(2, 'y')", "(1, 'x')")


@pytest.mark.parametrize(
    "other",
    [
        ["(1, 'x')"],
        ["(1, 'x')", "(2, 'z')"],
        ["(1, 'y')", "(2, 'x')"],
        ["(1, 'x')", "(2, NULL)"],
        ["(1, 'x')", "(2, 'y')", "(2, 'y')", "(2, 'y')"],
    ],
)
def test_a_data_version_changes_with_the_content(shared_lake: Lake, other: list[str]) -> None:
    assert _version(shared_lake, "(1, 'x')", "(2, 'y')") != _version(shared_lake, *other)


def test_equal_rows_do_not_cancel_out_in_a_data_version(shared_lake: Lake) -> None:
    assert _version(shared_lake, "(1, 'x')", "(1, 'x')") != _version(shared_lake, "(2, 'y')", "(2, 'y')")


def test_null_and_empty_are_different_content(shared_lake: Lake) -> None:
    assert len({_version(shared_lake, f"(1, {b})") for b in ("NULL", "''", "'NULL'", "'null'")}) == 4


def test_facts_are_of_the_rows_asked_for_on_the_latest_snapshot(written_lake: Lake) -> None:
    append(written_lake, "a", "b", "c")
    facts = written_lake.facts(
        f"(select pair_id, source_row from {PAIRS} where pair_id < ? order by 1)", ["pair_id"], ["c"], preview_rows=1
    )
    assert (facts.rows, facts.preview, facts.snapshot_id) == (2, [("a", None)], written_lake.snapshot_id())
    assert facts.columns == [("pair_id", "varchar"), ("source_row", "bigint")]


def test_only_the_named_columns_make_a_data_version(shared_lake: Lake) -> None:
    one, other = (_version(shared_lake, row, columns=("a",)) for row in ("(1, 'x')", "(1, 'y')"))
    assert one == other


# ── what is in the way ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_lake_is_a_message_that_names_make_run(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "nowhere")
    assert not lake.exists()
    with pytest.raises(UserError, match=r"no lake at .*nowhere.*`make run` creates it"):
        lake.read("select 1")
    assert not (tmp_path / "nowhere").exists()


def test_a_lake_of_another_contract_is_refused_with_the_remedy(lake: Lake) -> None:
    lake.write(
        lambda connection: connection.execute("update main.lake_contract set contract = 99"), Commit("the future")
    )
    with pytest.raises(UserError, match=rf"contract 99.*contract {LAKE_CONTRACT}.*another `warehouse`"):
        Lake(lake.warehouse).prepare()


def test_a_damaged_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"no database, whatever its name says " * 100)
    with pytest.raises(UserError, match=r"catalog\.sqlite cannot be opened.*`warehouse`.*backup"):
        Lake(tmp_path).prepare()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_catalog_that_was_only_begun_is_made_whole(tmp_path: Path, journal: str) -> None:
    """What a kill leaves between the catalog file's creation and DuckLake's first commit."""
    with sqlite_file(tmp_path / "catalog.sqlite") as catalog:
        catalog.execute(f"pragma journal_mode = {journal}")
        catalog.execute("vacuum")
    lake = Lake(tmp_path)
    with pytest.raises(UserError, match="`make run` creates it"):
        lake.read("select 1")
    append(lake, "a")
    assert ids(lake) == ["a"]


def test_a_warehouse_may_be_moved(written_lake: Lake, tmp_path: Path) -> None:
    moved = written_lake.warehouse.rename(tmp_path / "it's moved")
    lake = Lake(moved)
    append(lake, "later")
    assert ids(lake) == ["later", "whole"]


# ── views follow their files ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sql_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of SQL files that replaces sql/ for the lake."""
    folder = tmp_path / "sql"
    folder.mkdir()

    def fresh(load: Any) -> Callable[[], Any]:
        return lambda: load.__wrapped__(folder)

    monkeypatch.setattr(lake_module, "load_models", fresh(load_models))
    monkeypatch.setattr(lake_module, "load_macros", fresh(load_macros))
    return folder


def _say(folder: Path, name: str, value: str, header: str = "") -> None:
    (folder / f"{name}.sql").write_text(
        f"-- Told.\n{header}select {value} as a, -- what is told\n count(*) as n -- pairs\nfrom {PAIRS}"
    )


def test_a_changed_view_is_redefined_and_a_removed_one_dropped(sql_dir: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "warehouse")
    _say(sql_dir, "told", "1")
    _say(sql_dir, "gone", "1")
    lake.prepare()
    _say(sql_dir, "told", "2")
    (sql_dir / "gone.sql").unlink()
    Lake(lake.warehouse).prepare()
    assert lake.scalar("select a from selection.told") == 2
    with pytest.raises(duckdb.CatalogException, match="gone"):
        lake.read("from selection.gone")


@pytest.mark.parametrize(("first", "second"), [("", "-- materialized: table\n"), ("-- materialized: table\n", "")])
def test_a_view_may_become_stored_rows_and_the_other_way_round(
    sql_dir: Path, tmp_path: Path, first: str, second: str
) -> None:
    lake = Lake(tmp_path / "warehouse")
    _say(sql_dir, "told", "1", first)
    lake.prepare()
    _say(sql_dir, "told", "2", second)
    Lake(lake.warehouse).prepare()
    [model] = load_models(sql_dir).values()
    Lake(lake.warehouse).refresh(model, Commit("refresh"))
    assert lake.scalar("select a from selection.told") == 2


def test_stored_rows_change_when_they_are_refreshed_and_not_before(sql_dir: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "warehouse")
    _say(sql_dir, "told", "1", "-- materialized: table\n")
    append(lake, "a")
    [model] = load_models(sql_dir).values()
    lake.refresh(model, Commit("refresh", asset="selection.told"))
    append(lake, "b")
    assert lake.read("from selection.told").rows() == [(1, 1)]
    lake.refresh(model, Commit("refresh"))
    assert lake.read("from selection.told").rows() == [(1, 2)]
    before = lake.snapshot_id()
    lake.refresh(model, Commit("refresh"))
    assert lake.snapshot_id() == before


def test_stored_rows_stay_until_they_are_made_anew_unless_their_columns_changed(sql_dir: Path, tmp_path: Path) -> None:
    lake, stored = Lake(tmp_path / "warehouse"), "-- materialized: table\n"
    append(lake, "a")
    _say(sql_dir, "told", "1", stored)
    Lake(lake.warehouse).prepare()
    [model] = load_models(sql_dir).values()
    lake.refresh(model, Commit("refresh"))
    for value, rows in (("1 -- a comment\n", [(1, 1)]), ("2", [(1, 1)]), ("'two'", [])):
        _say(sql_dir, "told", value, stored)
        Lake(lake.warehouse).prepare()
        assert lake.read("from selection.told").rows() == rows


# ── several processes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.kill
def test_a_reader_answers_while_a_writer_is_at_work_and_its_kill_leaves_nothing(
    written_lake: Lake, writer: "subprocess.Popen[str]"
) -> None:
    assert ids(written_lake) == ["whole"]
    before = snapshots(written_lake)
    writer.kill()
    writer.wait()
    assert ids(written_lake) == ["whole"]
    assert snapshots(written_lake) == before
    append(written_lake, "next")
    assert ids(written_lake) == ["next", "whole"]


def test_exclusive_work_waits_for_its_holder_or_its_death(written_lake: Lake, writer: "subprocess.Popen[str]") -> None:
    entered = threading.Event()

    def work() -> None:
        with written_lake.exclusively("scoring"):
            entered.set()

    waiting = threading.Thread(target=work, daemon=True)
    waiting.start()
    with written_lake.exclusively("reflection"):  # other work is not held up
        assert not entered.wait(0.3)
    writer.kill()
    assert entered.wait(10)


APPENDER = """
import sys
from pathlib import Path
from tests.support.lakes import append
from dagster_project.lakehouse.lake import Lake

lake = Lake(Path(sys.argv[1]))
for i in range(10):
    append(lake, f"{sys.argv[2]}{i}")
"""


@pytest.mark.slow
def test_two_processes_that_create_and_append_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [python(APPENDER, tmp_path, name) for name in "ab"]
    for process in processes:
        finish(process)
    assert ids(Lake(tmp_path)) == [f"{name}{i}" for name in "ab" for i in range(10)]


def test_threads_of_one_process_lose_nothing(lake: Lake) -> None:
    threads = [threading.Thread(target=append, args=(lake, f"t{i}")) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(lake) == ["t0", "t1", "t2", "t3"]


def test_a_conflict_is_tried_again_from_the_start(lake: Lake) -> None:
    tries = []

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("insert into raw.raw_pairs (pair_id) values ('once')")
        tries.append(1)
        if len(tries) < 3:
            raise duckdb.TransactionException("Failed to commit DuckLake transaction: database is locked")

    lake.write(change, Commit("contested"))
    assert (len(tries), ids(lake)) == (3, ["once"])


def test_another_error_is_not_tried_again(lake: Lake) -> None:
    tries = []

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        tries.append(1)
        connection.execute("select no_such_column from raw.raw_pairs")

    with pytest.raises(duckdb.BinderException, match="no_such_column"):
        lake.write(change, Commit("wrong"))
    assert len(tries) == 1


# ── people at a prompt of their own ────────────────────────────────────────────────────────────────────────────────


def test_the_attach_line_works_as_it_is_printed(written_lake: Lake) -> None:
    first = written_lake.snapshot_id()
    append(written_lake, "later")
    for statement, expected in (
        (written_lake.attach_statement(), ["later", "whole"]),
        (written_lake.attach_statement(as_of=first), ["whole"]),
    ):
        with duckdb.connect() as connection:
            for extension in ("ducklake", "sqlite_scanner"):
                load_extension(connection, extension)
            connection.execute(statement)
            rows = connection.execute("select pair_id from lake.raw.raw_pairs order by all").fetchall()
            assert [row[0] for row in rows] == expected
            candidates = connection.execute("select count(*) from lake.selection.instruction_candidates").fetchone()
            assert candidates == (0,)  # no teacher, no candidate; the view resolves


def test_unsigned_extensions_are_never_allowed() -> None:
    source = (PROJECT / "dagster_project" / "lakehouse" / "attached.py").read_text(encoding="utf-8")
    assert not re.search("allow_unsigned", source)
    with duckdb.connect() as connection:
        load_extension(connection, "ducklake")
        allowed = connection.execute("select current_setting('allow_unsigned_extensions')").fetchone()
    assert allowed == (False,)


def test_a_password_in_the_catalog_is_never_shown(tmp_path: Path) -> None:
    lake = Lake(tmp_path, catalog="postgres:host=127.0.0.1 port=1 dbname=x password=hunter2")
    with pytest.raises(UserError) as refused:
        lake.read("select 1")
    assert "hunter2" not in str(refused.value)
    assert "password=***" in str(refused.value)


def test_a_later_column_leaves_the_data_version_alone_until_somebody_uses_it(shared_lake: Lake) -> None:
    def version(rows: str, columns: list[str], **unused: str) -> str:
        return shared_lake.facts(f"(values {rows}) t(a, b)", columns, unused=unused).data_version

    before = version("(1, null), (2, null)", ["a"])
    assert version("(1, null), (2, null)", ["a", "b"], b="null") == before
    assert version("(1, ''), (2, '')", ["a", "b"], b="''") == before
    used = version("(1, ''), (2, 'x')", ["a", "b"], b="''")
    assert used != before
    assert used == version("(1, ''), (2, 'x')", ["a", "b"])
