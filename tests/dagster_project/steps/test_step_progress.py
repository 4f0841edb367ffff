"""Progress of a step: what a line says, and that neither log nor asset page is flooded."""

from typing import Any

import dagster as dg
import pytest

from dagster_project.commands.run_view import _PROGRESS_LINE
from dagster_project.steps import step_progress
from dagster_project.steps.step_progress import StepProgress, duration, line
from models_py.progress import Progress


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "expected"),
    [
        (Progress(1024, 4096, "rows"), 5.0, "work: 1,024/4,096 rows, 204.8/s, ETA 0:15"),
        (Progress(1, 4, "rows", fraction=0.5), 60.0, "work: 1/4 rows, 0.0/s, ETA 1:00"),
        (Progress(0, 4, "rows"), 3.0, "work: 0/4 rows, 0.0/s, ETA ?"),
        (Progress(4, 4, "steps", note="loss 2.1"), 2.0, "work: 4/4 steps, 2.0/s, ETA 0:00, loss 2.1"),
        (Progress(0, 0, "rows"), 0.0, "work: 0/0 rows, 0.0/s, ETA 0:00"),
    ],
)
def test_a_line_says_done_total_rate_and_eta(progress: Progress, elapsed_s: float, expected: str) -> None:
    assert line("work", progress, elapsed_s) == expected
    assert _PROGRESS_LINE.search(expected)  # or the terminal would not show it


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(7.4, "0:07"), (59.6, "1:00"), (760, "12:40"), (3600, "1:00:00"), (11_100, "3:05:00"), (-1, "0:00")],
)
def test_durations_read_like_a_clock(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


class FakeContext:
    """Keeps what a step would send to Dagster; StepProgress uses nothing else of the context."""

    def __init__(self) -> None:
        self.log = self
        self.lines: list[str] = []
        self.observations: list[dict[str, Any]] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    def log_event(self, event: dg.AssetObservation) -> None:
        assert event.asset_key == dg.AssetKey(["scoring", "rows"])
        self.observations.append({name: value.value for name, value in event.metadata.items()})


def test_a_report_a_second_is_a_line_every_five_and_an_observation_every_twenty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, now = FakeContext(), 100.0
    monkeypatch.setattr(step_progress.time, "monotonic", lambda: now)
    started = {"_started": now, "_logged": now, "_observed": now}
    progress = StepProgress(context, "work", dg.AssetKey(["scoring", "rows"]), **started)
    for second in range(1, 41):
        now = 100.0 + second
        progress(Progress(second, 80, "rows"))
    assert context.lines[0] == "work: 5/80 rows, 1.0/s, ETA 1:15"
    assert len(context.lines) == 8
    assert context.observations == [
        {"done": 20, "total": 80, "elapsed_s": 20.0, "eta_s": 60.0},
        {"done": 40, "total": 80, "elapsed_s": 40.0, "eta_s": 40.0},
    ]


def test_nothing_done_yet_has_no_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    context = FakeContext()
    monkeypatch.setattr(step_progress.time, "monotonic", lambda: 50.0)
    StepProgress(context, "work", dg.AssetKey(["scoring", "rows"]), 0.0, 0.0, 0.0)(Progress(0, 9, "rows"))
    assert context.observations == [{"done": 0, "total": 9, "elapsed_s": 50.0}]


def test_an_observation_tells_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    context = FakeContext()
    monkeypatch.setattr(step_progress.time, "monotonic", lambda: 50.0)
    progress = Progress(3, 9, "rows", note="900 tokens/s, 3.0 rows/s, packs")
    StepProgress(context, "work", dg.AssetKey(["scoring", "rows"]), 0.0, 0.0, 0.0)(progress)
    assert context.observations[0]["note"] == "900 tokens/s, 3.0 rows/s, packs"
    assert context.lines == ["work: 3/9 rows, 0.1/s, ETA 1:40, 900 tokens/s, 3.0 rows/s, packs"]


def test_a_second_round_has_a_rate_and_an_eta_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 100 seconds for the first 100 pairs, 10 of them are asked again."""
    context, now = FakeContext(), 0.0
    monkeypatch.setattr(step_progress.time, "monotonic", lambda: now)
    progress = StepProgress(context, "work", dg.AssetKey(["scoring", "rows"]), 0.0, 0.0, 0.0)
    for done, total, now in ((100, 100, 100.0), (1, 10, 102.0), (5, 10, 110.0)):  # noqa: B007
        progress(Progress(done, total, "replies"))
    assert context.lines[1:] == ["work: 5/10 replies, 0.5/s, ETA 0:10"]
    assert context.observations[1:] == []
