"""evaluation.verdicts: every judge compares the answers of the models that meet, in both orders, and is asked once."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import dagster as dg
import polars as pl

from assets.evaluation.judges import opened
from dagster_project.lakehouse.donors import take_replies
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import commit_batches
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, pending_deps, table_result
from dagster_project.steps.step_progress import StepProgress, tell_waiting
from models_py.conversation import with_context
from models_py.errors import UserError
from models_py.evaluation.judge import Comparison, Judge, Judged, judge_all, request_ids
from models_py.teacher.ledger import Ledger

TABLE = "evaluation.verdicts"
_WITHOUT_JUDGE = "No judge: no verdicts. Name one under evaluation.judges (an engine, as of a teacher), and run again."
_KEYS = ("judge", "prompt_version", "generation")
_CURRENT = "evaluation.current_verdicts"
_SAME = "judge, prompt_version, generation, instruction_id, model_1, model_2, status"
_SHOWN = 3  # reasons


class Comparisons(Sequence[Comparison]):
    """The comparisons in a frame of pending rows, each made when it is asked for."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame.drop(*_KEYS)

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, index: Any) -> Any:
        return Comparison(**with_context(self._frame.row(index, named=True)))


@dg.asset(
    key=asset_key(TABLE),
    deps=pending_deps(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__, load_pending(TABLE).meaning),
)
def verdicts(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    own_process, reused = profile.executor != "in_process", 0
    with (
        interrupted_in_order(has_own_process=own_process),
        lake.exclusively(TABLE),
        Ledger(profile.ledger, tell_waiting) as ledger,
    ):
        pending = lake.read(load_pending(TABLE).sql)
        for name, judge in opened(profile).items():
            asked = pending.filter(pl.col("judge") == name)
            if asked.height:
                if profile.reuse:
                    reused += take_replies(profile.reuse, ledger, request_ids(Comparisons(asked), judge))
                _judge(context, lake, ledger, judge, asked)
            _check_readable(lake, judge, name)
    metadata: dict[str, Any] = {"pending_before": pending.height, **({"reused_replies": reused} if reused else {})}
    metadata |= _outcome(lake)
    if told := _told(lake, profile):
        metadata[TOLD_KEY] = "\n".join(told)
    return table_result(lake, TABLE, where=f"({_SAME}) in (select ({_SAME}) from {_CURRENT})", metadata=metadata)


def _judge(context: dg.AssetExecutionContext, lake: Lake, ledger: Ledger, judge: Judge, pending: pl.DataFrame) -> None:
    """One judge's comparisons. Raises UserError when the budget ended it; what came is committed by then."""
    keys = pending.row(0, named=True)
    common = {name: keys[name] for name in _KEYS}
    account = judge.asked.account(ledger.spent(judge.name, judge.asked.spec.charged))
    progress = StepProgress(context, f"verdicts of {common['judge']}", context.asset_key)
    commit = Commit(f"verdicts of {common['judge']}", asset=TABLE, run_id=context.run_id)
    found = judge_all(Comparisons(pending), judge, ledger, account=account, on_progress=progress)
    failed_before = _failed(lake, common)
    judged = 0
    with closing(judge.asked.engine), closing(found):
        new = (one for one in found if one.verdict.status != "failed" or _key(one.comparison) not in failed_before)
        for batch in commit_batches(new):
            lake.append({TABLE: [common | _row(one) for one in batch]}, commit)
            judged += len(batch)
    if account.reached:
        raise UserError(
            f"{judge.name}.{account.told()} "
            f"{pending.height - judged:,} of {pending.height:,} verdicts remain. "
            "Raise it and run again: what came is kept and is not paid for again."
        )


def _key(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.instruction_id, comparison.model_1, comparison.model_2


def _failed(lake: Lake, common: dict[str, Any]) -> set[tuple[Any, ...]]:
    """The comparisons whose failure is in the lake already: it is not stored twice."""
    keys = " and ".join(f"{name} = ?" for name in _KEYS)
    query = f"select instruction_id, model_1, model_2 from {TABLE} where status = 'failed' and {keys}"
    return set(lake.read(query, list(common.values())).iter_rows())


def _row(judged: Judged) -> dict[str, Any]:
    reply, verdict = judged.reply, judged.verdict
    return {
        "instruction_id": judged.comparison.instruction_id,
        "model_1": judged.comparison.model_1,
        "model_2": judged.comparison.model_2,
        "request_id": judged.request_id,
        "reply": reply.reply,
        "finish_reason": reply.finish_reason,
        "score_1": verdict.score_1,
        "score_2": verdict.score_2,
        "status": verdict.status,
        "reason": verdict.reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "cost_usd": reply.cost_usd,
    }


def _check_readable(lake: Lake, judge: Judge, name: str) -> None:
    """Raise UserError for a judge of whom nothing can be read."""
    where = f"from {_CURRENT} where judge = ?"
    counted = lake.read(f"select status, count(*) as n {where} group by status", [name])
    statuses = dict(counted.iter_rows())
    if not statuses or "ok" in statuses:
        return
    reasons = lake.read(f"select reason, count(*) as n {where} group by reason order by n desc limit {_SHOWN}", [name])
    said = "\n".join(f"  {count:,} times: {reason}" for reason, count in reasons.iter_rows())
    raise UserError(
        f"{judge.name}: {judge.asked.spec.settings.asked_at} gave no verdict that can be read, of "
        f"{sum(statuses.values()):,}.\n{said}\nName another model, raise {judge.name}.sampling.max_tokens, or mend the "
        "server, and run again."
    )


def _outcome(lake: Lake) -> dict[str, Any]:
    """What the asset's page shows: current verdicts by status, and what they cost."""
    counted = lake.read(f"select status, count(*) as n from {_CURRENT} group by status order by status")
    columns = ("prompt_tokens", "completion_tokens", "cost_usd")
    sums = ", ".join(f"sum({name}::double) as {name}" for name in columns)
    totals = lake.read(f"select {sums} from {_CURRENT}").row(0, named=True)
    known = {name: round(value, 6) for name, value in totals.items() if value is not None}
    return {f"status/{status}": count for status, count in counted.iter_rows()} | known


def _told(lake: Lake, profile: Profile) -> list[str]:
    if not profile.evaluation.judges:
        return [_WITHOUT_JUDGE]
    rows = lake.read(
        f"select judge, reason, count(*) as n from {_CURRENT} where status = 'unreadable' "
        "group by all order by judge, n desc, reason"
    )
    return [f"{judge}: {count:,} verdicts cannot be read: {reason}" for judge, reason, count in rows.iter_rows()]
