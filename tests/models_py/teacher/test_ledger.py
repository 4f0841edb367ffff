import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import TeacherReply, TeacherRequest
from tests.support.engines import BETTER, request
from tests.support.files import sqlite_file


def answer(to: TeacherRequest, **changes: Any) -> TeacherReply:
    return TeacherReply(to.request_id, **({"reply": BETTER, "finish_reason": "stop"} | changes))


def test_a_reply_survives_closing(tmp_path: Path) -> None:
    one = request()
    reply = answer(one, prompt_tokens=3, completion_tokens=5, attempts=2, latency_s=0.25, cost_usd=0.001)
    with Ledger(tmp_path / "deep" / "teacher.sqlite") as ledger:
        assert ledger.record(one, reply) == reply
    with Ledger(tmp_path / "deep" / "teacher.sqlite") as ledger:
        assert ledger.replies([one.request_id, "unknown"]) == {one.request_id: reply}


def test_the_file_is_in_wal_mode_and_keeps_what_was_asked(tmp_path: Path) -> None:
    one = request("Name a sea \ud800.")
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        ledger.record(one, answer(one))
        (row,) = ledger.all_since()
    with sqlite_file(tmp_path / "teacher.sqlite") as file:
        assert file.execute("pragma journal_mode").fetchone() == ("wal",)
    assert json.loads(row.payload) == one.payload()
    assert (row.seq, row.teacher, row.identity, row.phase) == (1, "fake", "fake:1", "response_reflection")
    assert row.created_at.endswith("+00:00")


def test_an_unknown_price_is_null(tmp_path: Path) -> None:
    one = request()
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        ledger.record(one, answer(one))
    query = "select cost_usd, prompt_tokens, latency_s from teacher_replies"
    with sqlite_file(tmp_path / "teacher.sqlite") as file:
        assert file.execute(query).fetchone() == (None, None, None)


def test_the_first_reply_stays(tmp_path: Path) -> None:
    one = request()
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        ledger.record(one, answer(one, reply="first"))
        assert ledger.record(one, answer(one, reply="second")).reply == "first"
        assert ledger.record(one, answer(one, reply=None, error="timeout")).reply == "first"


def test_a_reply_after_errors_replaces_them_and_shows_up_as_new(tmp_path: Path) -> None:
    one, two = request(), request("Name a lake.")
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        for reason in ("timeout", "reset"):
            ledger.record(one, answer(one, reply=None, error=reason))
        ledger.record(two, answer(two))
        assert [(row.seq, row.reply.error, row.reply.attempts) for row in ledger.all_since()] == [
            (1, "reset", 2),
            (2, None, 1),
        ]
        ledger.record(one, answer(one))
        (late,) = ledger.all_since(2)
    assert (late.seq, late.reply.reply, late.reply.error, late.reply.attempts) == (3, BETTER, None, 3)


def test_rows_come_page_by_page_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.teacher.ledger._PAGE_ROWS", 2)
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        for number in range(5):
            one = request(f"Name {number} seas.")
            ledger.record(one, answer(one))
        assert [row.seq for row in ledger.all_since(1)] == [2, 3, 4, 5]


def test_any_text_can_be_stored(tmp_path: Path) -> None:
    one = request()
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        assert ledger.record(one, answer(one, reply="a\x00b\ud800\u202e\r\n")).reply == "a\x00b\ufffd\u202e\r\n"


@pytest.mark.parametrize("writes_version", [False, True])
def test_a_file_that_is_no_ledger_of_this_version_is_refused(tmp_path: Path, writes_version: bool) -> None:
    path = tmp_path / "teacher.sqlite"
    if writes_version:
        with sqlite_file(path) as file:
            file.execute("pragma user_version = 99")
    else:
        path.write_text("not a database, by any means at all" * 40)
    with pytest.raises(UserError, match=r"teacher\.sqlite: .*[Mm]ove the file aside"):
        Ledger(path)


WRITER = """
import sys
from pathlib import Path
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import TeacherReply
from tests.support.engines import request
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(100):
        one = request(f"Name {number} seas.")
        ledger.record(one, TeacherReply(one.request_id, reply=sys.argv[2]))
        own = request(f"Writer {sys.argv[2]} names {number} seas.")
        ledger.record(own, TeacherReply(own.request_id, reply=sys.argv[2]))
        print(own.request_id, flush=True)
    sys.stdin.read()
"""


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    writers = [writer(path, name) for name in "ab"]
    for process in writers:
        process.communicate(timeout=120)
    assert [process.returncode for process in writers] == [0, 0]
    with Ledger(path) as ledger:
        rows = list(ledger.all_since())
    assert len(rows) == len({row.reply.request_id for row in rows}) == 300
    assert [row.seq for row in rows] == list(range(1, 301))


@pytest.mark.kill
def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    process = writer(tmp_path / "teacher.sqlite", "a")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(30)]
    process.kill()
    process.communicate()
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        assert set(ledger.replies(told)) == set(told)
