"""Whoever waits for a lock is told for whom; the holders are real processes."""

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models_py import lock_file
from models_py.errors import UserError
from models_py.lock_file import held
from models_py.teacher import ledger as ledger_module
from models_py.teacher import ledger_store
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import TeacherReply
from tests.support.engines import Scripted, always, request
from tests.support.processes import first_line, python

HOLDER = """
import sys, time
from pathlib import Path
from models_py.lock_file import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin immediate")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "FIRST_S", 0.1)
    monkeypatch.setattr(lock_file, "AGAIN_S", 0.2)
    monkeypatch.setattr(ledger_store, "FIRST_S", 0.05)


def waits_for(code: str, *arguments: object) -> "subprocess.Popen[str]":
    process = python(code, *arguments)
    assert first_line(process) == "held"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    process = waits_for(HOLDER, tmp_path / "a.lock")
    yield process
    process.kill()
    process.communicate()


def test_a_wait_is_told_again_and_again_with_process_command_and_time(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    said: list[str] = []
    thrice = threading.Event()

    def tell(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            holder.kill()
            thrice.set()

    with held(tmp_path / "a.lock", tell):
        assert thrice.is_set()
    file = re.escape(str(tmp_path / "a.lock"))
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
    whom = (
        rf"waiting for process {holder.pid} \({re.escape(sys.executable)} -c .*\), which has held {file} since {time}"
    )
    assert all(re.fullmatch(rf"{whom}; waited \d+ s", line) for line in said), said
    assert max(map(len, said)) < 400


def test_who_has_a_lock_at_once_says_nothing_and_a_new_holder_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(3):
        with held(tmp_path / "a.lock", said.append):
            assert f"process {os.getpid()} (" in (tmp_path / "a.lock").read_text()
    assert said == []


@pytest.mark.parametrize("content", ["", "\n", "once", "\udcff\x1b[2J", "a\nb\nc"])
def test_a_holder_that_wrote_nothing_readable_is_another_process(
    holder: "subprocess.Popen[str]", tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.lock").write_text(content, encoding="utf-8", errors="surrogateescape")

    def tell(line: str) -> None:
        assert line.startswith("waiting for ")
        assert "which has held" in line
        holder.kill()

    with held(tmp_path / "a.lock", tell):
        pass


def test_without_a_better_place_it_is_said_on_standard_error(
    holder: "subprocess.Popen[str]", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(0.3, holder.kill).start()
    with held(tmp_path / "a.lock"):
        pass
    assert f"waiting for process {holder.pid} (" in capsys.readouterr().err


def test_a_step_in_a_process_of_its_own_is_told_as_its_run(tmp_path: Path) -> None:
    code = """
import multiprocessing, sys
from pathlib import Path
from models_py.lock_file import held
def hold(file):
    with held(Path(file)):
        print(Path(file).read_text().splitlines()[1], flush=True)
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=hold, args=sys.argv[1:])
    process.start()
    process.join()
"""
    process = python(code, tmp_path / "a.lock")
    assert first_line(process).startswith(f"process {process.pid} (")
    process.communicate()


# --- the ledger


def test_a_ledger_that_another_program_writes_to_is_told_with_that_program(tmp_path: Path) -> None:
    path, said = tmp_path / "teacher.sqlite", list[str]()
    Ledger(path).close()
    with waits_for(WRITER, path, 0.7) as process, Ledger(path, said.append) as ledger:
        one = request("Name a sea.")
        assert ledger.record(one, TeacherReply(one.request_id, reply="Aral")).reply == "Aral"
    assert said and said[0].startswith(f"waiting for process {process.pid} ("), said
    assert f"which has {path} locked; waited " in said[0]  # a later look may find that it has just ended


def test_a_wait_of_the_thread_that_asks_is_told_by_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.teacher.ask_missing._LOOK_S", 0.05)
    path, notes = tmp_path / "teacher.sqlite", list[str]()
    one = request("Name a sea.")
    with Ledger(path) as ledger, waits_for(WRITER, path, 1.0) as process:
        replies = ask_missing(
            [one], Scripted(always("ok")), ledger, on_progress=lambda progress: notes.append(progress.note)
        )
        assert len(list(replies)) == 1
    assert any(f"waiting for process {process.pid} (" in note for note in notes), notes


def test_a_ledger_that_stays_locked_is_no_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "teacher.sqlite"
    Ledger(path).close()
    with waits_for(WRITER, path, 600) as process:
        with pytest.raises(UserError, match=rf"process {process.pid} \(.*keeps the teacher's ledger locked") as raised:
            Ledger(path, lambda _: None)
        process.kill()
    assert "Move the file aside" not in str(raised.value)
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
