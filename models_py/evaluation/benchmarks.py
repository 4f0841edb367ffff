"""lm-eval's tasks for a model, in a process of its own: lm-eval is heavy, and when it ends memory comes back.

    tasks = planned(settings)                           # groups and tags taken apart; no model, no data set
    for result in results(settings, student, tasks, log):
        result.task, result.metrics[0].value

One process reads one model and does task after task, and each result is there as soon as it is; so whoever stores them
goes on after a kill with the tasks that are missing. What lm-eval says goes to `log`.
"""

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.evaluation.benchmark_settings import SECTION, Benchmarks
from models_py.progress import OnProgress, Progress, silent
from models_py.student.spec import ResolvedStudent

_SAID_LINES = 5


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """benchmark: the name in the profile that it comes from. task: lm-eval's name. spec: how lm-eval builds it.

    groups: (group, metric, filters or None, weighted by size) of the means it is part of. benchmark_id: hash of all
    that decides its results but the model.
    """

    benchmark: str
    task: str
    benchmark_id: str
    spec: dict[str, Any]
    groups: list[list[Any]]
    dataset: str
    version: str
    with_defaults: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a task: the mean over its items, as a rule; stderr is lm-eval's, None where it gives none."""

    metric: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task. items: what each gave, {item, item_hash, filter, metric, value}. n: how many were asked."""

    task: str
    metrics: list[Metric]
    items: list[dict[str, Any]]
    n: int
    num_fewshot: int | None
    version: str
    lm_eval_version: str


def planned(settings: Benchmarks, log: Path) -> list[PlannedTask]:
    """The tasks that the settings ask for. Raises UserError for what cannot be one, and without lm-eval."""
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"{SECTION}: lm-eval is not installed; `make setup WITH=evaluation` installs it")
    if settings.include is not None and not settings.include.is_dir():
        raise UserError(f"{SECTION}.include: {settings.include} is no folder; name the one with the task files")
    [line] = _lines({"do": "plan", "settings": _as_json(settings)}, log)
    return [PlannedTask(**one) for one in line["planned"]]


def results(
    settings: Benchmarks,
    student: ResolvedStudent,
    tasks: Sequence[PlannedTask],
    log: Path,
    on_progress: OnProgress = silent,
) -> Iterator[TaskResult]:
    """The result of each task in turn. Raises UserError where data cannot be had, before the model is loaded."""
    request = {
        "do": "run",
        "settings": _as_json(settings),
        "student": asdict(student),
        "tasks": [asdict(one) for one in tasks],
    }
    done = 0
    for line in _lines(request, log):
        if "begins" in line:
            on_progress(Progress(done, len(tasks), "tasks", note=line["begins"]))
            continue
        done += 1
        yield TaskResult(**{**line, "metrics": [Metric(**one) for one in line["metrics"]]})
        on_progress(Progress(done, len(tasks), "tasks"))


def _as_json(settings: Benchmarks) -> dict[str, Any]:
    return {**asdict(settings), "include": settings.include and str(settings.include)}


def _lines(request: dict[str, Any], log: Path) -> Iterator[dict[str, Any]]:
    """What the process says, a line as it comes. Whoever stops reading ends it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors, contextlib.ExitStack() as ending:
        process = subprocess.Popen(
            [sys.executable, "-m", "models_py.evaluation.lm_eval_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        ending.callback(_end, process)
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before it read, and its status says so
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        for text in process.stdout:
            line: dict[str, Any] = json.loads(text)
            if "error" in line:
                raise UserError(line["error"])
            yield line
        status = process.wait()
    if status:
        said = [one for one in log.read_text("utf-8", "replace").splitlines() if one.strip()][-_SAID_LINES:]
        raise UserError(f"{SECTION}: lm-eval ended with status {status}; {log} says why:\n" + "\n".join(said))


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
