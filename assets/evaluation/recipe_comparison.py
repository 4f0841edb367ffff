"""evaluation.recipe_comparison: what each recipe is worth in each metric, with the intervals that its rows leave."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.code_version import code_version
from dagster_project.steps.plots import comparison_plot, remembered
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, key, table_result
from models_py.evaluation.comparison import Compared, Subject, compare

TABLE = "evaluation.recipe_comparison"
REFERENCES = ("base", "original", "random_rows", "longest")
_READS = "select 1 from evaluation.metric_rows cross join evaluation.comparison_subjects"
_SUBJECTS = """
select subject, kind, model, training_seed, row_count, target_tokens, steps, base, original, random_rows, longest
from evaluation.comparison_subjects
order by kind = 'base', subject, training_seed
"""
_METRICS = "select distinct metric, higher_is_better from evaluation.metric_rows order by all"
# Of the models and tasks of now, the figures that are no mean over items.
_NO_MEANS = """
select distinct runs.task, metric
from evaluation.benchmark_runs as runs
semi join evaluation.models using (model)
semi join evaluation.benchmark_tasks using (benchmark_id)
inner join evaluation.benchmark_items as items using (model, benchmark_id, metric, filter)
group by model, benchmark_id, runs.task, metric, filter
having abs(avg(items.value) - any_value(runs.value)) > 1e-6 * greatest(1, abs(any_value(runs.value)))
order by all
"""
_ROWS = "select item, model, value, weight from evaluation.metric_rows where metric = ?"


@dg.asset(
    key=asset_key(TABLE),
    deps=[key("evaluation", "metric_rows"), key("evaluation", "comparison_subjects")],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def recipe_comparison(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    commit = Commit("recipes compared", asset="evaluation/recipe_comparison", run_id=context.run_id)
    with lake.exclusively(TABLE):
        lake.derive(TABLE, _READS, code_version(__name__), lambda: [*_compared(lake)], commit)
    metadata: dict[str, Any] = {}
    if metrics := _shown(lake):
        metadata["plot"] = remembered(lake, comparison_plot, TABLE, metrics)
    if told := [*_told(lake)]:
        metadata[TOLD_KEY] = "\n".join(told)
    return table_result(lake, TABLE, metadata=metadata)


def _compared(lake: Lake) -> Iterator[dict[str, Any]]:
    """The rows of the table, metric by metric."""
    known = lake.read(_SUBJECTS).partition_by("subject", maintain_order=True)
    subjects = [_subject(rows) for rows in known]
    about = {rows["subject"][0]: rows.row(0, named=True) for rows in known}
    for metric, higher_is_better in lake.read(_METRICS).rows():
        rows = lake.read(_ROWS, [metric])
        asked = rows["item"].n_unique()
        values, weights = (_by_model(rows, column) for column in ("value", "weight"))
        whole = values.drop_nulls()
        weights = weights.filter(weights["item"].is_in(whole["item"].implode()))
        if whole.is_empty():
            continue
        models = whole.columns[1:]
        found = compare(whole.drop("item").to_numpy(), weights.drop("item").to_numpy(), models, subjects)
        for one in found:
            facts = about[one.subject.name]
            yield {
                "subject": one.subject.name,
                "kind": facts["kind"],
                "metric": metric,
                "higher_is_better": higher_is_better,
                "training_rows": facts["row_count"],
                "target_tokens": facts["target_tokens"],
                "steps": facts["steps"],
                "value": one.estimate.value,
                "low": one.estimate.low,
                "high": one.estimate.high,
                "by_seed": json.dumps([{"training_seed": seed, "value": v} for seed, v in one.by_seed.items()]),
                "n": one.estimate.n,
                "left_out": asked - one.estimate.n,
                **_against(one),
            }


def _subject(rows: pl.DataFrame) -> Subject:
    first = rows.row(0, named=True)
    models = dict(rows.select("training_seed", "model").iter_rows())
    return Subject(first["subject"], models, {name: first[name] for name in REFERENCES if first[name] is not None})


def _by_model(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """A row an item in their order, a column a model: items that a model was never asked are null there."""
    return rows.pivot(on="model", index="item", values=column).sort("item")


def _against(one: Compared) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in REFERENCES:
        difference = one.against.get(name)
        found[name] = one.subject.references.get(name) if difference else None
        found[f"minus_{name}"] = difference and difference.value
        found[f"minus_{name}_low"] = difference and difference.low
        found[f"minus_{name}_high"] = difference and difference.high
    return found


def _shown(lake: Lake) -> dict[str, list[tuple[str, float, float, float, list[float]]]]:
    """What the plot shows: losses first, of each metric the bases and then the recipes, by name."""
    rows = lake.recall(
        f"select metric, subject, value, low, high, by_seed from {TABLE} "
        "order by metric not like 'loss on %', metric, kind, subject"
    )
    metrics: dict[str, list[tuple[str, float, float, float, list[float]]]] = {}
    for metric, subject, value, low, high, by_seed in rows.iter_rows():
        seeds = [one["value"] for one in json.loads(by_seed)]
        metrics.setdefault(metric, []).append((subject, value, low, high, seeds))
    return metrics


def _told(lake: Lake) -> Iterator[str]:
    """What is not compared: rows that some model has no value for, recipes without a rival of equal number."""
    left_out = lake.recall(f"select metric, max(left_out) from {TABLE} where left_out > 0 group by all order by all")
    for metric, rows in left_out.iter_rows():
        yield f"{metric}: {rows:,} rows are left out, for some model has no value there"
    for task, metric in lake.recall(_NO_MEANS).iter_rows():
        yield f"{task} {metric} is no mean over items, so it has no interval: evaluation.benchmark_results has it"
    for name in ("random_rows", "longest"):
        alone = f"select distinct subject from {TABLE} where kind = 'checkpoint' and {name} is null order by 1"
        if subjects := [subject for (subject,) in lake.recall(alone).iter_rows()]:
            yield f"no recipe of policy {name} has as many rows as {', '.join(subjects)} (rows_as: gives it one)"
