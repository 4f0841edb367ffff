"""evaluation.held_out_scores: how likely each model finds each held-out answer, each asked once and for good."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.evaluation.evaluated_models import evaluated_models
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import Misfits, commit_batches
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, pending_deps, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.conversation import with_context
from models_py.evaluation.model import EvaluatedModel

TABLE = "evaluation.held_out_scores"
_CURRENT = (
    "model in (select model from evaluation.models) and content_id in (select content_id from evaluation.held_out_rows)"
)
_ASKED_IN_TRAINING = """
select models.name, held_out.held_out, count(distinct held_out.content_id) as n
from evaluation.models as models
inner join training.current_checkpoints as checkpoints on checkpoints.checkpoint_id = models.model
inner join training.training_pairs as trained
    on trained.recipe = checkpoints.recipe and trained.data_version = checkpoints.data_version
inner join evaluation.held_out_rows as held_out
    on held_out.instruction = trained.instruction and held_out.input = trained.input
    and held_out.system = trained.system and held_out.history = trained.history
group by all
order by all
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
def held_out_scores(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    pending, misfits = f"({load_pending(TABLE).sql})", Misfits()
    with interrupted_in_order(has_own_process=profile.executor != "in_process"), lake.exclusively(TABLE):
        counts = dict(lake.recall(f"select model, count(*) from {pending} group by all").iter_rows())
        for model in evaluated_models(lake, profile) if counts else ():
            if total := counts.get(model.model, 0):
                _score(context, lake, model, pending, total, misfits=misfits)
    statuses = dict(lake.recall(f"select status, count(*) from {TABLE} where {_CURRENT} group by all").iter_rows())
    metadata: dict[str, Any] = {f"status/{status}": rows for status, rows in sorted(statuses.items())}
    if told := [*misfits.told("answers"), *_cut(lake), *_trained_on(lake)]:
        metadata[TOLD_KEY] = "\n".join(told)
    return table_result(lake, TABLE, where=_CURRENT, metadata=metadata)


def _score(
    context: dg.AssetExecutionContext, lake: Lake, model: EvaluatedModel, pending: str, total: int, *, misfits: Misfits
) -> None:
    """Score and commit the `total` answers that the query `pending` has for one model; it is freed afterwards."""
    # Only now: torch and the weights.
    from models_py.student.loading import load_chat, load_model
    from models_py.student.scorer import Scorer, ScoreRequest

    scorer = Scorer(load_model(model.student), load_chat(model.student))
    progress = StepProgress(context, f"held-out losses of {model.name}", context.asset_key)
    rows = lake.read(f"select * exclude (model) from {pending} where model = ?", [model.model])
    requests = (
        ScoreRequest(**with_context(row), instruction_terms=False, alone=False) for row in rows.iter_rows(named=True)
    )
    commit = Commit(f"held-out losses of {model.name}", asset=TABLE, run_id=context.run_id)
    for batch in commit_batches(misfits.left_out(scorer.score(requests, progress, total=total))):
        scored = [
            {
                "model": model.model,
                "content_id": row.content_id,
                "nll": row.answer_nll_given_instruction,
                "tokens": row.answer_tokens,
                "truncated": row.truncated,
                "history_truncated": row.history_truncated,
                "status": row.status,
                "reason": row.reason,
            }
            for row in batch
        ]
        lake.append({TABLE: scored}, commit)


def _cut(lake: Lake) -> Iterator[str]:
    """What `max_length` left out of the answers whose likelihood counts."""
    counts = lake.recall(f"select count(*) filter (where truncated), count(*) from {TABLE} where {_CURRENT}")
    [(tails, rows)] = counts.rows()
    if tails:
        yield f"{tails:,} of {rows:,} answers are scored without their end (max_length)"


def _trained_on(lake: Lake) -> Iterator[str]:
    """Which models were trained on what a set asks: their losses there say little."""
    for name, held_out, count in lake.recall(_ASKED_IN_TRAINING).iter_rows():
        yield f"{name} was trained on {count:,} of the instructions of {held_out}"
