"""profile.teachers: who reflects, with the prompt versions that decide which replies are current."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.teacher.open_teacher import open_teacher

TABLE = "profile.teachers"


@dg.asset(
    key=key("profile", "teachers"),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def teachers(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    lake.mirror(
        {TABLE: rows(profile)}, Commit("teachers of the profile", asset="profile/teachers", run_id=context.run_id)
    )
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now, with the versions of the prompts. Raises UserError for a file that cannot be used."""
    opened = [open_teacher(spec, profile.ledger_path) for spec in profile.teacher_specs()]
    return [
        {
            "teacher": teacher.spec.name,
            "engine": teacher.spec.settings.engine,
            "identity": teacher.engine.identity,
            "model": teacher.spec.settings.model_name,
            "input_usd_per_million": teacher.spec.charged and teacher.spec.charged.input,
            "output_usd_per_million": teacher.spec.charged and teacher.spec.charged.output,
            "instruction_prompt_version": teacher.prompt_version("instruction_reflection"),
            "response_prompt_version": teacher.prompt_version("response_reflection"),
        }
        for teacher in opened
    ]
