"""What the house itself costs: `make sql`, and `make run` with nothing to do, as multiples of `import dagster`.

    python benchmarks/house.py                    # the toy profile is run first, in a temporary folder: a minute or two
    python benchmarks/house.py --folder /tmp/h    # kept there, so that the next measurement begins at once
    python benchmarks/house.py --quick            # one round, no verdict: whether it works

A round runs each command right after the reference, `python -c "import dagster"`, in processes of their own. What
counts is CPU time (user and system, all threads and children) as a multiple of the reference's, the median of the
rounds: a slower or busier machine slows both. Wall times are shown beside it. Writes benchmarks/results/house.json.
Not measured: `make` itself and its look at the environment, `make ui`, and whatever grows with the rows
(benchmarks/selection.py).
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results" / "house.json"
REFERENCE = ["-c", "import dagster"]
LIMITS = {"make sql": 1.3, "make run, unchanged": 14.0}
QUERY = "select * from selection.selection_summary"  # the Makefile's


@dataclass(frozen=True)
class Took:
    wall_s: float
    cpu_s: float  # user + system, of the process and all that it waited for


@dataclass(frozen=True)
class Pair:
    """A command and the reference that ran right before it."""

    command: Took
    reference: Took


def measure(arguments: list[str], folder: Path) -> Took:
    """Run Python with these arguments. Raises RuntimeError with its output when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DAGSTER_HOME": str(folder / "dagster")}
    environment |= {"OMP_WAIT_POLICY": "passive"}  # as in the Makefile
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return Took(wall_s, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def toy(folder: Path) -> Path:
    """The bundled profile with its warehouse in `folder`."""
    text = (PROJECT / "profiles" / "toy.yaml").read_text(encoding="utf-8")
    profile = yaml.safe_load(text.replace("seeds/", f"{PROJECT / 'seeds'}/")) | {"warehouse": str(folder / "warehouse")}
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(profile), encoding="utf-8")
    return file


def run(profile: Path, rounds: int) -> dict[str, Any]:
    """Make everything of the profile once, then measure; what is written to results/house.json."""
    commands = {
        "make sql": ["-m", "dagster_project.commands.sql", QUERY, "--profile", str(profile)],
        "make run, unchanged": ["-m", "dagster_project.commands.run", "--profile", str(profile)],
    }
    folder = profile.parent
    first_run = measure(commands["make run, unchanged"], folder)
    print(f"first run, not counted: {first_run.wall_s:.0f} s, of CPU {first_run.cpu_s:.0f} s\n", flush=True)
    pairs: dict[str, list[Pair]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            reference = measure(REFERENCE, folder)
            pairs[name].append(Pair(measure(arguments, folder), reference))
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "first_run": asdict(first_run),
        "rounds": {name: [asdict(pair) for pair in measured] for name, measured in pairs.items()},
        "times_import_dagster": {
            name: {
                "cpu": median(pair.command.cpu_s / pair.reference.cpu_s for pair in measured),
                "wall": median(pair.command.wall_s / pair.reference.wall_s for pair in measured),
                "limit": LIMITS[name],
            }
            for name, measured in pairs.items()
        },
    }


def report(result: dict[str, Any]) -> str:
    """The medians of the rounds, and how many times the reference they are."""
    lines = [f"{'':<24}{'wall s':>9}{'CPU s':>9}{'wall':>9}{'CPU':>9}{'limit':>9}"]
    references = [pair["reference"] for pairs in result["rounds"].values() for pair in pairs]
    lines.append(f"{'import dagster':<24}{_medians(references)}{'1.00x':>9}{'1.00x':>9}")
    for name, times in result["times_import_dagster"].items():
        took = _medians([pair["command"] for pair in result["rounds"][name]])
        lines.append(f"{name:<24}{took}{times['wall']:>8.2f}x{times['cpu']:>8.2f}x{times['limit']:>8.1f}x")
    return "\n".join(lines)


def _medians(took: list[dict[str, float]]) -> str:
    return "".join(f"{median(one[kind] for one in took):>9.2f}" for kind in ("wall_s", "cpu_s"))


def main() -> int:
    """Measure, print, write the results; exit status 1 where a limit is exceeded, but with --quick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round, and no limit counts")
    parser.add_argument("--folder", type=Path, help="where the toy is made and kept (default: a temporary one)")
    parser.add_argument("--profile", type=Path, help="measure this one; Dagster's records are kept beside it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        result = run((options.profile or toy(folder)).resolve(), 1 if options.quick else options.rounds)
    print(report(result))
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    exceeded = any(times["cpu"] > times["limit"] for times in result["times_import_dagster"].values())
    return 1 if exceeded and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
