"""evaluation.answers: every evaluated model answers every instruction, once for good, and commits as answers come."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import polars as pl

from assets.evaluation.evaluated_models import evaluated_models
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import Misfits, commit_batches
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, pending_deps, table_result, table_value
from dagster_project.steps.step_progress import StepProgress
from models_py.conversation import with_context
from models_py.evaluation import write_answers
from models_py.evaluation.answer import Asked
from models_py.evaluation.model import EvaluatedModel

TABLE = "evaluation.answers"
_COMMIT_EVERY_S = 10.0  # an answer takes seconds, and none is to be written twice
_CURRENT = """
(model, generation, instruction_id) in (select (model, generation, instruction_id) from evaluation.current_answers)
"""
_SUMMARY = """
select
    name,
    count(*) as answers,
    count(*) filter (where finish_reason = 'length') as cut_at_max_tokens,
    count(*) filter (where trim(answer) = '') as empty,
    count(*) filter (where status <> 'ok') as without_answer,
    round(avg(tokens), 1) as mean_tokens,
    round(avg(length(answer)), 1) as mean_chars
from evaluation.current_answers
group by name
order by name
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=pending_deps(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"pytorch", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__, load_pending(TABLE).meaning),
    pool="gpu",
)
def answers(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    with interrupted_in_order(has_own_process=profile.executor != "in_process"), lake.exclusively(TABLE):
        pending, misfits = lake.read(load_pending(TABLE).sql), Misfits()
        for model in evaluated_models(lake, profile) if pending.height else ():
            asked = pending.filter(pl.col("model") == model.model)
            if asked.height:
                _answer(context, lake, profile, model, asked, misfits=misfits)
    summary = lake.read(_SUMMARY)
    metadata: dict[str, Any] = {
        "answered": pending.height,
        "by_model": table_value([(name, str(kind)) for name, kind in summary.schema.items()], summary.rows()),
    }
    if told := [*misfits.told("answers"), *_told(summary, profile)]:
        metadata[TOLD_KEY] = "\n".join(told)
    return table_result(lake, TABLE, where=_CURRENT, metadata=metadata)


def _answer(
    context: dg.AssetExecutionContext,
    lake: Lake,
    profile: Profile,
    model: EvaluatedModel,
    pending: pl.DataFrame,
    *,
    misfits: Misfits,
) -> None:
    """One model answers what is pending, and commits."""
    generation = profile.evaluation.generation
    asked = [Asked(**with_context(row)) for row in pending.drop("model", "generation").iter_rows(named=True)]
    keys = {"model": model.model, "generation": generation.id, "engine": write_answers.engine_of(generation)}
    commit = Commit(f"answers of {model.name}", asset=TABLE, run_id=context.run_id)
    progress = StepProgress(context, f"answers of {model.name}", context.asset_key)
    found = write_answers.answers(model, asked, generation, lake.warehouse, progress)
    for batch in commit_batches(misfits.left_out(found), seconds=_COMMIT_EVERY_S):
        lake.append({TABLE: [{**keys, **asdict(row)} for row in batch]}, commit)


def _told(summary: pl.DataFrame, profile: Profile) -> list[str]:
    """What the answers lack, a sentence a model."""
    limit = profile.evaluation.generation.max_tokens
    said = {
        "cut_at_max_tokens": f"are cut at evaluation.generation.max_tokens ({limit:,})",
        "empty": "are empty",
        "without_answer": "failed: evaluation.answers has the reasons",
    }
    return [
        f"{row['name']}: {row[column]:,} of {row['answers']:,} answers {words}"
        for row in summary.iter_rows(named=True)
        for column, words in said.items()
        if row[column]
    ]
