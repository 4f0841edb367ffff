"""Locks between processes whose holder is known: whoever waits is told for whom, since when, again and again.

    with held(warehouse / "scoring.lock"):
        ...

    waiting for process 4711 (python -m dagster_project.commands.run), which has held warehouse/scoring.lock since
    2026-11-26 20:14:03+01:00; waited 35 s

The holder writes itself into the file. The system frees the lock however the holder ends; what it wrote stays, and is
read only while somebody holds the lock.
"""

import contextlib
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

Tell = Callable[[str], None]

FIRST_S = 5.0  # until a wait is told
AGAIN_S = 30.0
_COMMAND_CHARS = 160


def say(line: str) -> None:
    """On standard error, where nobody has a better place for it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (that is its purpose)


@contextlib.contextmanager
def held(file: Path, tell: Tell = say) -> Iterator[None]:
    """Hold the lock of that file, whose folder exists. Raises OSError where the file cannot be written."""
    lock, wait = FileLock(file), Wait(tell)
    while True:
        try:
            lock.acquire(timeout=wait.tell_in_s)
            break
        except Timeout:
            wait.told(f"{_holder(file)}, which has held {file} since {_since(file)}")
    try:
        with contextlib.suppress(OSError):  # a full disk: then nobody is named
            file.write_text(f"{_now()}\n{_this_process()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


class Wait:
    """One wait: how long until something is to be told of it, and the telling."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._next = self._began + FIRST_S

    @property
    def tell_in_s(self) -> float:
        return max(self._next - time.monotonic(), 0.0)

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._began

    def told(self, whom: str) -> None:
        self._next = time.monotonic() + AGAIN_S
        self._tell(f"waiting for {whom}; waited {self.waited_s:.0f} s")


def users_of(*files: Path) -> str:
    """The other processes of this user that have one of the files open, for people."""
    import psutil

    wanted, found = {str(file.absolute()) for file in files}, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and wanted & {one.path for one in process.open_files()}:
                found.append(_process(process.pid, process.cmdline()))
    return " or ".join(found) or "another process"


def _holder(file: Path) -> str:
    return _line(file, 1) or "another process"


def _since(file: Path) -> str:
    return _line(file, 0) or "a time it did not write down"


def _line(file: Path, number: int) -> str:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[number] if number < len(lines) else ""


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def run_pid() -> int:
    """Who is to be ended or waited for: of a step in a process of its own, the run."""
    return os.getpid() if multiprocessing.parent_process() is None else os.getppid()


def _this_process() -> str:
    if (pid := run_pid()) != os.getpid():
        import psutil

        with contextlib.suppress(psutil.Error):
            return _process(pid, psutil.Process(pid).cmdline())
    return _process(os.getpid(), sys.orig_argv)


def _process(pid: int, command: list[str]) -> str:
    told = "".join(sign if sign.isprintable() else " " for sign in shlex.join(command))
    told = told if len(told) <= _COMMAND_CHARS else told[:_COMMAND_CHARS] + "…"
    return f"process {pid} ({told})" if told else f"process {pid}"
