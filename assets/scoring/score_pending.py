"""What every scoring asset is and does: score what no current scorer has seen, commit as rows come."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.profile.students import current_student
from dagster_project.lakehouse.donors import take_scores
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.commits import Misfits, commit_batches
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, key, pending_deps, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.conversation import with_context
from models_py.student.spec import ResolvedStudent

Work = dict[str, int | float | str]  # what was done by whom and how fast, as metadata; empty: nothing was pending

_PATHS_LEFT = "paths_left"  # of a scorer: why it is not computed faster
_READ_ROWS = 20_000  # pending rows held in memory at once


def scores_asset(table: str, module: str) -> dg.AssetsDefinition:
    """The asset of a table of scores, whose pending file says what is to be scored. module: the asset's own."""

    @dg.asset(
        key=asset_key(table),
        deps=[*pending_deps(table), key("profile", "students")],  # whose model it loads, whose scores are current
        description=TABLES_BY_NAME[table].description,
        kinds={"pytorch", "ducklake"},
        owners=OWNERS,
        code_version=code_version(module, load_pending(table).meaning),
        pool="gpu",
    )
    def scores(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
    ) -> dg.MaterializeResult:
        return score_pending(context, lake, profile, table)

    return scores


def score_pending(context: dg.AssetExecutionContext, lake: Lake, profile: Profile, table: str) -> dg.MaterializeResult:
    """Append a score row to `table` for every pending text of every scorer; nothing pending loads no model."""
    misfits = Misfits()
    with interrupted_in_order(has_own_process=profile.executor != "in_process"), lake.exclusively(table):
        work = _score(context, lake, profile, table, misfits)
    current = "student_fingerprint in (select scorer_fingerprint from profile.students)"
    statuses = lake.recall(
        f"select status, count(*) as n from {table} where {current} group by status order by n desc, status"
    )
    metadata: Work = {f"status/{status}": rows for status, rows in statuses.rows()}
    told = [str(said) for name, said in work.items() if name.endswith(f"/{_PATHS_LEFT}")]
    told += [*misfits.told("texts"), *_cut(lake, table, current)]
    if told:
        metadata[TOLD_KEY] = "\n".join(told)
    return table_result(lake, table, where=current, metadata=metadata | work)


def _cut(lake: Lake, table: str, current: str) -> list[str]:
    """What `max_length` left out of the texts of now whose scores count, a sentence each."""
    counts = lake.recall(
        "select count(*) filter (where truncated), count(*) filter (where history_truncated), count(*) "
        f"from {table} where {current} and content_id in (select content_id from selection.candidates)"
    )
    [(tails, histories, rows)] = counts.rows()
    said = {"without their end": tails, "without the oldest turns before them": histories}
    return [f"{count:,} of {rows:,} texts are scored {how} (max_length)" for how, count in said.items() if count]


def _score(context: dg.AssetExecutionContext, lake: Lake, profile: Profile, table: str, misfits: Misfits) -> Work:
    """Score and commit what every scorer has pending."""
    work: Work = {}
    pending = f"({load_pending(table).sql})"
    if profile.reuse:
        work["reused_scores"] = take_scores(profile.reuse, lake, table, pending, context.run_id)
    counts = dict(lake.recall(f"select student_fingerprint, count(*) from {pending} group by all").iter_rows())
    for named in profile.scorers():
        if not counts:
            break
        student = current_student(lake, profile, named.name)
        if total := counts.pop(student.fingerprint, 0):
            work |= _score_with(
                context, lake, profile, table, student=student, pending=pending, total=total, misfits=misfits
            )
    return work


def _score_with(
    context: dg.AssetExecutionContext,
    lake: Lake,
    profile: Profile,
    table: str,
    *,
    student: ResolvedStudent,
    pending: str,
    total: int,
    misfits: Misfits,
) -> Work:
    """Score and commit the `total` texts that the query `pending` has for one student."""
    # Only now: torch and the weights.
    from models_py.student.actors import open_scorer
    from models_py.student.scorer import ScoreRequest

    with open_scorer(student, profile.scoring_actors, address=profile.ray.address) as scorer:
        current_student(lake, profile, student.name)  # it may have changed while it was loaded
        progress = StepProgress(context, f"scoring with {student.name}", context.asset_key)
        requests = (ScoreRequest(**with_context(row)) for row in pending_rows(lake, pending, student.fingerprint))
        commit = Commit(f"scores by {student.name}", asset=table, run_id=context.run_id)
        keys = {"student": student.name, "student_fingerprint": student.fingerprint}
        started = time.monotonic()
        for batch in commit_batches(misfits.left_out(scorer.score(requests, progress, total=total))):
            lake.append({table: [{**keys, **asdict(row)} for row in batch]}, commit)
    seconds = max(time.monotonic() - started, 1e-9)
    return {
        f"{student.name}/rows_per_s": round(total / seconds, 2),
        f"{student.name}/tokens": scorer.tokens_scored,
        f"{student.name}/tokens_per_s": round(scorer.tokens_scored / seconds, 1),
        f"{student.name}/path": scorer.path,
        **({f"{student.name}/{_PATHS_LEFT}": "\n".join(scorer.paths_left)} if scorer.paths_left else {}),
    }


def pending_rows(lake: Lake, pending: str, fingerprint: str) -> Iterator[dict[str, Any]]:
    """What `pending` (SQL) has for a student.

    Rewrites of one instruction come side by side: what they share is computed once.
    """
    rows = (
        f"select * exclude (student_fingerprint) from {pending} where student_fingerprint = ? "
        "order by system, history, instruction, input, content_id"
    )
    for frame in lake.batches(rows, [fingerprint], rows=_READ_ROWS):
        yield from frame.iter_rows(named=True)
