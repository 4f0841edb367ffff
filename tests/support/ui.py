"""`make ui` as a process, on a port of its own."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import run_command


@dataclass(frozen=True, slots=True)
class Ui:
    """A UI that answers; its words go to `log`."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def serving(profile: Path) -> Iterator[Ui]:
    """The UI of a profile, with Dagster's home beside it as `tests.support.processes.run` has it."""
    _, environment = run_command(profile)
    port, log = free_port(), profile.parent / "ui.log"
    command = [sys.executable, "-m", "dagster_project.commands.ui", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment | {"REFLECTION_PROFILE": str(profile)}, stdout=output, stderr=output
        )
        ui = Ui(f"http://127.0.0.1:{port}", process, log)
        try:
            _wait_until_it_answers(ui)
            yield ui
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_it_answers(ui: Ui) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{ui.url}/server_info", timeout=120):
                return
        except (urllib.error.URLError, ConnectionError):
            assert ui.process.poll() is None, ui.log.read_text()
            assert time.monotonic() < deadline, ui.log.read_text()
            time.sleep(0.2)
