"""evaluation.recipe_comparison: stored rows become values, intervals and differences; who is compared with whom."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation.recipe_comparison import recipe_comparison
from dagster_project.lakehouse.lake import Commit
from tests.assets.conftest import version
from tests.support.lakes import snapshots
from tests.support.trained import Trained

NLLS = {"half": (2.0, 6.0, 4.0), "paper": (1.0, 5.0, None), "toy (base)": (3.0, 9.0, 4.0)}
TOKENS = (2, 4, 4)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained") / "mine")


@pytest.fixture
def measured(start: Trained, tmp_path: Path) -> Trained:
    """Three models on a held-out set of three rows, of which one has failed for `paper`, and a task of two items."""
    trained = start.copy(tmp_path / "mine")
    models = dict(trained.lake.read("select name, model from evaluation.models").iter_rows())
    keys = {"benchmark_id": "b", "metric": "acc", "filter": "none"}
    trained.lake.append(
        {
            "evaluation.held_out_rows": [{"held_out": "exam", "content_id": str(at)} for at in range(3)],
            "evaluation.held_out_scores": [
                {"model": models[name], "content_id": str(at), "nll": nll, "tokens": TOKENS[at], "status": "ok"}
                for name, nlls in NLLS.items()
                for at, nll in enumerate(nlls)
            ],
            "evaluation.benchmark_tasks": [{"benchmark_id": "b", "task": "quiz"}],
            "evaluation.benchmark_runs": [
                {**keys, "metric": metric, "model": model, "task": "quiz", "value": value, "higher_is_better": higher}
                for name, model in models.items()
                for metric, value, higher in (
                    ("acc", 1.0 if name == "half" else 0.5, True),
                    ("perplexity", 7.4, False),  # exp(-mean) of its items
                )
            ],
            "evaluation.benchmark_items": [
                {**keys, "model": model, "item": at, "metric": metric, "value": value}
                for name, model in models.items()
                for at in range(2)
                for metric, value in (("acc", float(name == "half" or at)), ("perplexity", -2.0))
            ],
        },
        Commit("measured"),
    )
    return trained


def rows(trained: Trained, metric: str) -> dict[str, dict[str, Any]]:
    found = trained.lake.read("select * from evaluation.recipe_comparison where metric = ?", [metric])
    return {row["subject"]: row for row in found.to_dicts()}


def test_each_recipe_stands_beside_its_base(measured: Trained) -> None:
    result = measured.run(recipe_comparison)
    losses = rows(measured, "loss on exam")
    assert {name: row["value"] for name, row in losses.items()} == pytest.approx(
        {"half": 8 / 6, "paper": 1.0, "toy (base)": 2.0}
    )
    assert {(row["n"], row["left_out"], row["higher_is_better"]) for row in losses.values()} == {(2, 1, False)}
    paper = losses["paper"]
    assert (paper["base"], paper["minus_base"]) == ("toy (base)", pytest.approx(-1.0))
    assert paper["low"] <= 1.0 <= paper["high"] and paper["minus_base_low"] <= -1.0 <= paper["minus_base_high"]
    assert json.loads(paper["by_seed"]) == [{"training_seed": 0, "value": pytest.approx(1.0)}]
    assert paper["original"] is paper["random_rows"] is paper["longest"] is None
    assert losses["toy (base)"]["base"] is losses["toy (base)"]["training_rows"] is None
    manifest = json.loads(
        str(measured.lake.scalar("select manifest from training.current_checkpoints where recipe = 'paper'"))
    )
    assert (paper["training_rows"], paper["steps"]) == (manifest["rows"], manifest["steps"])
    quiz = rows(measured, "quiz acc")
    assert {name: row["value"] for name, row in quiz.items()} == {"half": 1.0, "paper": 0.5, "toy (base)": 0.5}
    assert rows(measured, "quiz perplexity") == {}  # of log-likelihoods, a mean of which would be better when higher
    assert result.metadata["told"].splitlines() == [
        "loss on exam: 1 rows are left out, for some model has no value there",
        "quiz perplexity is no mean over items, so it has no interval: evaluation.benchmark_results has it",
        "no recipe of policy random_rows has as many rows as half, paper (rows_as: gives it one)",
        "no recipe of policy longest has as many rows as half, paper (rows_as: gives it one)",
    ]
    assert re.fullmatch(r"!\[comparison\]\(data:image/png;base64,[\w+/=]{2000,130000}\)", result.metadata["plot"].value)


def test_again_is_the_same_and_writes_nothing(measured: Trained) -> None:
    first = version(measured.run(recipe_comparison))
    before = snapshots(measured.lake)
    assert version(measured.run(recipe_comparison)) == first and snapshots(measured.lake) == before


def test_nothing_measured_is_no_row(start: Trained, tmp_path: Path) -> None:
    trained = start.copy(tmp_path / "mine")
    metadata = trained.run(recipe_comparison).metadata
    assert metadata["dagster/row_count"] == 0 and "plot" not in metadata
