"""A lake, a ledger and checkpoints made by version 0.1.0 are opened, found current and used by this one.

tests/fixtures/version_0_1 was written by that version's `make run` over eight pairs: one teacher behind a server that
is no more (port 9 answers nobody), one recorded; one student, two recipes. A setting, a column or a rule that has been
added since must not change the ids and versions of whoever does not use it: nothing may be asked, scored or trained.
"""

import shutil
from pathlib import Path

import polars as pl
import pytest

from dagster_project.lakehouse.lake import Lake
from tests.conftest import PROJECT, RunHere
from tests.support.files import sqlite_file

pytestmark = pytest.mark.slow

MADE_BY_0_1 = PROJECT / "tests" / "fixtures" / "version_0_1"
# Everything that was paid for or computed, and what is chosen by it; columns that 0.1.0 had.
TABLES = {
    "raw.raw_pairs": "pair_id, source_row, instruction, input, output, duplicate_count",
    "raw.quarantined_rows": "source_row, byte_offset, reason",
    "reflection.teacher_replies": "request_id, teacher, phase, content_id, status, reply, cost_usd",
    # Distinct: a later parser that reads a reply the same adds the same reflection under its version.
    "reflection.instruction_reflections": "distinct teacher, pair_id, request_id, status, content_id",
    "reflection.response_reflections": "distinct teacher, pair_id, base, request_id, status, content_id",
    "scoring.instruction_scores": "student_fingerprint, content_id, answer_nll, answer_nll_given_instruction, status",
    "scoring.response_scores": "student_fingerprint, content_id, instruction_nll, instruction_nll_given_answer, status",
    "scoring.chosen_scores": "student_fingerprint, content_id, answer_nll, answer_nll_given_instruction, status",
    "selection.recycled_pairs": "recipe, pair_id, candidate, content_id, ifd, r_ifd, rank",
    "training.training_pairs": "recipe, data_version, rank, pair_id, candidate, instruction, input, output",
    "training.student_checkpoints": "recipe, checkpoint_id, data_version, snapshot_id, student_fingerprint, manifest",
}


def tables(lake: Lake) -> dict[str, pl.DataFrame]:
    return {table: lake.read(f"select {columns} from {table} order by all") for table, columns in TABLES.items()}


def ledger(warehouse: Path) -> list[tuple[object, ...]]:
    with sqlite_file(warehouse / "teacher.sqlite") as connection:
        return connection.execute("select * from teacher_replies order by seq").fetchall()


def files(warehouse: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in (warehouse / "checkpoints").rglob("*")}


def test_everything_is_found_current(tmp_path: Path, run_here: RunHere) -> None:
    folder = shutil.copytree(MADE_BY_0_1, tmp_path / "mine")
    warehouse = folder / "lake"
    lake = Lake(warehouse)
    before = (tables(lake), ledger(warehouse), files(warehouse))
    assert [frame.height for frame in before[0].values()] == [8, 1, 48, 16, 16, 15, 26, 13, 9, 9, 2]
    status, said = run_here(folder / "profile.yaml")
    assert status == 0, said
    after = (tables(lake), ledger(warehouse), files(warehouse))
    for name, frame in after[0].items():
        assert frame.equals(before[0][name]), name
    assert after[1:] == before[1:]
    assert "ETA" not in said
