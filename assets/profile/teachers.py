"""profile.teachers: who reflects, with the prompt versions that decide which replies are current."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.errors import UserError
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.request import PHASES

TABLE = "profile.teachers"


@dg.asset(
    key=key("profile", "teachers"),
    deps=[key("raw", "raw_pairs")],  # to know whether a recording is one of these pairs
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
    if _asks_later(context):
        _check_ready(lake, profile)
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now, with the versions of the prompts. Raises UserError for a file that cannot be used."""
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
        for teacher in _opened(profile)
    ]


def _opened(profile: Profile) -> list[OpenTeacher]:
    return [open_teacher(spec, profile.ledger) for spec in profile.teacher_specs()]


def _asks_later(context: dg.AssetExecutionContext) -> bool:
    """Whether this run goes on to ask the teachers: who only looks at the sources needs no key yet."""
    try:
        assets = context.job_def.asset_layer.executable_asset_keys
    except dg.DagsterError:  # called outside of a run
        return False
    return any(asset.path[0] == "reflection" for asset in assets)


def _check_ready(lake: Lake, profile: Profile) -> None:
    """Raise UserError for a teacher that cannot be asked, before a student is downloaded or trained for nothing.

    One that has answered everything, as far as the lake knows, need not be ready: a finished project runs without keys.
    """
    pairs = lake.read("select pair_id from raw.raw_pairs")["pair_id"].to_list()
    for teacher in _opened(profile):
        name = teacher.spec.name
        if not _has_answered(lake, name):
            teacher.engine.check_knows(pairs)
        try:
            teacher.engine.check_ready()
        except UserError:
            if not pairs or _is_to_be_asked(lake, name):
                raise


def _has_answered(lake: Lake, teacher: str) -> bool:
    """Whether one of its current replies can be used."""
    ok = "select count(*) from selection.current_instruction_reflections where teacher = ? and status = 'ok'"
    return bool(lake.scalar(ok, [teacher]))


def _is_to_be_asked(lake: Lake, teacher: str) -> bool:
    pending = (load_pending(f"reflection.{phase}s").sql for phase in PHASES)
    return any(lake.scalar(f"select count(*) from ({sql}) where teacher = ?", [teacher]) for sql in pending)
