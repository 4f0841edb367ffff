"""What several scorers gain over one, and how far that goes: two actors of one thread measured, more simulated.

    python benchmarks/ray_scoring.py --texts 64 --rounds 2

One actor and two take turns on the same texts (SmolLM2-135M on the bundled and the experts' pairs, as scoring.py has
them), on a Ray cluster on this machine, each with one thread, their scores committed to a lake as the pipeline does it.
A rate counts from the first shard that came back to the last, so that loading is left out; it is told apart.

The simulation hands the shards that were measured out to more actors, each as soon as its actor and the one process
that hands out, takes in and commits are free. It knows two things: how long each shard took one actor, and how long
that process took for a row. Its two actors are compared with the two that were measured; what it leaves out shows
there (cores that share memory and power). For more actors it says where the one writer is full: that bound does not
depend on the model. Writes results/ray-scoring.json and .png.
"""

import argparse
import heapq
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from scoring import MAX_LENGTH, SMOLLM2, real_rows

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.steps.commits import commit_batches
from models_py.progress import Progress
from models_py.ray_cluster import connected, ray_cluster
from models_py.student.actors import ScoringActors
from models_py.student.resolve import make_student
from models_py.student.scorer import ScoreRequest
from models_py.student.spec import ResolvedStudent, Student

RESULTS = Path(__file__).resolve().parent / "results"
TABLE = "scoring.response_scores"
ONE_CORE = {"CPU": 1.0}  # a machine, for an actor with one thread
SHARDS = 16
SIMULATED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHARDS_EACH = 50  # of each simulated actor: long enough that neither begin nor end counts


@dataclass
class Run:
    """One scoring of all texts. arrived: seconds since the first request, and rows so far, at each shard."""

    actors: int
    arrived: list[tuple[float, int]] = field(default_factory=list)
    commit_s: float = 0.0
    rows: int = 0

    @property
    def rate(self) -> float:
        """Rows a second from the first shard to the last."""
        (since, before), (until, after) = self.arrived[0], self.arrived[-1]
        return (after - before) / (until - since)

    @property
    def shards(self) -> list[tuple[float, int]]:
        """How long each shard after the first took, and its rows; only of one actor that is so."""
        return [
            (after[0] - before[0], after[1] - before[1])
            for before, after in zip(self.arrived, self.arrived[1:], strict=False)
        ]


def texts(count: int) -> list[ScoreRequest]:
    """The candidates of real rows, each with a number so that none is twice."""
    pairs = (pair for row in cycle(real_rows()) for pair in row.values())
    return [ScoreRequest(str(n), *pair) for n, pair in enumerate(islice(pairs, count))]


def measure(student: ResolvedStudent, requests: Sequence[ScoreRequest], actors: int, lake: Lake, address: str) -> Run:
    """Score and commit all of them."""
    run, keys = Run(actors), {"student": student.name, "student_fingerprint": student.fingerprint}
    with connected(address):
        crew = ScoringActors(student, actors, [ONE_CORE] * actors, shard_rows=-(-len(requests) // SHARDS))
        began = time.monotonic()

        def arrived(progress: Progress) -> None:
            if progress.done > run.rows:
                run.rows = progress.done
                run.arrived.append((time.monotonic() - began, progress.done))

        for batch in commit_batches(crew.score(requests, arrived)):
            since = time.monotonic()
            lake.append({TABLE: [{**keys, **asdict(row)} for row in batch]}, Commit("scores"))
            run.commit_s += time.monotonic() - since
    return run


def simulate(shards: Sequence[tuple[float, int]], actors: int, row_s: float) -> float:
    """Rows a second of so many actors. shards: seconds and rows; row_s: what the one process takes for a row."""
    left: Iterator[tuple[float, int]] = iter(list(islice(cycle(shards), SHARDS_EACH * actors)))
    under_way: list[tuple[float, int]] = []  # when it ends, its rows
    for seconds, rows in islice(left, actors):
        heapq.heappush(under_way, (seconds, rows))
    free_at, done = 0.0, 0
    while under_way:
        ended, rows = heapq.heappop(under_way)
        now = max(ended, free_at)
        if following := next(left, None):
            heapq.heappush(under_way, (now + following[0], following[1]))
        free_at = now + rows * row_s
        done += rows
    return done / free_at


def commit_cost(lake: Lake, student: ResolvedStudent, rows: int = 20_000) -> float:
    """Seconds a row to commit full batches: the few texts that are scored here would fill none."""
    from models_py.student.scorer import ScoreRow

    columns = {name: 1.0 if name.endswith("_nll") else 1 for name in ScoreRow.__dataclass_fields__}
    keys = {"student": student.name, "student_fingerprint": student.fingerprint}
    fixed: dict[str, Any] = {**columns, "status": "ok", "reason": None, "truncated": False, "history_truncated": False}
    made = ({**keys, **fixed, "content_id": f"made {n}"} for n in range(rows))
    since = time.monotonic()
    for batch in commit_batches(made):
        lake.append({TABLE: batch}, Commit("scores"))
    return (time.monotonic() - since) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    requests, runs = texts(options.texts), list[Run]()
    with tempfile.TemporaryDirectory() as folder, ray_cluster(None) as address:
        student = make_student(Student("smollm2", model=SMOLLM2, max_length=MAX_LENGTH), Path(folder) / "students")
        for turn in range(options.rounds):
            for actors in (1, 2):
                lake = Lake(Path(folder) / f"{turn}-{actors}")
                lake.prepare()
                runs.append(measure(student, requests, actors, lake, address))
                one = runs[-1]
                print(
                    f"  {actors} actors: {one.rate:6.2f} rows/s, first shard after {one.arrived[0][0]:.1f} s",
                    flush=True,
                )
        row_s = commit_cost(lake, student)
    rates = {n: sum(one.rate for one in runs if one.actors == n) / options.rounds for n in (1, 2)}
    shards = [shard for one in runs if one.actors == 1 for shard in one.shards]
    simulated = {n: simulate(shards, n, row_s) for n in SIMULATED}
    measured_gain, simulated_gain = rates[2] / rates[1], simulated[2] / simulated[1]
    print(f"\n  two actors of one thread : one   measured {measured_gain:.2f}, simulated {simulated_gain:.2f}")
    print(f"  the one process that commits takes {row_s * 1e3:.3f} ms a row: {1 / row_s:,.0f} rows/s at most")
    for n, rate in simulated.items():
        print(f"  {n:>5} actors, simulated{rate:>12,.1f} rows/s{rate / simulated[1]:>10.1f} x one")
    RESULTS.mkdir(exist_ok=True)
    told = {
        "runs": [asdict(one) for one in runs],
        "measured_gain": measured_gain,
        "simulated": simulated,
        "commit_s_a_row": row_s,
        "rows_a_second_at_most": 1 / row_s,
    }
    (RESULTS / "ray-scoring.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    draw(simulated, measured_gain, 1 / row_s)


def draw(simulated: dict[int, float], measured_gain: float, most: float) -> None:
    """Rows a second over actors, simulated; the two that were measured."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.loglog([*simulated], [*simulated.values()], marker="o", label="simulated")
    axes.loglog([1, 2], [simulated[1], simulated[1] * measured_gain], marker="s", label="measured")
    axes.axhline(most, linestyle="--", color="grey", label="the one writer is full")
    axes.set(xlabel="actors", ylabel="rows/s", title="Scoring with more actors of one CPU thread")
    axes.legend()
    figure.savefig(RESULTS / "ray-scoring.png", dpi=120)


if __name__ == "__main__":
    main()
