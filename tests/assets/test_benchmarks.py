"""evaluation.benchmark_*: tasks become rows, every model does each once, an interrupted run goes on by task."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation import benchmark_runs as step
from assets.evaluation.benchmark_runs import benchmark_runs
from assets.evaluation.benchmark_tasks import benchmark_tasks
from models_py.evaluation.benchmarks import Metric, PlannedTask, TaskResult
from tests.support.trained import Trained

BOARD: list[list[Any]] = [["board", "acc", None, True], ["even", "acc", ["none"], False]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained") / "mine")


@pytest.fixture
def trained(start: Trained, tmp_path: Path) -> Trained:
    return start.copy(tmp_path / "mine")


def task(name: str) -> PlannedTask:
    return PlannedTask("board", name, f"id-{name}", {"task": name}, BOARD, "json", "1.0", with_defaults=False)


class FakeLmEval:
    """Stands for lm-eval's process, which tests/models_py/evaluation/test_benchmarks.py is about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks = [task("first"), task("second")]
        self.asked: list[tuple[str, list[str]]] = []
        self.ends_after = 100
        monkeypatch.setattr("assets.evaluation.benchmark_tasks.planned", lambda settings, log: self.tasks)
        monkeypatch.setattr(step, "results", self.results)

    def results(self, settings: Any, student: Any, tasks: list[PlannedTask], *_: Any) -> Iterator[TaskResult]:
        self.asked.append((student.name, [task.task for task in tasks]))
        for one in tasks:
            if self.ends_after == 0:
                raise KeyboardInterrupt
            self.ends_after -= 1
            n, value = (4, 0.25) if one.task == "first" else (2, 1.0)
            metric = Metric("acc", "none", value, 0.1, higher_is_better=True)
            items = [
                {"item": at, "item_hash": str(at), "filter": "none", "metric": "acc", "value": float(at < n * value)}
                for at in range(n)
            ]
            yield TaskResult(one.task, [metric], items, n, 0, "1.0", "0.4.13")


@pytest.fixture
def lm_eval(monkeypatch: pytest.MonkeyPatch, trained: Trained) -> FakeLmEval:
    trained.configure(benchmarks={"tasks": ["board"]})
    return FakeLmEval(monkeypatch)


def evaluate(trained: Trained) -> list[Any]:
    trained.run(benchmark_tasks)
    return list(trained.run(benchmark_runs))


def test_every_model_does_every_task_once(trained: Trained, lm_eval: FakeLmEval) -> None:
    runs, items = evaluate(trained)
    assert lm_eval.asked == [(name, ["first", "second"]) for name in ("half", "paper", "toy")]
    assert (runs.metadata["dagster/row_count"], items.metadata["dagster/row_count"]) == (6, 18)
    evaluate(trained)
    assert len(lm_eval.asked) == 3


def test_an_interrupted_run_goes_on_by_task(trained: Trained, lm_eval: FakeLmEval) -> None:
    lm_eval.ends_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate(trained)
    lm_eval.ends_after, lm_eval.asked = 100, []
    evaluate(trained)
    assert lm_eval.asked == [("paper", ["second"]), ("toy", ["first", "second"])]
    assert trained.lake.scalar("select count(*) from evaluation.benchmark_runs") == 6


def test_means_are_those_of_lm_eval_and_come_when_all_tasks_are_done(trained: Trained, lm_eval: FakeLmEval) -> None:
    lm_eval.ends_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate(trained)
    means = "select name, task, value, stderr, n from evaluation.benchmark_results where is_mean order by all"
    assert trained.lake.read(means)["name"].to_list() == ["half", "half"]
    lm_eval.ends_after = 100
    evaluate(trained)
    rows = trained.lake.read(means).rows()
    assert len(rows) == 6
    pooled = ((3 * 0.1**2 * 4 + 1 * 0.1**2 * 2) / (6 - 2) / 6) ** 0.5
    assert rows[:2] == [
        ("half", "board", pytest.approx((4 * 0.25 + 2 * 1.0) / 6), pytest.approx(pooled), 6),
        ("half", "even", pytest.approx((0.25 + 1.0) / 2), pytest.approx(pooled), 6),
    ]


def test_a_task_that_changed_is_done_again_and_the_old_one_counts_no_more(
    trained: Trained, lm_eval: FakeLmEval
) -> None:
    evaluate(trained)
    lm_eval.tasks = [replace(task("first"), benchmark_id="other"), task("second")]
    trained.configure(benchmarks={"tasks": ["board"], "limit": 5})  # so that it is planned again
    evaluate(trained)
    assert lm_eval.asked[3:] == [(name, ["first"]) for name in ("half", "paper", "toy")]
    assert trained.lake.scalar("select count(*) from evaluation.benchmark_runs") == 9
    assert trained.lake.scalar("select count(*) from evaluation.benchmark_results where not is_mean") == 6


def test_no_benchmarks_need_no_lm_eval(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *package: None if name.startswith("lm_eval") else found(name, *package)
    )
    runs, items = evaluate(trained)
    assert runs.metadata["dagster/row_count"] == items.metadata["dagster/row_count"] == 0


@pytest.mark.slow
def test_with_the_real_lm_eval(trained: Trained) -> None:
    pytest.importorskip("lm_eval")
    folder = trained.folder / "tasks"
    folder.mkdir()
    rows = [{"question": f"Is it {n}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(4)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: items.jsonl}}\ntest_split: test\n"
        'output_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_choice: choices\ndoc_to_target: answer\n'
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    trained.configure(benchmarks={"tasks": ["mine"], "include": "tasks", "apply_chat_template": True})
    evaluate(trained)
    results = trained.lake.read(
        "select name, task, metric, value, n, num_fewshot, lm_eval_version from evaluation.benchmark_results order by 1"
    )
    assert results["name"].to_list() == ["half", "paper", "toy (base)"]
    assert set(results.drop("name", "value").rows()) == {("mine", "acc", 4, 0, "0.4.13")}
    by_items = trained.lake.read(
        "select models.name, avg(value) from evaluation.benchmark_items inner join evaluation.models using (model) "
        "group by all order by 1"
    )
    assert by_items.to_series(1).to_list() == results["value"].to_list()
