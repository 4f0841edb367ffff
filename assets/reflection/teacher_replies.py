"""reflection.teacher_replies: the teacher's ledger, mirrored so that SQL can ask what was asked and what it cost.

Replies are appended as they come; a request without one is a row with its error, until the reply has come. When the
parser reads replies differently, those mirrored before are read again, so that their statuses are those of the
reflections. A reflection step that ends without a usable reply mirrors them itself: nothing comes after it.
"""

import dagster as dg

from assets.reflection.mirror_replies import TABLE, mirror_replies
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.teacher.ledger import Ledger


@dg.asset(
    key=key("reflection", "teacher_replies"),
    deps=[key("reflection", "instruction_reflections"), key("reflection", "response_reflections")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"sqlite", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def teacher_replies(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    with Ledger(profile.ledger) as ledger:
        mirror_replies(lake, ledger, context.run_id)
    return table_result(lake, TABLE)
