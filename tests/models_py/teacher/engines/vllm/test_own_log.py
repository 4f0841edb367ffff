"""What vLLM's processes say goes to a file; vLLM itself is not needed for it (test_offline.py has it say something)."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from models_py.errors import UserError
from models_py.teacher.engines.vllm.own_log import OwnLog

SAYS = "import sys; print('from a child'); print('an error of a child', file=sys.stderr)"


@pytest.fixture
def log(tmp_path: Path) -> OwnLog:
    return OwnLog(tmp_path / "vllm-local.log", tmp_path)


def test_what_is_printed_goes_to_the_file_and_then_to_the_terminal_again(
    log: OwnLog, capfd: pytest.CaptureFixture[str]
) -> None:
    os.write(1, b"before\n")
    with log.taking_all():
        os.write(1, b"from this process\n")
        subprocess.run([sys.executable, "-c", SAYS], check=True)
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "")
    assert sorted(log.path.read_text().splitlines()) == ["an error of a child", "from a child", "from this process"]


def test_a_child_writes_there_for_as_long_as_it_lives(log: OwnLog, capfd: pytest.CaptureFixture[str]) -> None:
    with log.taking_all():
        child = subprocess.Popen([sys.executable, "-c", "input(); print('late')"], stdin=subprocess.PIPE)
    child.communicate(b"\n")
    assert capfd.readouterr() == ("", "")
    assert log.path.read_text() == "late\n"


def test_an_exception_passes_and_leaves_no_file_open(log: OwnLog) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(KeyError), log.taking_all():
        raise KeyError
    assert psutil.Process().num_fds() == before


def test_a_new_log_replaces_the_last_one(log: OwnLog, tmp_path: Path) -> None:
    log.path.write_text("of the last run")
    assert OwnLog(log.path, tmp_path).path.read_text() == ""


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "vllm-local.log").mkdir()
    with pytest.raises(UserError, match=r"vllm-local\.log: vLLM's log cannot be written"):
        OwnLog(tmp_path / "vllm-local.log", tmp_path)


def test_the_root_cause_is_the_first_exception_that_was_logged(log: OwnLog, tmp_path: Path) -> None:
    assert log.root_cause() is None
    (tmp_path / "errors.log").write_text(
        "EngineCore failed to start.\nTraceback (most recent call last):\n  File 'a', line 1\nValueError: No memory.\n"
        "Traceback (most recent call last):\n  File 'b', line 1\nRuntimeError: Engine core failed.\n"
    )
    assert log.root_cause() == "ValueError: No memory."
