"""How a long step is interrupted: once, in order, and by whatever ends its run.

Dagster makes an exception of SIGINT and SIGTERM; a step that pays then waits for what is under way. Here is what that
lacks:

- SIGHUP, which a closed terminal sends, is such an interrupt too (but under nohup, which ignores it);
- one interrupt often comes several times: a closed terminal and its shell both send SIGHUP, Ctrl-C reaches the step's
  process and again from the run's. What comes after the first changes nothing, but a later Ctrl-C: that is a person
  who will not wait;
- a step in a process of its own is interrupted when the run's process dies: nobody else would tell it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ONE_S = 3.0  # signals within it are one interrupt
_LOOK_S = 0.5


@contextmanager
def interrupted_in_order(*, has_own_process: bool) -> Iterator[None]:
    """Around the work of a long step. has_own_process: the step runs in a child of the run's process."""
    if threading.current_thread() is not threading.main_thread():  # no signal arrives here
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    first_s: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        if first_s is None:
            first_s = time.monotonic()
        elif number != signal.SIGINT or time.monotonic() - first_s < _ONE_S:
            return
        handler = before[signal.SIGINT]
        if callable(handler):
            handler(number, frame)
        raise KeyboardInterrupt

    ended = threading.Event()
    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        if has_own_process:
            _watch_parent(ended)
        yield
    finally:
        ended.set()
        for number in _SIGNALS:
            signal.signal(number, before[number] or signal.SIG_DFL)


def hang_up_terminates() -> None:
    """Have SIGHUP do in this process what SIGTERM does, unless it is ignored."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def _watch_parent(ended: threading.Event) -> None:
    """Interrupt this process when its parent dies before `ended`, at once where it is dead already."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel  # of a pipe that the system closes however the parent ends

    def watch() -> None:
        while not ended.is_set():
            if wait([sentinel], _LOOK_S):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if wait([sentinel], 0):
        signal.raise_signal(signal.SIGTERM)
    threading.Thread(target=watch, name="parent", daemon=True).start()
