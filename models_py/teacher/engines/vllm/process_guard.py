"""Child processes that must not outlive this one, not even when it is killed with -9: an engine would keep its memory.

    guard = ProcessGuard()
    ...                         # start an engine, which starts processes of its own
    guard.close()               # when they have ended

A small process of its own remembers every descendant of this one and waits for the end of a pipe, which the system
closes however this process ends; then it ends them. (After that nobody could tell whose they were: orphans belong to
init, and engines overwrite their command line and environment.)
"""

import os
import select
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

_LOOK_S = 1.0
_GRACE_S = 15.0  # from the request to end until the kill


class ProcessGuard:
    """Guards all that this process starts, from now until `close`."""

    def __init__(self) -> None:
        self._watch = subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and a killed process group must not reach it
        )

    def close(self) -> None:
        """Ends the watch and leaves everything alone."""
        self._watch.kill()
        self._watch.communicate()


def _watch(parent_id: int) -> None:
    import psutil

    descendants: set[psutil.Process] = set()  # known by id and start time: a reused id is another process
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        try:
            descendants.update(psutil.Process(parent_id).children(recursive=True))
        except psutil.Error:  # the parent is ending
            continue
        descendants = {process for process in descendants if process.is_running()}
    descendants.discard(psutil.Process())
    _end(descendants, "terminate")
    _end(psutil.wait_procs(descendants, timeout=_GRACE_S)[1], "kill")


def _end(processes: Iterable[Any], how: str) -> None:
    import psutil

    for process in processes:
        try:
            getattr(process, how)()
        except psutil.Error:  # it has ended
            continue


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
