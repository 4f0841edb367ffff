"""Answers that are known: right after every change there is, and not computed again where there is none."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lakehouse.answers import relations_read
from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_checks, load_models, pending_files
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from tests.support.files import sqlite_file
from tests.support.lakes import append, snapshots
from tests.support.processes import finish, python

CANDIDATES = "select teacher, pair_id from selection.instruction_candidates order by all"
CHOICES = "select pair_id, reason from selection.instruction_choices order by all"
QUESTIONS = (CANDIDATES, CHOICES, "select student from selection.pairings order by all")


def _mirror(lake: Lake, *names: str) -> None:
    frames = {
        "profile.teachers": pl.DataFrame({"teacher": names, "instruction_prompt_version": names}),
        "profile.students": pl.DataFrame({"student": names, "scorer_fingerprint": names}),
        "profile.recipes": pl.DataFrame({"recipe": names, "teacher": names, "student": names}),
    }
    lake.mirror({table: _whole(table, frame) for table, frame in frames.items()}, Commit("profile"))


def _whole(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.lit(None).alias(name) for name in TABLES_BY_NAME[table].stable_columns if name not in frame.columns
    )


def _append_elsewhere(lake: Lake) -> None:
    lake.append({"raw.quarantined_rows": pl.DataFrame({"reason": ["r"]})}, Commit("a bad row"))


def _refresh(lake: Lake, name: str = "instruction_choices") -> None:
    lake.refresh(load_models()[f"selection.{name}"], Commit("refresh"))


def _execute(*statements: str) -> Callable[[Lake], object]:
    def change(connection: duckdb.DuckDBPyConnection) -> None:
        for statement in statements:
            connection.execute(statement)

    return lambda lake: lake.write(change, Commit("by hand"))


def _compact(lake: Lake) -> None:
    with lake.connect(read_only=False) as connection:
        connection.execute("call ducklake_merge_adjacent_files('lake')")


def _inline(lake: Lake) -> None:
    """What another program may do: keep rows in the catalog instead of files."""
    with duckdb.connect() as other:
        for extension in ("ducklake", "sqlite_scanner"):
            load_extension(other, extension)
        other.execute(lake.attach_statement(read_only=False).replace("ROW_LIMIT 0", "ROW_LIMIT 10"))
        other.execute("insert into lake.raw.raw_pairs (pair_id) values ('inlined')")
        other.execute("delete from lake.raw.raw_pairs where pair_id = 'a'")


CHANGES: dict[str, Callable[[Lake], object]] = {
    "append": lambda lake: append(lake, random.choice("abcdef")),
    "append elsewhere": lambda lake: lake.append(
        {"raw.quarantined_rows": pl.DataFrame({"reason": ["r"]})}, Commit("r")
    ),
    "mirror": lambda lake: _mirror(lake, *random.sample(["s", "t", "u"], k=random.randint(1, 3))),
    "refresh": _refresh,
    "delete": _execute("delete from raw.raw_pairs where pair_id = 'b'"),
    "update": _execute("update raw.raw_pairs set pair_id = 'z' where pair_id = 'c'"),
    "empty": _execute("delete from raw.raw_pairs"),
    "new column": _execute("alter table raw.raw_pairs add column if not exists further bigint"),
    "another view": _execute(
        "create or replace view selection.pairings as "
        "select teacher, 'by hand' as student, '' as scorer_fingerprint from profile.recipes"
    ),
    "another macro": _execute("create or replace macro selection.ppl_ratio(a, b, c) as a"),
    "table made anew": _execute(
        "drop table raw.quarantined_rows", "create table raw.quarantined_rows (reason varchar)"
    ),
    "compaction": _compact,
}


def _assert_right(lake: Lake) -> None:
    for question in QUESTIONS:
        assert lake.recall(question).equals(lake.read(question)), question


# ── right after every change ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(lake: Lake, change: Callable[[Lake], object]) -> None:
    append(lake, "a", "b", "c")
    _mirror(lake, "t")
    _refresh(lake)
    _assert_right(lake)
    change(lake)
    _assert_right(lake)


@pytest.mark.slow
def test_any_series_of_changes_is_seen(lake: Lake) -> None:
    random.seed(0)
    for _ in range(12):
        random.choice(list(CHANGES.values()))(lake)
        _assert_right(lake)


def test_rows_that_another_program_keeps_in_the_catalog_are_seen(lake: Lake) -> None:
    append(lake, "a", "b")
    _assert_right(lake)
    _inline(lake)
    _assert_right(lake)
    _execute("update raw.raw_pairs set pair_id = 'c' where pair_id = 'b'")(lake)
    _assert_right(lake)


@pytest.mark.parametrize("keeps_answers", [True, False])
def test_a_copy_and_a_restored_catalog_are_right_although_snapshots_are_numbered_alike(
    lake: Lake, tmp_path: Path, keeps_answers: bool
) -> None:
    append(lake, "a")
    copy = Lake(shutil.copytree(lake.warehouse, tmp_path / "copy"))
    append(lake, "b")
    append(copy, "c", "d")
    assert lake.snapshot_id() == copy.snapshot_id()
    _assert_right(lake)
    if keeps_answers:
        shutil.copy(lake.warehouse / "answers.sqlite", copy.warehouse)
    _assert_right(copy)


@pytest.mark.slow
def test_a_process_that_writes_meanwhile_never_makes_an_answer_wrong(lake: Lake) -> None:
    append(lake, "first")
    counted = [1]
    writer = python(
        "import sys; from pathlib import Path; from dagster_project.lakehouse.lake import Lake\n"
        "from tests.support.lakes import append\n"
        "lake = Lake(Path(sys.argv[1]))\n"
        "for i in range(15): append(lake, str(i))",
        lake.warehouse,
    )
    while writer.poll() is None:
        before = int(str(lake.scalar("select count(*) from raw.raw_pairs")))
        counted.append(lake.recall("select count(*) from raw.raw_pairs").item())
        assert counted[-1] >= before
    finish(writer)
    assert counted == sorted(counted)
    _assert_right(lake)


# ── and not computed again ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def asked_lake(lake: Lake) -> Lake:
    """A lake that was asked everything, and then lost its data: only what is known can be told."""
    append(lake, "a", "b")
    _mirror(lake, "t")
    _refresh(lake)
    for question in QUESTIONS:
        lake.recall(question)
    _facts(lake)
    for schema in ("raw", "profile", "selection"):
        shutil.rmtree(lake.warehouse / "data" / schema)
    return lake


def _facts(lake: Lake) -> tuple[int, str]:
    facts = lake.facts("selection.instruction_candidates", ["teacher", "pair_id", "content_id"], preview_rows=5)
    return facts.rows, facts.data_version


def test_what_is_known_is_not_computed_again(asked_lake: Lake) -> None:
    lake = Lake(asked_lake.warehouse)
    assert lake.recall(CANDIDATES).rows() == [("t", "a"), ("t", "b")]
    assert lake.recall(CHOICES)["reason"].to_list() == ["awaiting_reflection"] * 2
    assert _facts(lake)[0] == 2
    with pytest.raises(duckdb.IOException):
        lake.read(CANDIDATES)
    with pytest.raises(duckdb.IOException):
        lake.recall(CANDIDATES + " limit ?", [1])


def test_a_refresh_with_nothing_new_computes_nothing(asked_lake: Lake) -> None:
    before = snapshots(asked_lake)
    _refresh(asked_lake)
    assert snapshots(asked_lake) == before


def test_commits_elsewhere_leave_an_answer_known(asked_lake: Lake) -> None:
    _append_elsewhere(asked_lake)
    assert asked_lake.recall(CANDIDATES).height == 2
    append(asked_lake, "c")
    with pytest.raises(duckdb.IOException):
        asked_lake.recall(CANDIDATES)


def test_a_refresh_that_nobody_remembers_is_done_again(lake: Lake) -> None:
    """As after a kill between its commit and the note of it."""
    append(lake, "a")
    _mirror(lake, "t")
    _refresh(lake)
    before = snapshots(lake)
    (lake.warehouse / "answers.sqlite").unlink()
    _execute("delete from selection.instruction_choices")(lake)
    _refresh(lake)
    assert lake.read(CHOICES).height == 1
    assert snapshots(lake) == before + 2


def test_facts_that_are_known_are_those_that_were_computed(lake: Lake) -> None:
    lake.append({"training.training_pairs": pl.DataFrame({"recipe": ["r"], "rank": [1]})}, Commit("a row"))
    first, second = (
        lake.facts("(from training.training_pairs where recipe = ?)", ["recipe"], ["r"], preview_rows=1) for _ in "12"
    )
    assert first == second
    assert dict(first.columns)["created_at"] == "timestamp"
    assert first.preview == lake.read("from training.training_pairs").rows()


def test_a_long_answer_is_not_kept(lake: Lake) -> None:
    question = "select i from range(101) t(i), raw.raw_pairs"
    append(lake, "a")
    assert lake.recall(question).height == 101
    assert lake.recall(question + " limit 100").height == 100
    with sqlite_file(lake.warehouse / "answers.sqlite") as file:
        assert file.execute("select count(*) from answers").fetchone() == (1,)


# ── the file ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _flip(file: Path) -> None:
    with sqlite_file(file) as answers:
        answers.execute("update answers set answer = replace(answer, cast('a' as blob), cast('b' as blob))")


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no database " * 1000),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        _flip,
        lambda file: file.unlink(),
    ],
    ids=["empty", "garbage", "cut", "other bytes", "gone"],
)
def test_a_damaged_file_of_answers_is_made_anew(lake: Lake, damage: Callable[[Path], object]) -> None:
    append(lake, "a", "b")
    _mirror(lake, "t")
    for _ in range(2):
        _assert_right(lake)
        damage(lake.warehouse / "answers.sqlite")
    _assert_right(lake)
    _assert_right(lake)
    shutil.rmtree(lake.warehouse / "data" / "raw")
    assert lake.recall(CANDIDATES).height == 2


def test_a_file_that_cannot_be_written_is_done_without(lake: Lake) -> None:
    append(lake, "a")
    (lake.warehouse / "answers.sqlite").mkdir()
    _assert_right(lake)


# ── what a question reads ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("with x as (from raw.a) select *, (select 1 from b.c) from x where y in (from e.f)", {"raw.a", "b.c", "e.f"}),
        ("from lake.a.b union all from range(10), unnest([1])", {"a.b"}),
        ("select count(*) filter (x > ?) from a.b order by md5(y)", {"a.b"}),
        *[
            (sql, None)
            for sql in (
                "from a.b where x < now()",
                "select current_date, x from a.b",
                "from a.b order by random()",
                "from a.b using sample 3",
                "from a.b at (version => 3)",
                "from lake.snapshots()",
                "from 'file.csv'",
                "from read_csv('file.csv')",
                "from unqualified",
                "from memory.a.b",
                "from (describe a.b)",
                "insert into a.b values (1)",
                "no sql",
            )
        ],
    ],
)
def test_what_a_question_reads_is_known_or_it_is_no_question_for_memory(sql: str, reads: set[str] | None) -> None:
    assert relations_read(sql) == (None if reads is None else frozenset(reads))


def test_all_that_the_assets_ask_can_be_remembered() -> None:
    for name, model in load_models().items():
        asks_for_history = name == "lineage.data_versions"  # which no state of tables stands for
        assert relations_read(model.file.sql) == (None if asks_for_history else frozenset(model.file.depends_on))
    for file in [*pending_files().values(), *load_checks().values()]:
        assert relations_read(file.sql) == frozenset(file.depends_on)


def test_chance_and_the_history_of_the_lake_are_asked_anew(lake: Lake) -> None:
    append(lake, "a")
    history, chance = "select count(*) from lake.snapshots()", "select random()"
    before, drawn = lake.recall(history).item(), lake.recall(chance).item()
    append(lake, "b")
    assert lake.recall(history).item() == before + 1
    assert lake.recall(chance).item() != drawn


def test_no_function_that_duckdb_calls_volatile_is_remembered() -> None:
    volatile = "stability in ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
    functions = duckdb.execute(f"select distinct function_name from duckdb_functions() where {volatile}").fetchall()
    assert len(functions) > 20
    assert [name for (name,) in functions if relations_read(f"select {name}() from a.b") is not None] == []


@pytest.mark.parametrize("word", ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"])
def test_no_clock_is_remembered(word: str) -> None:
    assert relations_read(f"select {word} from a.b") is None
