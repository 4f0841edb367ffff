"""profile.recipes: which policy, teacher and student make which training set, and how it is cut."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result

TABLE = "profile.recipes"


@dg.asset(
    key=key("profile", "recipes"),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def recipes(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    lake.mirror(
        {TABLE: rows(profile)}, Commit("recipes of the profile", asset="profile/recipes", run_id=context.run_id)
    )
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now."""
    return [
        {
            "recipe": name,
            **recipe.columns,
            "response_reflection": profile.response_reflection,
            "first_choice": profile.first_choice,
        }
        for name, recipe in profile.recipes.items()
    ]
