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
from models_py.errors import UserError
from models_py.student.resolve import find_student
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, DEFAULT_REVERSE_PROMPT, ResolvedStudent

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


def current_student(lake: Lake, profile: Profile, name: str, *, reread: bool = False) -> ResolvedStudent:
    """The student as profile/students found it, so that what is scored, selected by and trained is one model.

    reread: read all bytes of its weights again, see `find_student`. Raises UserError where it is another by now.
    """
    student = find_student(profile.students[name], profile.students_dir, reread=reread)
    known = lake.recall(f"select student_fingerprint from {TABLE} where student = ?", [name])
    if student.fingerprint not in known["student_fingerprint"]:
        raise UserError(
            f"students.{name}: its weights, tokenizer, templates or settings have changed since profile/students found "
            "them, so scores and selection are another model's. Run again from profile/students on (`make run` does), "
            "or put the model back as it was"
        )
    return student


def current_base(lake: Lake, profile: Profile, name: str, was: ResolvedStudent | None = None) -> ResolvedStudent:
    """The student that is trained: the one whose scores chose the rows, unless another scores for it.

    was: what it was found to be; all bytes of its weights are read again. Raises UserError where they are others.
    """
    reread = was is not None
    if profile.scorer_of(name) == name:
        return current_student(lake, profile, name, reread=reread)
    student = find_student(profile.students[name], profile.students_dir, reread=reread)
    if was is not None and student != was:
        raise UserError(f"students.{name}: its weights have changed without a trace in size, times or inode; run again")
    return student


def observed(profile: Profile) -> list[object]:
    """What the students are made of, as far as it is seen without loading a model.

    Settings that are not at their default, the content of small files; of large ones (weights) name, size, times and
    inode, which a copy of equal size and age changes too.
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
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return [
        [file.name, FileHashes.seen(stat) if stat.st_size > _LARGE_BYTES else hashes.of(file)] for file, stat in stats
    ]
