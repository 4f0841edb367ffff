"""What another warehouse has paid for and computed is taken over by id, and that warehouse stays as it is."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.raw.raw_pairs import raw_pairs
from assets.reflection.instruction_reflections import instruction_reflections
from assets.scoring.instruction_scores import instruction_scores
from dagster_project.lakehouse.donors import check_donors, take_replies, take_scores
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from models_py.content import content_id, file_sha256
from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from tests.assets.conftest import CAT, DOG, OWL, Flow, Gpt
from tests.conftest import PROJECT
from tests.support.files import sqlite_file
from tests.support.profiles import SMALLEST, write_profile

TABLE = "scoring.instruction_scores"
PENDING = f"({load_pending(TABLE).sql})"


def everything(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every file and folder of a warehouse, with its times and bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino, file_sha256(path) if path.is_file() else "")
        for path in [folder, *folder.rglob("*")]
    }


def score(flow: Flow, fingerprint: str, **nlls: float) -> None:
    """Scores by that student, as if computed: pair's name -> its answer alone."""
    by_name = {"cat": CAT, "dog": DOG, "owl": OWL}
    rows = [
        {"student": "theirs", "student_fingerprint": fingerprint, "content_id": content_id(*by_name[name])}
        | {"answer_nll": nll, "answer_nll_given_instruction": 1.0, "answer_tokens": 1, "status": "ok"}
        for name, nll in nlls.items()
    ]
    flow.lake.append({TABLE: rows}, Commit("scores"))


@pytest.fixture
def donor(ready: Flow, gpt: Gpt) -> Flow:
    """A warehouse whose teacher was asked about all pairs and whose student has scored two of them."""
    gpt.teaches(ready)
    ready.run(instruction_reflections)
    assert len(gpt.asked) == 3
    score(ready, str(ready.lake.scalar("select student_fingerprint from profile.students")), cat=2.0, dog=3.0)
    score(ready, "another", owl=4.0)
    return ready


@pytest.fixture
def given(donor: Flow, tmp_path: Path) -> Path:
    """That warehouse, as nobody in this process has opened it."""
    return shutil.copytree(donor.profile.warehouse, tmp_path / "given")


@pytest.fixture
def other(donor: Flow, given: Path, new_flow: Flow, gpt: Gpt, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """A profile of its own with the same pairs and the same student under another name."""
    other = new_flow.copy(tmp_path_factory.mktemp("other"))
    student = {"mine": {"model": str(donor.folder / "student"), "max_length": 64}}
    recipe = {"paper": {"policy": "paper", "teacher": "gpt", "student": "mine"}}
    gpt.teaches(other, {"reuse": [str(given)], "students": student, "recipes": recipe})
    list(other.run(raw_pairs))
    for asset in (recipes, students, teachers):
        other.run(asset)
    return other


def test_replies_to_the_same_requests_are_not_paid_for_again(donor: Flow, given: Path, other: Flow, gpt: Gpt) -> None:
    before = everything(given)
    gpt.asked.clear()
    result = other.run(instruction_reflections)
    assert (gpt.asked, result.metadata["reused_replies"]) == ([], 3)
    columns = "pair_id, request_id, status, instruction, output"
    query = f"select {columns} from reflection.instruction_reflections order by all"
    assert other.lake.read(query).rows() == donor.lake.read(query).rows()
    assert everything(given) == before
    assert other.run(instruction_reflections).metadata["reused_replies"] == 0


def test_what_the_donor_was_not_asked_is_asked(other: Flow, gpt: Gpt) -> None:
    cow = ("Describe a cow.", "", "Large.")
    other.pairs(CAT, cow)
    list(other.run(raw_pairs))
    gpt.asked.clear()
    assert other.run(instruction_reflections).metadata["reused_replies"] == 1
    assert [cow[0] in prompt for prompt in gpt.asked] == [True]


def test_scores_of_the_same_text_by_the_same_student_are_taken_over(given: Path, other: Flow) -> None:
    before = everything(given)
    assert take_scores(other.profile.reuse, other.lake, TABLE, PENDING, "r1") == 2
    rows = other.lake.read(f"select student, content_id, answer_nll, status from {TABLE} order by answer_nll").rows()
    assert rows == [("mine", content_id(*CAT), 2.0, "ok"), ("mine", content_id(*DOG), 3.0, "ok")]
    left = other.lake.read(f"select content_id from {PENDING}")["content_id"].to_list()
    assert left == [content_id(*OWL)]
    assert take_scores(other.profile.reuse, other.lake, TABLE, PENDING, "r1") == 0
    assert everything(given) == before


def test_where_all_scores_are_taken_over_no_model_is_loaded(donor: Flow, given: Path, other: Flow) -> None:
    score(donor, str(donor.lake.scalar("select student_fingerprint from profile.students")), owl=4.0)
    shutil.rmtree(given)
    shutil.copytree(donor.profile.warehouse, given)
    assert other.run(instruction_scores).metadata["reused_scores"] == 3


def test_what_the_donor_has_not_folded_in_yet_counts(given: Path, other: Flow) -> None:
    """Its run may still be going on: the last replies lie beside the database."""
    with sqlite_file(given / "teacher.sqlite") as running:
        running.execute("update teacher_replies set reply = 'in the log'")
        running.commit()
        ids = [row[0] for row in running.execute("select request_id from teacher_replies").fetchall()]
        assert (given / "teacher.sqlite-wal").stat().st_size > 0
        before = everything(given)
        with Ledger(other.profile.ledger_path) as ours:
            assert take_replies(other.profile.reuse, ours, ids) == 3
            assert {row.reply.reply for row in ours.all_since()} == {"in the log"}
        assert everything(given) == before


def test_a_donor_of_0_1_is_read_as_it_is(other: Flow, tmp_path: Path) -> None:
    warehouse = shutil.copytree(PROJECT / "tests" / "fixtures" / "version_0_1" / "lake", tmp_path / "old")
    old, before = Lake(shutil.copytree(warehouse, tmp_path / "read")), everything(warehouse)
    wanted = "(select student_fingerprint, content_id from scoring.chosen_scores)"
    other.lake.append({"scoring.chosen_scores": old.read("from scoring.chosen_scores")}, Commit("to be wanted"))
    assert (
        take_scores([warehouse], other.lake, TABLE, wanted, "r1")
        == old.read(f"from {TABLE} semi join scoring.chosen_scores using (student_fingerprint, content_id)").height
    )
    with Ledger(other.profile.ledger_path) as ours, Ledger(tmp_path / "read" / "teacher.sqlite") as theirs:
        rows = list(theirs.all_since())
        assert take_replies([warehouse], ours, [row.reply.request_id for row in rows]) == len(rows) > 0
    assert everything(warehouse) == before


def test_a_donor_whose_data_is_damaged_is_named(given: Path, other: Flow) -> None:
    file = next((given / "data" / "scoring" / "instruction_scores").glob("*.parquet"))
    os.truncate(file, 50)
    with pytest.raises(UserError, match="is not what was written"):
        take_scores(other.profile.reuse, other.lake, TABLE, PENDING, "r1")


def test_a_folder_that_is_no_warehouse_is_told_first(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"reuse: .* is no warehouse.*Name the folder"):
            check_donors([folder])


def test_the_profile_names_folders_that_are_not_its_own(tmp_path: Path) -> None:
    from dagster_project.profile.load import load_profile

    profile = load_profile(write_profile(tmp_path, {**SMALLEST, "reuse": ["../first", "/elsewhere"]}))
    assert profile.reuse == (tmp_path.parent / "first", Path("/elsewhere"))
    with pytest.raises(UserError, match="reuse: names the profile's own warehouse"):
        load_profile(write_profile(tmp_path, {**SMALLEST, "reuse": ["house"]}))
