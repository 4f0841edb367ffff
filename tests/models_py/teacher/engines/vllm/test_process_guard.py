import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from models_py.teacher.engines.vllm.process_guard import ProcessGuard

PROJECT = Path(__file__).resolve().parents[5]
# A child with a child of its own; it tells both ids.
CHILD = """
import os, subprocess, sys, time
print(os.getpid(), subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys, time
from models_py.teacher.engines.vllm.process_guard import ProcessGuard
guard = ProcessGuard()
subprocess.Popen([sys.executable, "-c", {CHILD!r}])
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.kill
def test_descendants_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=PROJECT, stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    family = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    time.sleep(2.5)  # the guard looks every second
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_closed_it_leaves_everything_alone() -> None:
    guard = ProcessGuard()
    child = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(1.5)
    guard.close()
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(timeout=1)
    child.kill()
    child.wait()
