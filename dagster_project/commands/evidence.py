"""`make evidence DATA=folder`: what each statistic of a student can and cannot see, measured.

    python -m dagster_project.commands.evidence DATA [--rows 180]

Plants rewrites of known worth beside pairs that experts revised (models_py/evaluation/planted_rewrites.py), lets the
pipeline score and choose them under docs/evidence/profile.yaml, and asks docs/evidence/*.sql what came out. The tables
go into docs/evidence.md between its marks, the plot beside the profile. Run again, it asks the lake again.
"""

import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from dagster_project.commands.terminal import Arguments, any_encoding, say_error
from dagster_project.jobs import WITHOUT_TRAINING_JOB
from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.load import load_profile
from dagster_project.root import PROJECT_ROOT
from models_py.errors import UserError
from models_py.evaluation.intervals import RESAMPLES, Estimate, roc_auc, share
from models_py.evaluation.planted_rewrites import KINDS, read_revised_pairs, write_evidence_files

EXPERTS = "expert_revisions.jsonl"
PAGE = PROJECT_ROOT / "docs" / "evidence.md"
FOLDER = PROJECT_ROOT / "docs" / "evidence"
# Statistic: (column, +1 where the higher is preferred, -1 where the lower is).
STATISTICS = {
    "IFD": ("ifd", 1),
    "IFD of losses": ("ifd_loss", 1),
    "r-IFD": ("r_ifd", -1),
    "ppl(y\\|x)": ("ppl", -1),
    "length": ("tokens", 1),
}
MARKS = ("<!-- measured: begin -->\n", "<!-- measured: end -->\n")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when everything was measured."""
    parser = Arguments(prog="make evidence", description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help=f"folder that holds {EXPERTS}")
    parser.add_argument("--rows", type=int, default=180, help="pairs (default: 180)")
    parser.add_argument("--profile", type=Path, default=FOLDER / "profile.yaml", help="whose student is measured")
    parser.add_argument(
        "--page", type=Path, default=PAGE, help="page whose tables are written (default: docs/evidence.md)"
    )
    options = parser.parse_args(arguments)
    any_encoding()
    started = time.monotonic()
    try:
        profile = load_profile(options.profile)
        pairs = read_revised_pairs(options.data / EXPERTS, options.rows)
        made = write_evidence_files(pairs, profile.warehouse / "data")
        run = ("-m", "dagster_project.commands.run", "--profile", str(profile.file), "--job", WITHOUT_TRAINING_JOB)
        if status := subprocess.call([sys.executable, *run]):
            return status
        lake = open_lake(profile)
        comparisons, policies = (lake.read(_sql(name)) for name in ("comparisons", "policies"))
    except UserError as error:
        say_error(error)
        return 1
    tables = "\n".join(_tables(comparisons, policies, made))
    _plot(comparisons, options.page.parent / "evidence" / "preferences.png")
    write_measured(options.page, MARKS, tables)
    console = Console(highlight=False, soft_wrap=True)
    console.print(tables, markup=False)
    console.print(f"\n{options.page}: {len(pairs)} pairs, {time.monotonic() - started:.0f} s")
    return 0


def _sql(name: str) -> str:
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


# ---- tables


def _tables(comparisons: pl.DataFrame, policies: pl.DataFrame, made: dict[str, int]) -> Iterator[str]:
    counted = comparisons.group_by("kind").len()
    scored = dict(counted.iter_rows())
    yield ", ".join(f"{kind}: {scored.get(kind, 0)} of {made[kind]} rewrites scored" for kind in KINDS) + "."
    yield f"Intervals: 95 %, {RESAMPLES:,} resamples of the pairs, seed 0."
    yield from _table(
        "Rewrite preferred to the original, % of pairs",
        list(STATISTICS),
        {kind: [_percent(preferred(comparisons, kind, name)) for name in STATISTICS] for kind in KINDS},
    )
    yield from _table(
        "Median of each statistic",
        list(STATISTICS),
        {
            "original": [_median(comparisons, None, name) for name in STATISTICS],
            **{kind: [_median(comparisons, kind, name) for name in STATISTICS] for kind in KINDS},
        },
    )
    yield from _table(
        "ROC AUC of experts' answers against each kind of bad one",
        list(STATISTICS),
        {kind: [_decimal(told_apart(comparisons, kind, name)) for name in STATISTICS] for kind in KINDS[1:]},
    )
    yield from _table(
        "What stands in the way of a rewrite that IFD prefers, % of all pairs that still take it",
        ["IFD alone", "and IFD < 1", "and the guard"],
        {kind: [_percent(one) for one in gated(comparisons, kind)] for kind in KINDS},
    )
    yield from _table(
        "What each policy keeps, % of pairs: rewrite / original / neither",
        list(KINDS),
        {policy: kept for policy in sorted(set(policies["policy"])) if len(set(kept := _kept(policies, policy))) > 1},
    )
    yield "\nPolicies that look at no statistic of the answer do the same for every kind and are left out."


def _table(title: str, columns: Sequence[str], rows: dict[str, list[str]]) -> Iterator[str]:
    yield f"\n**{title}**\n"
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


def preferred(comparisons: pl.DataFrame, kind: str, statistic: str) -> Estimate:
    """In how many pairs the statistic prefers the rewrite of that kind to the original; a tie prefers neither."""
    return share(_prefers(comparisons.filter(kind=kind), statistic))


def told_apart(comparisons: pl.DataFrame, kind: str, statistic: str) -> Estimate:
    """ROC AUC of the statistic, experts' answers being good and that kind bad, over pairs that have both."""
    column, sign = STATISTICS[statistic]
    good, bad = (
        comparisons.filter(kind=one).select("pair_id", pl.col(f"{column}_rewrite") * sign) for one in ("expert", kind)
    )
    both = good.join(bad, on="pair_id", suffix="_bad").drop_nulls().sort("pair_id")
    return roc_auc(both.to_series(1).to_numpy(), both.to_series(2).to_numpy())


def gated(comparisons: pl.DataFrame, kind: str) -> list[Estimate]:
    """In how many pairs the rewrite wins by IFD; wins and is below 1; wins and the guard of the first choice agrees."""
    rows = comparisons.filter(kind=kind)
    wins = _prefers(rows, "IFD")
    below = (rows["ifd_rewrite"] < 1).fill_null(False).to_numpy()
    agreed = rows["guard_objection"].is_null().to_numpy()
    return [share(wins), share(wins & below), share(wins & agreed)]


def _prefers(rows: pl.DataFrame, statistic: str) -> np.ndarray:
    column, sign = STATISTICS[statistic]
    differs = (rows[f"{column}_rewrite"] - rows[f"{column}_original"]) * sign
    return (differs > 0).fill_null(False).to_numpy()


def _median(comparisons: pl.DataFrame, kind: str | None, statistic: str) -> str:
    column, _ = STATISTICS[statistic]
    rows = comparisons.unique("pair_id") if kind is None else comparisons.filter(kind=kind)
    value = float(np.median(rows[f"{column}_{'original' if kind is None else 'rewrite'}"].drop_nulls().to_numpy()))
    return f"{value:,.0f}" if column == "tokens" else f"{value:.3f}"


def _kept(policies: pl.DataFrame, policy: str) -> list[str]:
    rows = {row["kind"]: row for row in policies.filter(policy=policy).iter_rows(named=True)}
    nothing = {"rewrite_kept": 0.0, "original_kept": 0.0, "dropped": 1.0}
    shares = [rows.get(kind, nothing) for kind in KINDS]
    return [" / ".join(f"{100 * row[name]:.0f}" for name in nothing) for row in shares]


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.0f} ({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"


def _decimal(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


# ---- page and plot


def write_measured(page: Path, marks: tuple[str, str], tables: str) -> None:
    """The tables between the marks of the page, and what they were measured with."""
    import torch
    import transformers

    machine = f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()} CPU, float32"
    write_between(page, marks, f"{tables}\n\nMeasured with {machine}.")


def write_between(page: Path, marks: tuple[str, str], text: str) -> None:
    """A text between the marks of the page, which is made with nothing else where it is missing."""
    before, _, rest = (page.read_text(encoding="utf-8") if page.is_file() else "".join(marks)).partition(marks[0])
    _, _, after = rest.partition(marks[1])
    page.write_text(f"{before}{marks[0]}{text}\n{marks[1]}{after}", encoding="utf-8")


def _plot(comparisons: pl.DataFrame, file: Path) -> None:
    """How often each statistic prefers each kind of rewrite, with intervals: a panel a kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(KINDS), figsize=(2.3 * len(KINDS), 2.8), sharey=True, layout="constrained")
    names = [name.replace("\\", "") for name in STATISTICS]
    for panel, kind in zip(panels, KINDS, strict=True):
        found = [preferred(comparisons, kind, name) for name in STATISTICS]
        values = [100 * one.value for one in found]
        errors = [[100 * (one.value - one.low) for one in found], [100 * (one.high - one.value) for one in found]]
        panel.barh(names, values, xerr=errors, color="#3a7ca5" if kind == "expert" else "#c8553d", capsize=2)
        panel.axvline(50, color="black", linewidth=0.6, linestyle=":")
        panel.set(title=kind, xlim=(0, 100))
        panel.invert_yaxis()
    figure.supxlabel("rewrite preferred to the original, % of pairs")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
