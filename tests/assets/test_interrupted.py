"""A run is told to end, or loses its terminal or its parent, while replies are under way: they are kept, nothing more
is asked, and the next run asks for none of them again. Real processes and signals, a real server.
"""

import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from assets.reflection.instruction_reflections import instruction_reflections
from models_py.teacher.ledger import Ledger
from tests.assets.conftest import Flow, Gpt, rewrite
from tests.support.processes import run_command
from tests.support.ray_clusters import workers
from tests.support.servers import completion

pytestmark = [pytest.mark.slow, pytest.mark.kill]

Process = subprocess.Popen[str]
ANSWERED_AFTER_S = 2.0


def in_ledger(flow: Flow) -> int:
    with Ledger(flow.profile.ledger_path) as ledger:
        return len([row for row in ledger.all_since() if row.reply.error is None])


@contextmanager
def with_two_under_way(
    flow: Flow, gpt: Gpt, executor: str, terminal: int | None = None, **popen: Any
) -> Iterator[Process]:
    """`make run` in a session of its own, at the moment when it has asked about two of the three pairs."""
    under_way = threading.Semaphore(0)

    def slow(_: str) -> dict[str, Any]:
        under_way.release()
        time.sleep(ANSWERED_AFTER_S)
        return completion(rewrite("Describe it.", "Small."))

    gpt.say = slow
    gpt.teaches(flow, {"executor": executor}, concurrency=2)
    flow.sound_student()  # a run looks at it first
    arguments, environment = run_command(flow.profile.file)
    arguments += ["--job", "instruction_phase"]

    def as_in_a_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
        if terminal is not None:
            os.login_tty(terminal)

    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True} | popen
    session: dict[str, Any] = {"start_new_session": terminal is None, "preexec_fn": as_in_a_terminal}
    with subprocess.Popen(arguments, env=environment, **streams, **session) as process:
        assert under_way.acquire(timeout=300)
        assert under_way.acquire(timeout=300)
        yield process


def all_is_kept(flow: Flow, gpt: Gpt) -> None:
    assert (len(gpt.asked), in_ledger(flow)) == (2, 2)
    gpt.say = lambda _: completion(rewrite("Describe it.", "Small."))
    assert flow.run(instruction_reflections).metadata["status/ok"] == 3
    assert (len(gpt.asked), len(set(gpt.asked))) == (3, 3)


def terminate(process: Process) -> None:
    process.terminate()


def hang_up_twice(process: Process) -> None:
    """As a closed terminal and its shell do."""
    for _ in range(2):
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.1)


def ctrl_c(process: Process) -> None:
    """It reaches every process of the run, and the run passes it on to its step."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("executor", "tell"),
    [
        ("in_process", terminate),
        ("multiprocess", terminate),
        ("in_process", hang_up_twice),
        ("multiprocess", hang_up_twice),
        ("multiprocess", ctrl_c),
        pytest.param("ray", ctrl_c, marks=pytest.mark.ray),
    ],
)
def test_a_run_that_is_told_to_end_keeps_what_is_under_way(
    ready: Flow, gpt: Gpt, executor: str, tell: Callable[[Process], None]
) -> None:
    with with_two_under_way(ready, gpt, executor) as process:
        tell(process)
        shown, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"instruction_reflection by gpt: .*waiting for 2 replies under way", shown), shown
    assert "instruction_reflections: interrupted" in shown
    all_is_kept(ready, gpt)


def test_a_terminal_that_is_closed_ends_the_run_in_order(ready: Flow, gpt: Gpt) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with with_two_under_way(ready, gpt, "in_process", terminal=theirs, **streams) as process:
        os.close(theirs)
        os.close(ours)
        process.wait(timeout=60)
    assert process.returncode == 1
    all_is_kept(ready, gpt)


@pytest.mark.parametrize("executor", ["multiprocess", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_step_whose_run_is_killed_keeps_what_is_under_way_and_asks_nothing_more(
    ready: Flow, gpt: Gpt, executor: str
) -> None:
    with with_two_under_way(ready, gpt, executor) as process:
        left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert psutil.wait_procs(left, timeout=120)[1] == []
    all_is_kept(ready, gpt)


@pytest.mark.ray
def test_a_step_that_lost_its_machine_is_begun_again_and_loses_only_what_was_under_way(ready: Flow, gpt: Gpt) -> None:
    with with_two_under_way(ready, gpt, "ray") as process:
        jobs = workers("JobSupervisor", psutil.Process(process.pid))
        assert len(jobs) == 1
        jobs[0].kill()
        shown, _ = process.communicate(timeout=300)
    assert re.search(r"✓ reflection/instruction_reflections +3 rows", shown), shown
    assert (len(set(gpt.asked)), in_ledger(ready)) == (3, 3)
    assert len(gpt.asked) <= 3 + 2
