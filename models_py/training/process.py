"""The process that trains: started, listened to, ended.

    parent                                            child: python -m models_py.training.child TASK
      │  the task, pickled, in the work folder          │
      │ <── {"progress": {"done": 3, "total": 24, ...}} │  a line of JSON each, on what was standard output
      │ <── {"user_error": "..."} or {"outcome": {..}}  │
      └─── standard input ─────────────────────────────>┘  a word: save the state after this step, and end;
                                                           when it closes, the child ends at once

The system closes that pipe however the parent ends, so a child never outlives it, not even kill -9. With several
processes torchrun starts them; all read the same pipe, and whoever has something to tell writes to the same other one.
On several machines each has such a parent, see cluster.py, and the first process of all tells progress and outcome.
What anything in there prints goes to `training.log` in the work folder, to `training-1.log` on the second machine.
"""

import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.lock_file import Tell
from models_py.progress import OnProgress, Progress
from models_py.training import child as training_child
from models_py.training.settings import TrainingSettings
from models_py.training.task import Task

LOG = "training.log"
END_S = 10.0  # from the request to end until the kill
_ROOT = Path(__file__).parents[2]


class BrokenDownError(UserError):
    """The process ended without an outcome; what it saved stays for the next run."""


class RefusedError(UserError):
    """What the training itself tells the user: what it saved would lead to that again."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine among several that train together, in torchrun's words; the first one listens at the address."""

    rank: int
    master_address: str
    master_port: int


class TrainingProcess:
    """The process that trains as a task says; of several machines those of one of them."""

    def __init__(self, task: Task, node: Node | None = None) -> None:
        self._task, self._node = task, node
        self._child: subprocess.Popen[bytes] | None = None

    def said(self, tell: Tell | None = None) -> Generator[dict[str, Any]]:
        """Start it; what it tells, a line each, until it has ended. It ends with this, however this does.

        Where `tell` is given, an interrupt waits for the step under way, so that the state after it is saved, and tells
        so; another one does not wait.

        Raises BrokenDownError where it ends without having told how the training went.
        """
        work, rank = self._task.work, self._node.rank if self._node else 0
        suffix = f"-{rank}" if rank else ""
        work.mkdir(parents=True, exist_ok=True)
        told, log = work / f"task{suffix}.pickle", work / Path(LOG).with_stem(f"training{suffix}")
        told.write_bytes(pickle.dumps(self._task))
        with log.open("wb") as written:
            self._child = subprocess.Popen(
                _command(told, self._task.settings, self._node),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                env={**os.environ, "PYTHONPATH": _python_path(), "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C reaches this process, which ends the child in order
            )
        assert self._child.stdout is not None
        told_all = False
        try:
            for line in self._child.stdout:
                said = json.loads(line)
                told_all = "progress" not in said
                yield said
            code = self._child.wait()
        finally:
            try:
                if tell is not None and not told_all:
                    self._stop(tell)
            finally:
                self.end()
                self._child.stdout.close()
                told.unlink(missing_ok=True)
        if not told_all and (code or rank == 0):
            raise BrokenDownError(_broken_down(code, log))

    def _stop(self, tell: Tell) -> None:
        """Have it save its state after the step under way, and wait until it has ended."""
        assert self._child is not None and self._child.stdin is not None and self._child.stdout is not None
        if self._child.poll() is not None:
            return
        with contextlib.suppress(OSError):  # it ends by itself
            self._child.stdin.write(b"stop\n")
            self._child.stdin.flush()
        tell("saving the state after the step under way; a second interrupt does not wait for it")
        for _ in self._child.stdout:
            pass
        self._child.wait()

    def end(self) -> None:
        """Close the pipe that a child lives by, and kill it and what it started where that is not enough."""
        if self._child is None:
            return
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()


def trained_apart(task: Task, on_progress: OnProgress) -> dict[str, Any]:
    """Train in a process of its own; what `trainer.train` returns there.

    Raises RefusedError for what that raises as UserError, and BrokenDownError when the process breaks down. An
    exception that is raised here meanwhile, such as an interrupt, ends the process once it has saved its state.
    """
    latest = Progress(0, None, "steps")

    def note(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        on_progress(progress)

    def tell(words: str) -> None:
        on_progress(replace(latest, note=words, urgent=True))

    with contextlib.closing(TrainingProcess(task).said(tell)) as lines:
        (outcome,) = [outcome for said in lines if (outcome := heard(said, note)) is not None]
    return outcome


def heard(said: dict[str, Any], on_progress: OnProgress) -> dict[str, Any] | None:
    """Pass on a line that a child told; the outcome, where it is that. Raises RefusedError for what it refuses."""
    if "progress" in said:
        on_progress(Progress(**said["progress"]))
        return None
    if "user_error" in said:
        raise RefusedError(said["user_error"])
    outcome: dict[str, Any] = said["outcome"]
    return outcome


def _python_path() -> str:
    return os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _command(told: Path, settings: TrainingSettings, node: Node | None) -> list[str]:
    start = [sys.executable]
    if settings.processes > 1:
        start += ["-m", "torch.distributed.run", f"--nproc-per-node={settings.processes_a_machine}"]
        start += ["--standalone"] if node is None else _among(settings.machines, node)
    return [*start, "-m", training_child.__name__, str(told)]


def _among(machines: int, node: Node) -> list[str]:
    return [
        f"--nnodes={machines}",
        f"--node-rank={node.rank}",
        f"--master-addr={node.master_address}",
        f"--master-port={node.master_port}",
    ]


def _broken_down(code: int, log: Path) -> str:
    said = log.read_text("utf-8", errors="replace")
    errors = re.findall(r"^(?:\[rank\d+\]: )?(\w[\w.]*(?:Error|Exception)\b.*)$", said, re.MULTILINE)
    if code == -signal.SIGKILL:
        cause = "it was killed, as happens when memory runs out"
    else:
        cause = errors[0][:400] if errors else f"it ended with status {code}"
    return broken_down(cause, log)


def broken_down(cause: str, log: Path) -> str:
    """What is told of a training that broke down."""
    return (
        f"The training process broke down: {cause}. Its log is {log}. Run again: it goes on from what it saved; remove "
        f"{log.parent} to begin anew."
    )
