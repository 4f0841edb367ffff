"""The process that trains: started, listened to, ended.

    parent                                            child: python -m models_py.training.child TASK
      │  the task, pickled, in the work folder          │
      │ <── {"progress": {"done": 3, "total": 24, ...}} │  a line of JSON each, on what was standard output
      │ <── {"user_error": "..."} or {"outcome": {..}}  │
      └─── standard input, which is never written to ──>┘  when it closes, the child ends

The system closes that pipe however the parent ends, so a child never outlives it, not even kill -9. With several
processes torchrun starts them; all read the same pipe, and whoever has something to tell writes to the same other one.
What anything in there prints goes to `training.log` in the work folder.
"""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.progress import OnProgress, Progress
from models_py.training import child as training_child
from models_py.training.task import Task

LOG = "training.log"
_ROOT = Path(__file__).parents[2]
_END_S = 10.0  # from the request to end until the kill


class BrokenDownError(UserError):
    """The process ended without an outcome; what it saved stays for the next run."""


def trained_apart(task: Task, on_progress: OnProgress) -> dict[str, Any]:
    """Train in a process of its own; what `trainer.train` returns there.

    Raises UserError as that does, and BrokenDownError when the process breaks down. An exception that is raised
    here meanwhile, such as an interrupt, ends the process.
    """
    task.work.mkdir(parents=True, exist_ok=True)
    told = task.work / "task.pickle"
    told.write_bytes(pickle.dumps(task))
    with (task.work / LOG).open("wb") as log:
        child = subprocess.Popen(
            _command(told, task.settings.processes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": _python_path(), "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # Ctrl-C reaches this process, which ends the child in order
        )
    try:
        outcome = _heard(child, on_progress)
        code = child.wait()
    finally:
        _end(child)
        told.unlink(missing_ok=True)
    if outcome is None:
        raise BrokenDownError(_broken_down(code, task.work / LOG))
    return outcome


def _python_path() -> str:
    return os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _command(told: Path, processes: int) -> list[str]:
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*start, "-m", training_child.__name__, str(told)]


def _heard(child: "subprocess.Popen[bytes]", on_progress: OnProgress) -> dict[str, Any] | None:
    """Pass on what the child tells until it has told all; the outcome, if it told one."""
    outcome: dict[str, Any] | None = None
    assert child.stdout is not None
    for line in child.stdout:
        said = json.loads(line)
        if "progress" in said:
            on_progress(Progress(**said["progress"]))
        elif "user_error" in said:
            raise UserError(said["user_error"])
        else:
            outcome = said["outcome"]
    return outcome


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Close the pipe that a child lives by, and kill it and what it started where that is not enough."""
    assert child.stdin is not None and child.stdout is not None
    with suppress(OSError):
        child.stdin.close()
    try:
        child.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    child.stdout.close()


def _broken_down(code: int, log: Path) -> str:
    said = log.read_text("utf-8", errors="replace")
    errors = re.findall(r"^(?:\[rank\d+\]: )?(\w[\w.]*(?:Error|Exception)\b.*)$", said, re.MULTILINE)
    if code == -signal.SIGKILL:
        cause = "it was killed, as happens when memory runs out"
    else:
        cause = errors[0][:400] if errors else f"it ended with status {code}"
    return (
        f"The training process broke down: {cause}. Its log is {log}. Run again: it goes on from what it saved; remove "
        f"{log.parent} to begin anew."
    )
