"""evaluation.opponents: which checkpoint is compared with which model, as `evaluation.opponents` says."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, asset_key, table_result
from models_py.evaluation.opponents import Contestant, meetings

TABLE = "evaluation.opponents"
_MODELS = "evaluation.models"
_CONTESTANTS = f"select model, recipe, training_seed, student_fingerprint from {_MODELS} order by model"


@dg.asset(
    key=asset_key(TABLE),
    deps=[asset_key(_MODELS)],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def opponents(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    models = [Contestant(*row) for row in lake.read(_CONTESTANTS).iter_rows()]
    rows = [asdict(one) for one in meetings(models, observed(profile))]
    lake.mirror({TABLE: rows}, Commit("who meets whom", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def observed(profile: Profile) -> list[Any]:
    """What the profile says."""
    return list(profile.evaluation.opponents)
