"""profile.students: who is trained and who scores, with the fingerprints that decide which scores are current."""

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.student.resolve import resolve_student

TABLE = "profile.students"


@dg.asset(
    key=key("profile", "students"),
    deps=[key("training", "base_student")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version="1",
)
def students(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    resolved = {spec.name: resolve_student(spec, profile.students_dir) for spec in profile.student_specs()}
    rows = [
        {
            "student": student.name,
            "model": student.model,
            "revision": student.revision,
            "max_length": student.max_length,
            "student_fingerprint": student.fingerprint,
            "scored_by": profile.scorer_of(student.name),
            "scorer_fingerprint": resolved[profile.scorer_of(student.name)].fingerprint,
        }
        for student in resolved.values()
    ]
    frame = pl.DataFrame(rows, schema_overrides={"revision": pl.String})
    lake.mirror({TABLE: frame}, Commit("students of the profile", asset="profile/students", run_id=context.run_id))
    return table_result(lake, TABLE)
