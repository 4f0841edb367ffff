"""What the terminal says at the end of an evaluation."""

import io
from pathlib import Path

from rich.console import Console

from dagster_project.commands.evaluation_view import print_evaluation
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.profile.load import load_profile
from tests.support.profiles import toy_profile

LOSS = {"metric": "loss on originals", "higher_is_better": False, "n": 40, "left_out": 2}
TASK = {"metric": "everyday acc", "higher_is_better": True, "n": 60, "left_out": 0}
PAIR = {"judge": "gpt", "instruction_set": "bundled", "model": "m", "opponent": "o", "opponent_name": "toy (base)"}


def compared(metric: dict[str, object], subject: str, value: float, low: float, high: float) -> dict[str, object]:
    kind = "base" if "base" in subject else "checkpoint"
    against = {} if kind == "base" else {"minus_base": low, "minus_base_low": low, "minus_base_high": high}
    return {
        **metric,
        "subject": subject,
        "kind": kind,
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        **against,
    }


def said(lake: Lake, folder: Path) -> list[str]:
    out = io.StringIO()
    profile = load_profile(toy_profile(folder))
    print_evaluation(lake, profile, Console(file=out, width=200, highlight=False), 61)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_model_is_called_better_or_worse_only_where_the_interval_leaves_no_doubt(lake: Lake, tmp_path: Path) -> None:
    rows = [
        compared(LOSS, "toy (base)", 2.5, 0, 0),
        compared(LOSS, "lower", 2.25, -0.5, -0.25),
        compared(LOSS, "higher", 2.75, 0.25, 0.5),
        compared(LOSS, "same", 2.5, -0.25, 0.25),
        compared(TASK, "toy (base)", 0.5, 0, 0),
        compared(TASK, "higher", 0.75, 0.125, 0.5),
    ]
    lake.append({"evaluation.recipe_comparison": rows}, Commit("compared"))
    lines = said(lake, tmp_path)
    assert [line for line in lines if line][:8] == [
        "everyday acc   higher is better, 60 rows",
        "  toy (base)             0.5000   0.400 – 0.600",
        "  higher                 0.7500   0.650 – 0.850     better than its base",
        "loss on originals   lower is better, 40 rows, 2 left out",
        "  toy (base)             2.5000   2.400 – 2.600",
        "  higher                 2.7500   2.650 – 2.850     worse than its base",
        "  lower                  2.2500   2.150 – 2.350     better than its base",
        "  same                   2.5000   2.400 – 2.600     as its base, as far as these rows tell",
    ]


def test_of_too_few_rows_none_is_called_better(lake: Lake, tmp_path: Path) -> None:
    rows = [compared({**LOSS, "n": 5}, "lower", 2.25, -0.5, -0.25)]
    lake.append({"evaluation.recipe_comparison": rows}, Commit("compared"))
    assert "  lower                  2.2500   2.150 – 2.350     too few rows to tell" in said(lake, tmp_path)


def test_win_rates_come_with_what_they_are_worth(lake: Lake, tmp_path: Path) -> None:
    counts = {"wins": 20, "ties": 10, "losses": 8, "unreadable": 2, "unjudged": 0}
    rates = {"win_rate": 0.625, "win_rate_low": 0.5, "win_rate_high": 0.75, "sign_test_p": 0.036}
    rows = [
        {**PAIR, **counts, **rates, "model_name": "paper", "length_controlled_rate": 0.55},
        {
            **PAIR,
            "model": "n",
            "model_name": "original",
            "wins": 0,
            "ties": 0,
            "losses": 0,
            "unreadable": 40,
            "unjudged": 0,
        },
    ]
    lake.append({"evaluation.win_rates": rows}, Commit("judged"))
    lines = said(lake, tmp_path)
    assert "gpt on bundled   wins / ties / losses" in lines
    assert (
        "  paper against toy (base): 20 / 10 / 8, win rate 62.5% (50.0% – 75.0%), 55.0% of equal length, p = 0.036, "
        "2 unreadable"
    ) in lines
    assert "  original against toy (base): 0 / 0 / 0, 40 unreadable" in lines


def test_what_was_not_measured_is_not_mentioned(lake: Lake, tmp_path: Path) -> None:
    lake.prepare()
    lines = [line for line in said(lake, tmp_path) if line]
    assert lines[0] == "time 1:01"
    assert "make sql PROFILE=" in lines[1]
