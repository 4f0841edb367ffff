"""evaluation.benchmark_tasks: what evaluation.benchmarks comes to, found before any model is loaded."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, asset_key, table_result
from models_py.content import FileHashes, fingerprint
from models_py.evaluation.benchmarks import PlannedTask, planned

TABLE = "evaluation.benchmark_tasks"
_GROUP = ("group", "metric", "filters", "is_weighted")


@dg.asset(
    key=asset_key(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def benchmark_tasks(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    rows = [
        {
            "benchmark_id": task.benchmark_id,
            "benchmark": task.benchmark,
            "task": task.task,
            "dataset": task.dataset,
            "task_version": task.version or None,
            "groups": json.dumps([dict(zip(_GROUP, group, strict=True)) for group in task.groups]),
        }
        for task in planned_tasks(lake, profile)
    ]
    commit = Commit("tasks of the benchmarks", asset="evaluation/benchmark_tasks", run_id=context.run_id)
    lake.mirror({TABLE: rows}, commit)
    return table_result(lake, TABLE)


def planned_tasks(lake: Lake, profile: Profile) -> list[PlannedTask]:
    """The tasks; lm-eval is asked where the settings, its release or a file of `include` is another than last time."""
    settings = profile.evaluation.benchmarks
    if settings is None:
        return []

    def plan() -> bytes:
        found = planned(settings, profile.warehouse / "lm-eval.log")
        return json.dumps([asdict(task) for task in found]).encode()

    state = fingerprint(observed(profile), str(settings.include), code_version(__name__))
    return [PlannedTask(**task) for task in json.loads(lake.remember("planned benchmarks", state, plan))]


def observed(profile: Profile) -> list[Any]:
    """The settings, lm-eval's release and the files of `include`. Raises OSError."""
    settings = profile.evaluation.benchmarks
    if settings is None:
        return []
    try:
        release = version("lm_eval")
    except PackageNotFoundError:
        release = ""
    hashes = FileHashes(profile.file_hashes)
    files = sorted(file for file in settings.include.rglob("*") if file.is_file()) if settings.include else []
    seen = [[str(file.relative_to(str(settings.include))), hashes.of(file)] for file in files]
    hashes.save()
    return [list(settings.tasks), settings.hashed, release, seen]
