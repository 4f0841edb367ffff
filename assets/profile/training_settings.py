"""profile.training_settings: how each recipe's students are trained; it decides which checkpoints are current."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.content import canonical_json

TABLE = "profile.training_settings"


@dg.asset(
    key=key("profile", "training_settings"),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def training_settings(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    commit = Commit("training settings of the profile", asset="profile/training_settings", run_id=context.run_id)
    lake.mirror({TABLE: rows(profile)}, commit)
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now."""
    return [
        {
            "recipe": recipe,
            "training_seed": settings.seed,
            "settings": canonical_json(settings.hashed).decode(),
        }
        for recipe in profile.recipes
        for settings in profile.trainings_of(recipe)
    ]
