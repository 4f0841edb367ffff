"""profile.base_students: the models that score and are then trained. The only step that downloads or trains one."""

import dagster as dg

from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, key, table_value
from dagster_project.steps.step_progress import StepProgress
from models_py.content import fingerprint
from models_py.student.resolve import check_student, make_student

KEY = key("profile", "base_students")
_SHOWN = {
    "student": "varchar",
    "model": "varchar",
    "revision": "varchar",
    "max_length": "bigint",
    "fingerprint": "varchar",
}


@dg.asset(
    key=KEY,
    # What fails for nothing comes first: sources that are not there, a teacher without its key.
    deps=[key("profile", "sources"), key("profile", "teachers")],
    description="The profile's students as they are before fine-tuning: hub models, folders, or a toy trained here. "
    "Scoring and training share them. Grain: one model a student of the profile.",
    kinds={"huggingface", "pytorch"},
    owners=OWNERS,
    code_version=code_version(__name__),
    pool="gpu",
)
def base_students(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    own_process = profile.executor != "in_process"
    with interrupted_in_order(has_own_process=own_process), lake.exclusively("profile.base_students"):
        for student in profile.students.values():  # all of them before the first is made
            check_student(student)
        students = [
            make_student(student, profile.students_dir, StepProgress(context, f"student {student.name}", KEY))
            for student in profile.students.values()
        ]
    shown = [(s.name, s.model, s.revision, s.max_length, s.fingerprint) for s in students]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(fingerprint([[s.name, s.fingerprint] for s in students])[:16]),
        metadata={"dagster/row_count": len(students), "students": table_value([*_SHOWN.items()], shown)},
    )
