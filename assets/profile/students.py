"""profile.students: who is trained and who scores, with the fingerprints that decide which scores are current."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.content import FileHashes, file_sha256
from models_py.student.resolve import find_student
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, DEFAULT_REVERSE_PROMPT

TABLE = "profile.students"
_LARGE_BYTES = 64 << 20


@dg.asset(
    key=key("profile", "students"),
    deps=[key("profile", "base_students")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def students(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    found = {name: find_student(student, profile.students_dir) for name, student in profile.students.items()}
    rows = [
        {
            "student": student.name,
            "model": student.model,
            "revision": student.revision,
            "max_length": student.max_length,
            "student_fingerprint": student.fingerprint,
            "scored_by": profile.scorer_of(student.name),
            "scorer_fingerprint": found[profile.scorer_of(student.name)].fingerprint,
        }
        for student in found.values()
    ]
    lake.mirror({TABLE: rows}, Commit("students of the profile", asset="profile/students", run_id=context.run_id))
    return table_result(lake, TABLE)


def observed(profile: Profile) -> list[object]:
    """What the students are made of, as far as it is seen without loading a model.

    Settings that are not at their default, the content of small files, names and sizes of large ones (weights).
    """
    hashes = FileHashes(profile.file_hashes)
    templates = [file_sha256(path) for path in (DEFAULT_CHAT_TEMPLATE, DEFAULT_REVERSE_PROMPT)]
    seen = [
        templates,
        *([_seen(student, hashes), profile.scorer_of(name)] for name, student in profile.students.items()),
    ]
    hashes.save()
    return seen


def _seen(value: object, hashes: FileHashes) -> object:
    if is_dataclass(value):
        named = {field.name: (field, getattr(value, field.name)) for field in fields(value)}
        return {name: _seen(found, hashes) for name, (field, found) in named.items() if found != field.default}
    if isinstance(value, tuple):
        return [_seen(item, hashes) for item in value]
    path = Path(value) if isinstance(value, str | Path) else None
    if path is None or not path.is_absolute():
        return value
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    sizes = [(file, file.stat().st_size) for file in files if file.is_file()]
    return [[file.name, size if size > _LARGE_BYTES else hashes.of(file)] for file, size in sizes]
