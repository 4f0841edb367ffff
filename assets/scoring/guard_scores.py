"""scoring.guard_scores: the student's reversed-IFD terms of the first phase's texts, for a guarded first choice."""

import dagster as dg

from assets.scoring.score_pending import score_pending
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, pending_deps

TABLE = "scoring.guard_scores"


@dg.asset(
    key=key("scoring", "guard_scores"),
    deps=[*pending_deps(TABLE), key("profile", "students")],  # whose model it loads, whose scores are current
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"pytorch", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__, load_pending(TABLE).meaning),
    pool="gpu",
)
def guard_scores(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    return score_pending(context, lake, profile, TABLE)
