"""profile.students: who scores for whom."""

from pathlib import Path

import dagster as dg
import pytest

from assets.profile import students as module
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import load_profile
from models_py.student.spec import ResolvedStudent, Student
from tests.support.profiles import SMALLEST, write_profile

PROFILE = {
    **SMALLEST,
    "students": {"small": {"model": "a/small"}, "big": {"model": "a/big", "scored_by": "small"}},
    "recipes": {"first": {"policy": "paper", "teacher": "tape", "student": "big"}},
}


def test_the_scorer_of_a_student_is_the_one_it_names(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(spec: Student, _folder: Path) -> ResolvedStudent:
        return ResolvedStudent(spec.name, str(spec.model), None, f"print of {spec.name}", 9, "", "")

    monkeypatch.setattr(module, "find_student", found)
    profile = load_profile(write_profile(tmp_path, PROFILE))
    module.students(dg.build_asset_context(), lake=lake, profile=profile)
    columns = "student, scored_by, student_fingerprint, scorer_fingerprint"
    assert lake.read(f"select {columns} from profile.students order by student").rows() == [
        ("big", "small", "print of big", "print of small"),
        ("small", "small", "print of small", "print of small"),
    ]
