"""From the teacher's ledger to reflection.teacher_replies: replies as they came, and for what got none the reason."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import duckdb
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.steps.commits import COMMIT_ROWS, commit_batches
from models_py.content import content_id
from models_py.conversation import NO_CONTEXT, Context
from models_py.teacher import parser
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.request import NEW_ANSWER, NEW_INSTRUCTION, REQUESTS, VERDICT

TABLE = "reflection.teacher_replies"

# The pair that a content was shown for: in the second phase one of them, where several came to the same text. Of a new
# instruction that was shown alone the reply tells which asked for it.
_PAIRS = """
with shown as (
    select 'instruction_reflection' as phase, pair_id as content_id, pair_id from raw.raw_pairs
    union all
    select 'instruction_reflection', pair_id, pair_id from reflection.instruction_reflections
    union all
    select 'response_reflection', base_content_id, pair_id from reflection.response_reflections
    union all
    select 'response_reflection', content_id, pair_id from selection.instruction_candidates
)
select unnest(case phase when 'instruction_reflection' then ['instruction_reflection', 'new_instruction']
                         else ['response_reflection', 'better_answer'] end) as phase,
    content_id, min(pair_id) as pair_id
from shown group by shown.phase, content_id
"""


_CONTEXTS = "select pair_id, system, history from raw.raw_pairs where system <> '' or history <> '[]'"


def mirror_replies(lake: Lake, ledger: Ledger, run_id: str) -> None:
    """Bring the table up to the ledger. A reply takes the place of the failures before it."""
    with lake.exclusively(TABLE):
        lake.prepare()  # a lake of before lacks a column
        _read_again(lake, run_id)
        pair_of = {row[:2]: row[2] for row in lake.read(_PAIRS).iter_rows()}
        _find_pairs(lake, pair_of, run_id)
        mirrored = dict(lake.read(f"select request_id, error from {TABLE}").iter_rows())
        contexts = {pair_id: Context.of(*context) for pair_id, *context in lake.read(_CONTEXTS).iter_rows()}
        of_pairs = (row for row in ledger.all_since() if row.phase != VERDICT)  # those are in evaluation.verdicts
        all_rows = _with_new_instructions(of_pairs, pair_of, contexts)
        new = (row for row in all_rows if _is_new(row, mirrored))
        for batch in commit_batches(new):
            rows = [_columns(row, pair_of) for row in batch]
            replaced = [str(row["request_id"]) for row in rows if row["request_id"] in mirrored]
            if replaced:
                _delete(lake, replaced, run_id)
            lake.append({TABLE: rows}, Commit("replies from the ledger", asset=TABLE, run_id=run_id))


def _with_new_instructions(
    rows: Iterable[LedgerRow], pair_of: dict[tuple[str, str], str], contexts: Mapping[str, Context]
) -> Iterator[LedgerRow]:
    """The rows; of each that is a new instruction, what its second request shows goes into `pair_of`."""
    for row in rows:
        pair_id = pair_of.get((NEW_INSTRUCTION, row.content_id)) if row.phase == NEW_INSTRUCTION else None
        if pair_id is not None:
            told = parser.parse_reply(row.phase, row.reply.reply, row.reply.finish_reason, row.reply.error).instruction
            if told is not None:
                shown = content_id(told, "", "", contexts.get(pair_id, NO_CONTEXT))
                pair_of.setdefault((NEW_ANSWER, shown), pair_id)
        yield row


def _is_new(row: LedgerRow, mirrored: Mapping[str, str | None]) -> bool:
    if row.reply.request_id not in mirrored:
        return True
    before = mirrored[row.reply.request_id]
    return before is not None and before != row.reply.error


def _delete(lake: Lake, request_ids: list[str], run_id: str) -> None:
    delete = f"delete from {TABLE} where error is not null and list_contains($1, request_id)"
    commit = Commit("failures that were asked again", asset=TABLE, run_id=run_id)
    lake.write(lambda connection: connection.execute(delete, [request_ids]), commit)


def _read_again(lake: Lake, run_id: str) -> None:
    """Give the rows of another parser, or of none, the status that today's reads: all in one transaction, or none."""
    versions = " ".join(f"when '{request}' then '{parser.version_of(request)}'" for request in REQUESTS)
    today = f"case phase {versions} else '{parser.PARSER_VERSION}' end"
    unread = f"(status is null or coalesce(parser_version, '{parser.FIRST_VERSION}') <> {today})"
    query = f"select request_id, phase, reply, finish_reason, error from {TABLE} where {unread}"
    replies = lake.batches(query, rows=COMMIT_ROWS)
    read = [(row[0], parser.parse_reply(*row[1:]).status) for batch in replies for row in batch.iter_rows()]
    message = f"replies read again by parser {parser.PARSER_VERSION}"
    _replace(lake, "status", read, message, run_id, also=f"{today} as parser_version")


def _find_pairs(lake: Lake, pair_of: Mapping[tuple[str, str], str], run_id: str) -> None:
    """Name the pair in rows that were mirrored before it was known: by an earlier version, or by a run that failed."""
    rows = lake.read(f"select request_id, phase, content_id from {TABLE} where pair_id is null").iter_rows()
    found = [(request_id, pair_of[phase, id_]) for request_id, phase, id_ in rows if (phase, id_) in pair_of]
    _replace(lake, "pair_id", found, "pairs of earlier replies", run_id)


def _replace(
    lake: Lake, column: str, values: Sequence[tuple[str, str]], message: str, run_id: str, *, also: str | None = None
) -> None:
    """Another value in one column of some rows, by request id: all in one transaction, or none."""
    if not values:
        return
    frame = pl.DataFrame(values, schema={"request_id": pl.String, column: pl.String}, orient="row")
    changes = ", ".join(filter(None, [f"new_values.{column} as {column}", also]))

    def change(connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("new_values", frame.to_arrow())
        connection.execute(
            f"create temp table changed as select replies.* replace ({changes}) "
            f"from {TABLE} as replies inner join new_values using (request_id)"
        )
        connection.execute(f"delete from {TABLE} where request_id in (select request_id from new_values)")
        connection.execute(f"insert into {TABLE} by name from changed")
        connection.execute("drop table changed")
        connection.unregister("new_values")

    lake.write(change, Commit(message, asset=TABLE, run_id=run_id))


def _columns(row: LedgerRow, pair_of: Mapping[tuple[str, str], str]) -> dict[str, object]:
    reply = row.reply
    return {
        "request_id": reply.request_id,
        "teacher": row.teacher,
        "identity": row.identity,
        "phase": row.phase,
        "content_id": row.content_id,
        "pair_id": pair_of.get((row.phase, row.content_id)),
        "parse_attempt": row.parse_attempt,
        "reply": reply.reply,
        "finish_reason": reply.finish_reason,
        "status": parser.parse_reply(row.phase, reply.reply, reply.finish_reason, reply.error).status,
        "parser_version": parser.version_of(row.phase),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "attempts": reply.attempts,
        "latency_s": reply.latency_s,
        "cost_usd": reply.cost_usd,
        "error": reply.error,
        "created_at": datetime.fromisoformat(row.created_at),
    }
