"""`make ablations DATA=folder`: whether selection makes a better student, measured.

    python -m dagster_project.commands.ablations DATA [--rows 80] [--held-out 60]

Makes the experts of expert_revisions.jsonl a recorded teacher (models_py/evaluation/expert_teacher.py), lets the
pipeline select, train and evaluate under docs/evidence/ablations.yaml, and writes what evaluation.recipe_comparison
holds into docs/evidence.md between its marks, the plot beside it. Killed and run again it goes on; once all is done it
asks the lake again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from rich.console import Console

from dagster_project.commands.evidence import EXPERTS, FOLDER, PAGE, write_measured
from dagster_project.commands.terminal import Arguments, any_encoding, say_error
from dagster_project.jobs import EVALUATE_JOB, MAIN_JOB
from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.load import load_profile
from dagster_project.steps.plots import comparison_plot
from models_py.errors import UserError
from models_py.evaluation.expert_teacher import read_expert_pairs, write_expert_files
from models_py.evaluation.intervals import RESAMPLES

MARKS = ("<!-- compared: begin -->\n", "<!-- compared: end -->\n")
REFERENCES = ("base", "original", "random_rows", "longest")
_COMPARISON = "select * from evaluation.recipe_comparison order by metric not like 'loss on %', metric, kind, subject"
_OUTCOMES = """
select recipe, kept, kept_original, kept_instruction, kept_response, kept_both
from selection.selection_summary
order by recipe
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when everything was measured."""
    parser = Arguments(prog="make ablations", description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help=f"folder that holds {EXPERTS}")
    parser.add_argument("--rows", type=int, default=80, help="pairs that are selected from (default: 80)")
    parser.add_argument("--held-out", type=int, default=60, help="further pairs, held out (default: 60)")
    parser.add_argument("--profile", type=Path, default=FOLDER / "ablations.yaml", help="what is compared")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that is written (default: docs/evidence.md)")
    options = parser.parse_args(arguments)
    any_encoding()
    started = time.monotonic()
    try:
        profile = load_profile(options.profile)
        pairs = read_expert_pairs(options.data / EXPERTS, options.rows + options.held_out)
        write_expert_files(pairs[: options.rows], pairs[options.rows :], profile.warehouse / "data")
        for job in (MAIN_JOB, EVALUATE_JOB):
            run = ("-m", "dagster_project.commands.run", "--profile", str(profile.file), "--job", job)
            if status := subprocess.call([sys.executable, *run]):
                return status
        lake = open_lake(profile)
        compared, outcomes = lake.read(_COMPARISON), lake.read(_OUTCOMES)
    except UserError as error:
        say_error(error)
        return 1
    changed = sum(pair.changed_instruction for pair in pairs[: options.rows])
    tables = "\n".join(
        [
            f"{options.rows} pairs, of which experts changed {changed} instructions; {options.held_out} others held "
            f"out. Intervals: 95 %, {RESAMPLES:,} resamples of the rows asked, seed 0; differences are paired by row.",
            *_outcomes(outcomes),
            *_tables(compared),
        ]
    )
    write_measured(options.page, MARKS, tables)
    picture = options.page.parent / "evidence" / "comparison.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(_plot(compared))
    console = Console(highlight=False, soft_wrap=True)
    console.print(tables, markup=False)
    console.print(f"\n{options.page}: {time.monotonic() - started:.0f} s")
    return 0


def _outcomes(outcomes: pl.DataFrame) -> Iterator[str]:
    yield "\n**What each recipe keeps**\n"
    yield "| recipe | rows | original | instruction | answer | both |"
    yield "|---|---|---|---|---|---|"
    for recipe, *counts in outcomes.iter_rows():
        yield f"| {recipe} | {' | '.join(map(str, counts))} |"


def _tables(compared: pl.DataFrame) -> Iterator[str]:
    """A table a metric: each subject's value with its interval, every training seed, and what it differs by."""
    for metric, rows in compared.partition_by("metric", maintain_order=True, as_dict=True).items():
        best = "higher" if rows["higher_is_better"][0] else "lower"
        yield f"\n**{metric[0]}** ({best} is better; {rows['n'][0]} rows)\n"
        yield "| | rows | steps | value | training seeds | minus base | minus original | minus random | minus longest |"
        yield f"|{'---|' * 9}"
        for row in rows.iter_rows(named=True):
            seeds = [one["value"] for one in json.loads(row["by_seed"])]
            cells = [
                row["subject"],
                "" if row["training_rows"] is None else str(row["training_rows"]),
                "" if row["steps"] is None else str(row["steps"]),
                _interval(row["value"], row["low"], row["high"]),
                ", ".join(f"{one:.3f}" for one in seeds) if len(seeds) > 1 else "",
                *(_interval(*(row[f"minus_{name}{end}"] for end in ("", "_low", "_high"))) for name in REFERENCES),
            ]
            yield f"| {' | '.join(cells)} |"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    """`1.234 (1.2 to 1.3)`, marked where the interval of a difference leaves out 0; nothing where there is none."""
    return "" if value is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _plot(compared: pl.DataFrame) -> bytes:
    """What each recipe differs by from the one that is trained on the originals, a panel a metric."""
    metrics: dict[str, list[tuple[str, float, float, float, list[float]]]] = {}
    for row in compared.filter(pl.col("minus_original").is_not_null()).iter_rows(named=True):
        difference, low, high = (row[f"minus_original{end}"] for end in ("", "_low", "_high"))
        seeds = [one["value"] - row["value"] + difference for one in json.loads(row["by_seed"])]
        better = "higher" if row["higher_is_better"] else "lower"
        panel = f"{row['metric']}, minus original ({better} is better)"
        metrics.setdefault(panel, []).append((row["subject"], difference, low, high, seeds))
    return comparison_plot(metrics)


if __name__ == "__main__":
    sys.exit(main())
