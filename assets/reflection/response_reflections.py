"""reflection.response_reflections: the teacher rewrites the answer of the pair that won the first choice."""

import dagster as dg

from assets.reflection.reflect_pending import reflect_pending
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, pending_deps
from models_py.teacher.reflect_pairs import Reflection
from models_py.teacher.request import RESPONSE_REFLECTION

TABLE = "reflection.response_reflections"


@dg.asset(
    key=key("reflection", "response_reflections"),
    deps=pending_deps(TABLE),
    description="The teacher rewrites the answer of the pair that won the first choice. "
    + TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__, load_pending(TABLE).meaning),
)
def response_reflections(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    return reflect_pending(context, lake, profile, phase=RESPONSE_REFLECTION, table=TABLE, columns=_columns)


def _columns(reflection: Reflection) -> dict[str, str | None]:
    pair = reflection.pair
    return {"pair_id": pair.pair_id, "base": pair.base, "base_content_id": pair.base_content_id}
