"""evaluation.judges: who compares answers, with the prompt versions that decide which verdicts are current."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, asset_key, table_result
from models_py.evaluation.judge import Judge, open_judge

TABLE = "evaluation.judges"


@dg.asset(
    key=asset_key(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def judges(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    lake.mirror({TABLE: rows(profile)}, Commit("judges of the profile", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now, with the versions of the prompts. Raises UserError for a file that cannot be used."""
    return [
        {
            "judge": name,
            "engine": judge.asked.spec.settings.engine,
            "identity": judge.asked.engine.identity,
            "model": judge.asked.spec.settings.model_name,
            "prompt_version": judge.prompt_version,
        }
        for name, judge in opened(profile).items()
    ]


def opened(profile: Profile) -> dict[str, Judge]:
    """Every judge by its name, ready to build requests."""
    specs = zip(profile.evaluation.judges, profile.judge_specs(), strict=True)
    return {name: open_judge(spec, profile.ledger) for name, spec in specs}
