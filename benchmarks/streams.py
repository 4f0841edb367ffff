"""What a pair costs as pairs become many, and how much memory each step takes: in one run, step by step.

    python benchmarks/streams.py --rows 10000 --rows 1000000

For each number of pairs a lake is made as selection.py makes it, without teacher and student, with four recipes. Then
each step of a run that reads or writes all pairs is done in a process of its own, on two cores, and measured there:
wall seconds, CPU seconds, peak memory (resident set, all that the process ever held). What a process costs before it
knows its first row (imports, the lake attached) is not counted. The second table says what a pair costs at the largest
number as a multiple of what it costs at the smallest, in CPU seconds: 1 is a stream, more grows faster than its rows.

The last two steps take away what the student, then the teacher has done, and read what is theirs to do.

Cleaning is measured by cleaning.py: what it costs depends on how alike texts are, and these are pieces of one text.
Writes results/streams.json, from which docs/scale.md is made. A million pairs take 12 GB of disk. Wall seconds on a
busy machine are too high: look at the CPU column. Killed and run again with the same --keep, it goes on with the step
it was at. A step that fails is told at the end, with exit status 1; the others are measured.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import yaml
from selection import CORES, PAIRS_FILE, STUDENT, Stopwatch, make, set_up_in_a_child

from assets.profile import recipes
from assets.scoring.score_pending import pending_rows
from assets.training.training_pairs import freeze
from dagster_project.checks import claims
from dagster_project.commands.export_content import Request, write_export
from dagster_project.lakehouse.lake import Commit, Lake, open_lake
from dagster_project.lakehouse.sql_files import Model, load_models, pending_files, policies
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.steps.report_content import report_content
from models_py.errors import UserError
from models_py.export.shapes import MESSAGES, PREFERENCE, Shape
from models_py.report.page import publish_report
from models_py.sources.read import read_sources

RESULTS = Path(__file__).resolve().parent / "results" / "streams.json"
LIMIT_GIB, LIMIT_GROWTH = 6.0, 1.3
LARGEST = "reflect_both"  # the recipe that keeps nearly every pair
PROFILE_FILE, MEASURED_FILE = "many_pairs.yaml", "measured.jsonl"
PROFILE: dict[str, Any] = {
    "warehouse": "warehouse",
    "sources": [{"name": "synthetic", "path": PAIRS_FILE}],
    "teachers": {"teacher": {"engine": "recorded", "replies": "replies.jsonl"}},
    "students": {"student": {"scratch": {}}},
    "response_reflection": "all",
    "recipes": {
        name: {"policy": policy, "teacher": "teacher", "student": "student", **cut}
        for name, policy, cut in (
            ("original", "original", {}),
            (LARGEST, LARGEST, {}),
            ("paper", "paper", {}),
            ("paper_top", "paper", {"top_fraction": 0.02}),
        )
    },
}


@dataclass(frozen=True)
class Measured:
    """A step at one number of pairs. peak_gib: of its process, which did nothing else. failed: why it has no figure."""

    pairs: int
    step: str
    rows: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_gib: float = 0.0
    failed: str | None = None


Work = Callable[[Lake, Profile], int]

# ── the steps, as the assets take them ─────────────────────────────────────────────────────────────────────────────


def _read(lake: Lake, profile: Profile) -> int:
    read = read_sources(profile.sources)
    lake.mirror({"raw.raw_pairs": read.pairs, "raw.quarantined_rows": read.quarantined}, Commit("pairs"))
    return sum(read.rows_by_source.values())


def _stored(model: Model, lake: Lake, profile: Profile) -> int:
    return make(lake, model)


def _views(lake: Lake, profile: Profile) -> int:
    return sum(make(lake, model) for model in load_models().values() if model.materialized == "view")


def _facts(lake: Lake, profile: Profile) -> int:
    """The data versions of all views and stored rows, which their assets report."""
    return sum(lake.facts(model.table, list(model.columns), preview_rows=5).rows for model in load_models().values())


def _pending(lake: Lake, profile: Profile) -> int:
    return sum(lake.read(file.sql).height for file in pending_files().values())


def _checks(lake: Lake, profile: Profile) -> int:
    return sum(lake.read(claim.sql).height for claim in claims())


def _freeze(recipe: str, lake: Lake, profile: Profile) -> int:
    freeze(lake, recipe)
    return int(str(lake.scalar("select count(*) from training.training_pairs where recipe = ?", [recipe])))


def _export(shape: Shape, lake: Lake, profile: Profile) -> int:
    with tempfile.TemporaryDirectory(dir=profile.root) as out:
        told = write_export(lake, profile, Request(recipe=LARGEST, shape=shape), Path(out))
    return int(told[0].split()[-2].replace(",", ""))


def _report(lake: Lake, profile: Profile) -> int:
    with report_content(lake, profile.name) as content:
        publish_report(content, profile.root / "report.html")
    return 0


def _unscored(lake: Lake, profile: Profile) -> int:
    """Every text that the student would have to score, as scoring reads them."""
    _take_away(lake, "scoring.instruction_scores", "scoring.response_scores", "scoring.chosen_scores")
    pending = [f"({file.sql})" for table, file in pending_files().items() if table.startswith("scoring.")]
    return sum(1 for sql in pending for _ in pending_rows(lake, sql, STUDENT))


def _unreflected(lake: Lake, profile: Profile) -> int:
    """Every pair that the teacher would have to reflect on; reflection holds them all."""
    _take_away(lake, "reflection.instruction_reflections", "reflection.response_reflections")
    pending = [file.sql for table, file in pending_files().items() if table.startswith("reflection.")]
    return sum(lake.read(sql).height for sql in pending)


def _take_away(lake: Lake, *tables: str) -> None:
    def empty(connection: duckdb.DuckDBPyConnection) -> None:
        for table in tables:
            connection.execute(f"delete from {table}")

    lake.write(empty, Commit("nothing done yet"))


def _steps() -> dict[str, Work]:
    stored = [model for model in load_models().values() if model.materialized == "table"]
    selected, traced = ([m for m in stored if m.table.startswith("lineage.") == late] for late in (False, True))
    return {
        "read the source": _read,
        "pending work, nothing left": _pending,
        **{f"store {model.name}": partial(_stored, model) for model in selected},
        "compute every view": _views,
        **{f"freeze {recipe}": partial(_freeze, recipe) for recipe in PROFILE["recipes"]},
        **{f"store {model.name}": partial(_stored, model) for model in traced},
        "data versions of all of them": _facts,
        "checks": _checks,
        f"export {LARGEST} as messages": partial(_export, MESSAGES),
        f"export {LARGEST} as preferences": partial(_export, PREFERENCE),
        "report": _report,
        "pending texts, none scored": _unscored,
        "pending pairs, none reflected on": _unreflected,
    }


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _take(folder: Path, step: str, pairs: int, answer: Any) -> None:
    """In a process of its own: the step, measured."""
    profile = load_profile(folder / PROFILE_FILE, policies())
    lake, watch = open_lake(profile), Stopwatch()
    lake.prepare()
    try:
        taken = watch.measure("", step, partial(_steps()[step], lake, profile))
    except (duckdb.Error, MemoryError, UserError) as error:
        answer.send(Measured(pairs, step, failed=f"{type(error).__name__}: {error}"))
    else:
        answer.send(Measured(pairs, step, taken.rows, taken.wall_s, taken.cpu_s, taken.peak_gib))


def measure(folder: Path, pairs: int) -> list[Measured]:
    """Every step over so many pairs; those that a run in this folder has measured already are not repeated."""
    if not (folder / PROFILE_FILE).exists():
        set_up(folder, pairs)
    print(f"\n  {f'{pairs:,} pairs':<34}{'rows':>11}{'wall s':>9}{'CPU s':>9}{'peak GiB':>10}", flush=True)
    known = folder / MEASURED_FILE
    known.touch()
    measured = [Measured(**json.loads(line)) for line in known.read_text(encoding="utf-8").splitlines()]
    for step in list(_steps())[len(measured) :]:
        measured.append(_measured(folder, step, pairs))
        with known.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(measured[-1])) + "\n")
    return measured


def _measured(folder: Path, step: str, pairs: int) -> Measured:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_take, args=(folder, step, pairs, sender))
    child.start()
    sender.close()
    try:
        measured: Measured = receiver.recv()
    except EOFError:
        child.join()
        measured = Measured(pairs, step, failed=f"its process ended with {child.exitcode}")
    child.join()
    if measured.failed:
        print(f"  {step:<34}failed: {measured.failed}", flush=True)
    return measured


def set_up(folder: Path, pairs: int) -> None:
    """A lake with what teacher and student would have done, and a profile whose recipes it then is given."""
    set_up_in_a_child(folder, pairs)
    (folder / "replies.jsonl").touch()
    (folder / PROFILE_FILE).write_text(yaml.safe_dump(PROFILE, sort_keys=False), encoding="utf-8")
    profile = load_profile(folder / PROFILE_FILE, policies())
    open_lake(profile).mirror({recipes.TABLE: recipes.rows(profile)}, Commit("recipes"))


def growth(measured: list[Measured]) -> dict[str, float]:
    """By step, what a pair costs at the largest number as a multiple of the cost at the smallest, in CPU seconds."""
    sizes = sorted({one.pairs for one in measured})
    failed = {one.step for one in measured if one.failed}
    measured = [one for one in measured if one.step not in failed]
    cost = {(one.pairs, one.step): one.cpu_s / one.pairs for one in measured}
    total = {size: sum(one.cpu_s for one in measured if one.pairs == size) / size for size in sizes}
    steps = {one.step: cost[sizes[-1], one.step] / cost[sizes[0], one.step] for one in measured}
    return {**steps, "all together": total[sizes[-1]] / total[sizes[0]]}


def main() -> int:
    """Measure, print, write results/streams.json; exit status 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="pairs; may be named several times")
    parser.add_argument("--keep", type=Path, help="a folder for the lakes, where it goes on later")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    measured: list[Measured] = []
    stored_gb: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for pairs in sorted(options.rows or [10_000, 100_000]):
            folder = (options.keep or Path(temporary)) / str(pairs)
            folder.mkdir(parents=True, exist_ok=True)
            measured += measure(folder, pairs)
            stored_gb[pairs] = sum(file.stat().st_size for file in folder.glob("warehouse/**/*.parquet")) / 1e9
            if options.keep is None:
                shutil.rmtree(folder)
    grown = growth(measured)
    print(f"\n  {'cost of a pair, largest : smallest':<34}")
    for step, factor in grown.items():
        print(f"  {step:<34}{factor:>11.2f}")
    peak = max(one.peak_gib for one in measured)
    print(
        f"\n  peak memory {peak:.2f} GiB (limit {LIMIT_GIB}), growth {grown['all together']:.2f} (limit {LIMIT_GROWTH})"
    )
    failed = {one.step: f"at {one.pairs:,} pairs: {one.failed}" for one in measured if one.failed}
    for step, reason in failed.items():
        print(f"  {step} failed {reason}")
    steps = [asdict(one) for one in measured if one.step not in failed]
    told = {"steps": steps, "failed": failed, "growth": grown, "stored_gb": stored_gb, "cores": CORES}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
