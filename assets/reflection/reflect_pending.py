"""The step that both reflection assets take: reflect on what is pending, commit as replies come."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.commits import commit_batches
from dagster_project.lake import Commit, Lake
from dagster_project.profile import Profile
from dagster_project.results import table_result
from dagster_project.sql_files import load_pending
from dagster_project.step_progress import StepProgress
from models_py.errors import UserError
from models_py.teacher.engines import open_teacher
from models_py.teacher.ledger import Ledger
from models_py.teacher.reflections import Reflection, reflections


class Rows(Sequence[dict[str, Any]]):
    """The rows of a frame as mappings, each made when it is asked for."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, index: Any) -> Any:
        return self._frame.row(index, named=True)


def reflect_pending(
    context: dg.AssetExecutionContext,
    lake: Lake,
    profile: Profile,
    *,
    phase: str,
    table: str,
    columns: Callable[[Reflection], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Append the reflections of every teacher's pending pairs to `table`.

    `columns` gives a row's keys and texts; the rest is common. A request that failed before and fails again is not
    stored twice.
    """
    with lake.exclusively(table), Ledger(profile.ledger_path) as ledger:
        pending = lake.read(load_pending(table.split(".")[1]))
        for spec in profile.teacher_specs():
            pairs = Rows(pending.filter(pl.col("teacher") == spec.name))
            if not pairs:
                continue
            teacher = open_teacher(spec, profile.ledger_path)
            version = teacher.prompt_version(phase)
            account = teacher.account(ledger.spent(spec.name))
            commit = Commit(f"{phase} by {spec.name}", asset=table, run_id=context.run_id)
            progress = StepProgress(context, f"{phase} by {spec.name}", context.asset_key)
            answered = 0
            with teacher.engine:
                outcomes = reflections(phase, pairs, teacher, ledger, account=account, on_progress=progress)
                new = (r for r in outcomes if not r.status == r.pair["previous_status"] == "failed")
                for batch in commit_batches(new):
                    answered += len(batch)
                    rows = [
                        {
                            "teacher": spec.name,
                            "prompt_version": version,
                            "request_id": outcome.request_id,
                            "status": outcome.status,
                            "critique": outcome.critique,
                            "content_id": outcome.content_id,
                            "output": outcome.output,
                            **columns(outcome),
                        }
                        for outcome in batch
                    ]
                    lake.append({table: pl.DataFrame(rows, infer_schema_length=None)}, commit)
            if account.reached:
                raise UserError(
                    f"teachers.{spec.name}.{account.reached} is reached: {account.spent.requests:,} replies, "
                    f"{account.spent.shown()}. Of this phase {len(pairs) - answered:,} of {len(pairs):,} pairs remain. "
                    "Raise it and run again: what came is kept and is not paid for again."
                )
    view = f"selection.current_{table.split('.')[1]}"
    statuses = lake.read(
        f"select status, count(*) as replies from {view} group by status order by replies desc, status"
    )
    metadata = {f"status/{status}": replies for status, replies in statuses.rows()}
    return table_result(lake, table, metadata={"pending_before": pending.height, **metadata})
