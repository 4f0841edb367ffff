"""reflection.teacher_replies: the teacher's ledger, mirrored so that SQL can ask what was asked and what it cost."""

from datetime import datetime

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import commit_batches
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.parser import parse_reply

TABLE = "reflection.teacher_replies"


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
    with lake.exclusively(TABLE), Ledger(profile.ledger_path) as ledger:
        mirrored = set(lake.read(f"select request_id from {TABLE}")["request_id"])
        # An error is no reply: the ledger keeps it to ask again, the lake gets the reply once it has come.
        new = (row for row in ledger.all_since() if row.reply.error is None and row.reply.request_id not in mirrored)
        for batch in commit_batches(new):
            rows = [_columns(row) for row in batch]
            lake.append({TABLE: rows}, Commit("replies from the ledger", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def _columns(row: LedgerRow) -> dict[str, object]:
    reply = row.reply
    return {
        "request_id": reply.request_id,
        "teacher": row.teacher,
        "identity": row.identity,
        "phase": row.phase,
        "content_id": row.content_id,
        "parse_attempt": row.parse_attempt,
        "reply": reply.reply,
        "finish_reason": reply.finish_reason,
        "status": parse_reply(row.phase, reply.reply, reply.finish_reason, reply.error).status,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "attempts": reply.attempts,
        "latency_s": reply.latency_s,
        "cost_usd": reply.cost_usd,
        "error": reply.error,
        "created_at": datetime.fromisoformat(row.created_at),
    }
