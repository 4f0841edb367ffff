"""reflection.teacher_replies: the teacher's ledger, mirrored so that SQL can ask what was asked and what it cost.

Replies are appended as they come. When the parser reads replies differently, those mirrored before are read again, so
that their statuses are those of the reflections.
"""

from datetime import datetime

import dagster as dg
import duckdb
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import COMMIT_ROWS, commit_batches
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.teacher import parser
from models_py.teacher.ledger import Ledger, LedgerRow

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
        lake.prepare()  # a lake of before has no column `parser_version` yet
        _read_again(lake, context.run_id)
        mirrored = set(lake.read(f"select request_id from {TABLE}")["request_id"])
        # An error is no reply: the ledger keeps it to ask again, the lake gets the reply once it has come.
        new = (row for row in ledger.all_since() if row.reply.error is None and row.reply.request_id not in mirrored)
        for batch in commit_batches(new):
            rows = [_columns(row) for row in batch]
            lake.append({TABLE: rows}, Commit("replies from the ledger", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def _read_again(lake: Lake, run_id: str) -> None:
    """Give the rows of another parser, or of none, the status that today's reads: all in one transaction, or none."""
    today = [parser.PARSER_VERSION]
    unread = f"(status is null or coalesce(parser_version, '{parser.FIRST_VERSION}') <> $1)"
    query = f"select request_id, phase, reply, finish_reason, error from {TABLE} where {unread}"
    replies = lake.batches(query, today, rows=COMMIT_ROWS)
    read = [(row[0], parser.parse_reply(*row[1:]).status) for batch in replies for row in batch.iter_rows()]
    if not read:
        return
    statuses = pl.DataFrame(read, schema={"request_id": pl.String, "status": pl.String}, orient="row")

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("statuses", statuses.to_arrow())
        connection.execute(
            f"insert into {TABLE} by name "
            "select replies.* replace (statuses.status as status, $1 as parser_version) "
            f"from (from {TABLE} where {unread}) as replies inner join statuses using (request_id)",
            today,
        )
        connection.execute(f"delete from {TABLE} where {unread}", today)
        connection.unregister("statuses")

    message = f"replies read again by parser {parser.PARSER_VERSION}"
    lake.write(change, Commit(message, asset=TABLE, run_id=run_id))


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
        "status": parser.parse_reply(row.phase, reply.reply, reply.finish_reason, reply.error).status,
        "parser_version": parser.PARSER_VERSION,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "attempts": reply.attempts,
        "latency_s": reply.latency_s,
        "cost_usd": reply.cost_usd,
        "error": reply.error,
        "created_at": datetime.fromisoformat(row.created_at),
    }
