"""evaluation.benchmark_runs and benchmark_items: each current model does each task once, stored as it is done."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from assets.evaluation.benchmark_tasks import planned_tasks
from assets.evaluation.evaluated_models import evaluated_models
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, asset_key, pending_deps, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.evaluation.benchmarks import TaskResult, results

RUNS, ITEMS = "evaluation.benchmark_runs", "evaluation.benchmark_items"
_CURRENT = (
    "model in (select model from evaluation.models) "
    "and benchmark_id in (select benchmark_id from evaluation.benchmark_tasks)"
)


def _spec(table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(table),
        deps=pending_deps(RUNS),
        description=TABLES_BY_NAME[table].description,
        kinds={"pytorch", "ducklake"},
        owners=OWNERS,
        code_version=code_version(__name__, load_pending(RUNS).meaning),
    )


@dg.multi_asset(specs=[_spec(RUNS), _spec(ITEMS)], can_subset=True, pool="gpu")
def benchmark_runs(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> Iterator[dg.MaterializeResult]:
    with interrupted_in_order(has_own_process=profile.executor != "in_process"), lake.exclusively(RUNS):
        _run_pending(context, lake, profile)
    for table in (RUNS, ITEMS):
        if asset_key(table) in context.selected_asset_keys:
            yield table_result(lake, table, asset=asset_key(table), where=_CURRENT)


def _run_pending(context: dg.AssetExecutionContext, lake: Lake, profile: Profile) -> None:
    """Give every model the tasks that it lacks; a commit a task."""
    settings = profile.evaluation.benchmarks
    pending = set(lake.recall(f"select model, benchmark_id from ({load_pending(RUNS).sql})").iter_rows())
    if settings is None or not pending:
        return
    tasks = {task.task: task for task in planned_tasks(lake, profile)}
    for model in evaluated_models(lake, profile):
        lacking = [task for task in tasks.values() if (model.model, task.benchmark_id) in pending]
        if not lacking:
            continue
        progress = StepProgress(context, f"benchmarks of {model.name}", asset_key(RUNS))
        log = profile.warehouse / "lm-eval.log"
        for result in results(settings, model.student, lacking, log, progress):
            commit = Commit(f"{result.task} by {model.name}", asset=RUNS, run_id=context.run_id)
            keys = {"model": model.model, "benchmark_id": tasks[result.task].benchmark_id}
            lake.append({RUNS: _runs(keys, result), ITEMS: [{**keys, **item} for item in result.items]}, commit)


def _runs(keys: dict[str, str], result: TaskResult) -> list[dict[str, object]]:
    of_task = {
        "task": result.task,
        "n": result.n,
        "num_fewshot": result.num_fewshot,
        "task_version": result.version or None,
        "lm_eval_version": result.lm_eval_version,
    }
    return [{**keys, **of_task, **asdict(metric)} for metric in result.metrics]
