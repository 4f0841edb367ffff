"""Progress of a step: what a line says, and that the asset's page is not flooded."""

import subprocess
import threading
import time
from typing import Any

import dagster as dg
import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.steps.step_progress import (
    PROGRESS_KEY,
    PROGRESS_TAG,
    StepProgress,
    duration,
    line,
    tell_waiting,
)
from models_py import lock_file
from models_py.progress import Progress


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "expected"),
    [
        (Progress(1024, 4096, "rows"), 5.0, "work: 1,024/4,096 rows, 204.8/s, ETA 0:15"),
        (Progress(1, 4, "rows", fraction=0.5), 60.0, "work: 1/4 rows, 0.0/s, ETA 1:00"),
        (Progress(0, 4, "rows"), 3.0, "work: 0/4 rows, 0.0/s, ETA ?"),
        (Progress(4, 4, "steps", note="loss 2.1"), 2.0, "work: 4/4 steps, 2.0/s, ETA 0:00, loss 2.1"),
        (Progress(0, 0, "rows"), 0.0, "work: 0/0 rows, 0.0/s, ETA 0:00"),
        (Progress(1000, None, "rows"), 4.0, "work: 1,000 rows, 250.0/s"),
        (Progress(1000, None, "rows", note="packs"), 4.0, "work: 1,000 rows, 250.0/s, packs"),
        (Progress(1000, None, "rows", fraction=0.25), 4.0, "work: 1,000 rows, 250.0/s, ETA 0:12"),
        (Progress(0, None, "rows", fraction=0.0), 4.0, "work: 0 rows, 0.0/s, ETA ?"),
    ],
)
def test_a_line_says_what_is_known_of_done_total_rate_and_eta(
    progress: Progress, elapsed_s: float, expected: str
) -> None:
    assert line("work", progress, elapsed_s) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(7.4, "0:07"), (59.6, "1:00"), (760, "12:40"), (3600, "1:00:00"), (11_100, "3:05:00"), (-1, "0:00")],
)
def test_durations_read_like_a_clock(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


class FakeContext:
    """Keeps what a step would send to Dagster; StepProgress uses nothing else of the context."""

    def __init__(self) -> None:
        self.observations: list[dict[str, Any]] = []

    def log_event(self, event: dg.AssetObservation) -> None:
        assert (event.asset_key, event.tags) == (dg.AssetKey(["scoring", "rows"]), {PROGRESS_TAG: ""})
        self.observations.append({name: value.value for name, value in event.metadata.items()})


class Clock:
    """Stands for time.monotonic."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def observe(clock: Clock, *reports: tuple[float, Progress]) -> list[dict[str, Any]]:
    """What is observed of work that begins at 0 and reports at the given seconds."""
    context: Any = FakeContext()
    progress = StepProgress(context, "work", dg.AssetKey(["scoring", "rows"]))
    for clock.now, report in reports:
        progress(report)
    return list(context.observations)


def test_a_report_a_second_is_an_observation_every_five_in_the_first_minute_then_every_twenty(clock: Clock) -> None:
    seen = observe(clock, *((float(second), Progress(second, 200, "rows")) for second in range(1, 121)))
    assert [one["done"] for one in seen] == [*range(5, 65, 5), 80, 100, 120]
    assert seen[0] == {
        "progress": "work: 5/200 rows, 1.0/s, ETA 3:15",
        "done": 5,
        "total": 200,
        "elapsed_s": 5.0,
        "eta_s": 195.0,
    }


def test_nothing_done_yet_has_no_eta(clock: Clock) -> None:
    (seen,) = observe(clock, (50.0, Progress(0, 9, "rows")))
    assert seen == {"progress": "work: 0/9 rows, 0.0/s, ETA ?", "done": 0, "total": 9, "elapsed_s": 50.0}


def test_an_unknown_total_is_left_out(clock: Clock) -> None:
    (seen,) = observe(clock, (50.0, Progress(1000, None, "rows", note="seed_pairs")))
    assert seen == {"progress": "work: 1,000 rows, 20.0/s, seed_pairs", "done": 1000, "elapsed_s": 50.0}


def test_a_second_round_has_a_rate_and_an_eta_of_its_own(clock: Clock) -> None:
    """After 100 seconds for the first 100 pairs, 10 of them are asked again."""
    reports = [
        (100.0, Progress(100, 100, "pairs")),
        (102.0, Progress(1, 10, "pairs")),
        (120.0, Progress(5, 10, "pairs")),
    ]
    first, second = observe(clock, *reports)
    assert first["progress"] == "work: 100/100 pairs, 1.0/s, ETA 0:00"
    assert (second["progress"], second["eta_s"]) == ("work: 5/10 pairs, 0.2/s, ETA 0:20", 20.0)


def test_a_step_that_waits_for_another_process_says_so_as_its_progress(
    written_lake: Lake, writer: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "FIRST_S", 0.05)
    key = dg.AssetKey(["scoring", "rows"])

    @dg.asset(key=key)
    def rows() -> None:
        threading.Timer(0.3, writer.kill).start()
        with Lake(written_lake.warehouse, tell=tell_waiting).exclusively("scoring"):
            pass

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([rows], instance=instance).success
        (event,) = instance.fetch_observations(key, limit=5).records
    observed = event.asset_observation
    assert observed is not None and observed.tags == {PROGRESS_TAG: ""}
    said = str(observed.metadata[PROGRESS_KEY].value)
    assert said.startswith(f"waiting for process {writer.pid} (") and "scoring.lock since " in said


def test_outside_of_a_step_a_wait_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell_waiting("waiting for process 4711")
    assert capsys.readouterr().err == "waiting for process 4711\n"
