"""A damaged file of the lake is told, with its name and what to do; no flipped bit becomes a row in silence."""

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from dagster_project.lakehouse.data_files import DataFiles, sqlite_damage
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError
from tests.conftest import PROJECT
from tests.support.files import sqlite_file
from tests.support.lakes import append, ids

MADE_BY_0_1 = PROJECT / "tests" / "fixtures" / "version_0_1" / "lake"
TABLES = ("reflection.teacher_replies", "scoring.instruction_scores", "training.training_pairs")


def flip(file: Path, place: int, bit: int = 0) -> None:
    """Flip a bit and leave the times as they were."""
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def of_table(lake: Lake, table: str) -> Path:
    """The largest data file of a table."""
    files = (lake.warehouse / "data").joinpath(*table.split(".")).glob("*.parquet")
    return max(files, key=lambda file: file.stat().st_size)


@pytest.fixture
def seen(tmp_path: Path) -> Lake:
    """A lake with rows in every table, once looked at."""
    lake = Lake(shutil.copytree(MADE_BY_0_1, tmp_path / "lake"))
    lake.scalar("select 1")
    return lake


@pytest.mark.parametrize("table", TABLES)
def test_any_bit_flipped_in_a_file_that_was_seen_is_told(seen: Lake, table: str) -> None:
    file = of_table(seen, table)
    places = random.Random(table).sample(range(file.stat().st_size), 6)
    for place in places:
        flip(file, place)
        with pytest.raises(UserError) as told:
            Lake(seen.warehouse).read("select 1")
        assert f"{file} is not what was written" in str(told.value)
        assert "backup" in str(told.value) and "teacher.sqlite" in str(told.value)
        flip(file, place)
    assert Lake(seen.warehouse).read(f"select count(*) from {table}").item() > 0


def test_a_cut_file_is_told_by_the_first_look_and_a_missing_one_before_a_run(seen: Lake) -> None:
    cut, missing = of_table(seen, TABLES[0]), of_table(seen, TABLES[1])
    missing.unlink()
    lake = Lake(seen.warehouse)
    assert lake.scalar("select count(pair_id) from raw.raw_pairs") == 8
    for what in (lake.check_sound, lambda: lake.read(f"from {TABLES[1]}")):
        with pytest.raises(UserError, match=rf"{missing}:? is missing"):
            what()
    os.truncate(cut, 100)
    with pytest.raises(UserError, match=rf"{cut} is not what was written"):
        Lake(seen.warehouse).prepare()


def test_what_this_project_wrote_is_known_before_it_was_ever_read(lake: Lake) -> None:
    append(lake, "a", "b")
    flip(of_table(lake, "raw.raw_pairs"), 20)
    with pytest.raises(UserError, match="is not what was written"):
        ids(Lake(lake.warehouse))


def test_a_file_that_cannot_be_read_is_named_where_nobody_knows_its_hash(tmp_path: Path) -> None:
    lake = Lake(shutil.copytree(MADE_BY_0_1, tmp_path / "lake"))
    file = of_table(lake, "reflection.teacher_replies")
    os.truncate(file, file.stat().st_size - 20)
    with pytest.raises(UserError, match=f"damaged:\n  {file}: .*\nRestore what is named from a backup"):
        lake.read("from reflection.teacher_replies")


def test_wrong_queries_are_no_damage(seen: Lake) -> None:
    for query in ("select cast('x' as integer)", "select error('told')", "from nowhere", "selec 1"):
        with pytest.raises(Exception, match=r".") as raised:
            seen.read(query)
        assert not isinstance(raised.value, UserError)


def test_a_moved_or_copied_lake_is_whole_and_its_hashes_go_with_it(seen: Lake, tmp_path: Path) -> None:
    moved = Lake(shutil.copytree(seen.warehouse, tmp_path / "moved"))
    moved.scalar("select 1")
    flip(of_table(moved, TABLES[0]), 30)
    with pytest.raises(UserError, match="is not what was written"):
        Lake(moved.warehouse).scalar("select 1")


def test_a_merged_file_is_known_from_its_merging_on(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for pair in ("a", "b", "c"):
        append(lake, pair)
    lake.compact([], at_once=True)
    [merged] = (lake.warehouse / "data" / "raw" / "raw_pairs").iterdir()
    flip(merged, 30)
    with pytest.raises(UserError, match="is not what was written"):
        Lake(lake.warehouse).scalar("select 1")


def test_what_remembers_may_be_lost_or_damaged_itself(seen: Lake) -> None:
    memory = seen.warehouse / "data_files.sqlite"
    memory.write_bytes(b"no database" * 1000)
    Lake(seen.warehouse).scalar("select 1")
    with sqlite_file(memory) as file:
        file.execute("update files set sha256 = 'ff', seen = '[]'")  # its seal is broken: it says nothing
    Lake(seen.warehouse).scalar("select 1")
    memory.unlink()
    memory.mkdir()
    Lake(seen.warehouse).scalar("select 1")


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    files = DataFiles(tmp_path / "memory", tmp_path)
    files.remember(["a"])
    stat = (tmp_path / "a").stat()
    with sqlite_file(tmp_path / "memory") as memory:
        [(seen,)] = memory.execute("select seen from files").fetchall()
    assert json.loads(seen) == [3, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    assert list(files.damaged(["a", "b"])) == [f"{tmp_path / 'b'} is missing"]


# ── the databases ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["catalog.sqlite", "teacher.sqlite"])
def test_a_database_with_a_page_of_noise_is_told(seen: Lake, name: str) -> None:
    file = seen.warehouse / name
    with sqlite_file(file) as database:
        database.execute("pragma wal_checkpoint(truncate)")
        (size,) = database.execute("pragma page_size").fetchone()
    assert sqlite_damage(file) is None
    content = bytearray(file.read_bytes())
    content[size * 2 : size * 3] = random.Random(1).randbytes(size)
    file.write_bytes(content)
    assert sqlite_damage(file)


def test_what_is_no_database_is_told_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"noise" * 1000)
    assert sqlite_damage(tmp_path / "a") == "file is not a database"
    assert sqlite_damage(tmp_path / "b") is None
    odd = tmp_path / "it's 100% #1?.sqlite"
    sqlite3.connect(odd).close()
    with sqlite_file(odd) as database:
        database.execute("create table t (a)")
    assert sqlite_damage(odd) is None
