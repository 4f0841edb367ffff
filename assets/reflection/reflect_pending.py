"""The step that both reflection assets take: reflect on what is pending, commit as replies come."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.commits import commit_batches
from dagster_project.lake import Commit, Lake
from dagster_project.profile import Profile
from dagster_project.results import table_result
from dagster_project.sql_files import load_pending
from dagster_project.step_progress import StepProgress
from models_py.teacher.engines import open_teacher
from models_py.teacher.ledger import Ledger
from models_py.teacher.reflections import Reflection, reflections

SLICE_ROWS = 5000  # requests held in memory at once


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
            teacher = open_teacher(spec)
            version = teacher.prompt_version(phase)
            commit = Commit(f"{phase} by {spec.name}", asset=table, run_id=context.run_id)
            for pairs in pending.filter(pl.col("teacher") == spec.name).iter_slices(SLICE_ROWS):
                progress = StepProgress(context, f"{phase} by {spec.name}", context.asset_key)
                outcomes = reflections(phase, pairs.to_dicts(), teacher, ledger, progress)
                new = (r for r in outcomes if not r.status == r.pair["previous_status"] == "failed")
                for batch in commit_batches(new):
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
    view = f"selection.current_{table.split('.')[1]}"
    statuses = lake.read(
        f"select status, count(*) as replies from {view} group by status order by replies desc, status"
    )
    metadata = {f"status/{status}": replies for status, replies in statuses.rows()}
    return table_result(lake, table, metadata={"pending_before": pending.height, **metadata})
