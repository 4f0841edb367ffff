"""`make ui` as a process: what it answers, and what ends it."""

import json
import signal
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dagster_project.commands import ui
from models_py.errors import UserError
from tests.support.processes import first_line, python
from tests.support.profiles import toy_profile
from tests.support.ui import Ui, serving


def limit_to(slots: int) -> str:
    return f'mutation {{ setConcurrencyLimit(concurrencyKey: "gpu", limit: {slots}) }}'


MUTATION = limit_to(0)
LIMITS = '{ instance { concurrencyLimit(concurrencyKey: "gpu") { slotCount } } }'


def test_a_port_that_is_taken_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert ui.main(["--port", str(port)]) == 1
    assert f"Port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
    assert ui.main(["--port", "70000"]) == 1


HOLDER = """
import subprocess, sys
from pathlib import Path
from dagster_project.commands import ui

with ui._alone(Path(sys.argv[1]), 4111) as lock:
    daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[lock])
    print(daemon.pid, flush=True)
    daemon.wait()
"""


@pytest.mark.kill
def test_a_second_ui_of_a_warehouse_is_refused_while_the_first_or_its_daemon_lives(tmp_path: Path) -> None:
    holder = python(HOLDER, tmp_path)
    daemon = psutil.Process(int(first_line(holder)))
    told = rf"runs already: http://127\.0\.0\.1:4111 \(process {holder.pid}\)"
    for process in (holder, daemon):
        with pytest.raises(UserError, match=told), ui._alone(tmp_path, 4112):
            pass
        process.kill()
    holder.communicate()
    psutil.wait_procs([daemon], timeout=10)
    with ui._alone(tmp_path, 4112):
        assert (tmp_path / "ui.lock").read_text().startswith("http://127.0.0.1:4112 (process ")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    with serving(toy_profile(tmp_path_factory.mktemp("ui"))) as ui:
        yield ui


def call(ui: Ui, query: str, *, by: str = "POST", **headers: str) -> tuple[int, str]:
    """Status and body of a GraphQL request."""
    address, body = f"{ui.url}/graphql", json.dumps({"query": query}).encode()
    if by == "GET":
        address, body = f"{address}?{urllib.parse.urlencode({'query': query})}", b""
    request = urllib.request.Request(address, body or None, {"Content-Type": "application/json", **headers}, method=by)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def slots(ui: Ui) -> int:
    """The limit of the pool in which models run."""
    status, body = call(ui, LIMITS)
    assert status == 200
    return int(json.loads(body)["data"]["instance"]["concurrencyLimit"]["slotCount"])


@pytest.mark.slow
def test_the_real_webserver_carries_out_only_what_its_own_pages_and_programs_ask(running: Ui) -> None:
    assert call(running, limit_to(3))[0] == 200
    foreign = {"Origin": "http://attacker.example"}
    assert call(running, MUTATION, by="GET")[0] == 405
    assert call(running, MUTATION, by="GET", Accept="text/html")[0] == 405
    assert call(running, MUTATION, **foreign)[0] == 403
    assert call(running, MUTATION, Host="attacker.example", **foreign)[0] == 421
    assert call(running, MUTATION, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert slots(running) == 3
    assert call(running, MUTATION, Origin=running.url)[0] == 200
    assert slots(running) == 0


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_daemon_and_its_code_server(tmp_path: Path, signalled: signal.Signals) -> None:
    with serving(toy_profile(tmp_path)) as ui:
        started = psutil.Process(ui.process.pid).children(recursive=True)
        assert any("dagster._daemon" in " ".join(process.cmdline()) for process in started)
        ui.process.send_signal(signalled)
        assert ui.process.wait(60) == 0
    gone, alive = psutil.wait_procs(started, timeout=30)
    assert (len(gone), alive) == (len(started), [])


@pytest.mark.slow
def test_it_does_not_go_on_without_its_daemon(tmp_path: Path) -> None:
    with serving(toy_profile(tmp_path)) as ui:
        [daemon] = [
            process
            for process in psutil.Process(ui.process.pid).children(recursive=True)
            if "dagster._daemon" in " ".join(process.cmdline())
        ]
        daemon.kill()
        assert ui.process.wait(60) == 1
    assert "daemon ended with exit status -9" in ui.log.read_text()
