"""evaluation.opponents: which checkpoint is compared with which model, as `evaluation.opponents` says."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import BASE, Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, asset_key, table_result

TABLE = "evaluation.opponents"
_MODELS = "evaluation.models"
# A checkpoint meets its base, and of a recipe the checkpoint of its own student and training seed.
_MATCHED = f"""
select models.model, others.model as opponent, wanted.why
from {_MODELS} as models
cross join (select unnest($1::varchar[]) as why) as wanted
inner join {_MODELS} as others
    on others.student_fingerprint = models.student_fingerprint
    and if(
        wanted.why = '{BASE}',
        others.kind = 'base',
        others.recipe = wanted.why and others.training_seed = models.training_seed
    )
where models.kind = 'checkpoint'
  and others.model <> models.model
order by all
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=[asset_key(_MODELS)],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"sql", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def opponents(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    matched = lake.read(_MATCHED, [observed(profile)])
    lake.mirror({TABLE: matched.to_dicts()}, Commit("who meets whom", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def observed(profile: Profile) -> list[Any]:
    """What the profile says."""
    return list(profile.evaluation.opponents)
