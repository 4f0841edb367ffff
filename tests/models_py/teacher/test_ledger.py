import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.ledger_store import LedgerError, LedgerPlace
from models_py.teacher.request import TeacherReply, TeacherRequest
from tests.support.engines import BETTER, request
from tests.support.files import sqlite_file
from tests.support.postgres import run_sql


def answer(to: TeacherRequest, **changes: Any) -> TeacherReply:
    return TeacherReply(to.request_id, **({"reply": BETTER, "finish_reason": "stop"} | changes))


def test_a_reply_survives_closing(place: LedgerPlace) -> None:
    one = request()
    reply = answer(one, prompt_tokens=3, completion_tokens=5, attempts=2, latency_s=0.25, cost_usd=0.001)
    with Ledger(place) as ledger:
        assert ledger.record(one, reply) == reply
    with Ledger(place) as ledger:
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


def test_the_first_reply_stays(place: LedgerPlace) -> None:
    one = request()
    with Ledger(place) as ledger:
        ledger.record(one, answer(one, reply="first"))
        assert ledger.record(one, answer(one, reply="second")).reply == "first"
        assert ledger.record(one, answer(one, reply=None, error="timeout")).reply == "first"


def test_a_reply_after_errors_replaces_them_and_shows_up_as_new(place: LedgerPlace) -> None:
    one, two = request(), request("Name a lake.")
    with Ledger(place) as ledger:
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


def test_rows_come_page_by_page_in_order(place: LedgerPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.teacher.ledger._PAGE_ROWS", 2)
    with Ledger(place) as ledger:
        for number in range(5):
            one = request(f"Name {number} seas.")
            ledger.record(one, answer(one))
        assert [row.seq for row in ledger.all_since(1)] == [2, 3, 4, 5]


def test_any_text_can_be_stored(place: LedgerPlace) -> None:
    one, nul = request("Name a sea \ud800."), "\ufffd" if place.server else "\x00"
    with Ledger(place) as ledger:
        stored = ledger.record(one, answer(one, reply="a\x00b\ud800\u202e\r\n%s ?", error=None)).reply
        assert stored == f"a{nul}b\ufffd\u202e\r\n%s ?"
        (row,) = ledger.answered([one.request_id])
    assert json.loads(row.payload) == one.payload()


def test_replies_of_another_ledger_are_taken_over_in_their_order_or_not_at_all(place: LedgerPlace) -> None:
    asked = [request(f"Name {number} seas.") for number in range(3)]
    rows = [LedgerRow.of(one, answer(one)) for one in asked]
    with Ledger(place) as ledger:
        ledger.record(asked[1], answer(asked[1], reply="mine"))
        with pytest.raises(ZeroDivisionError):
            ledger.add(rows[0] if number else 1 / 0 for number in (1, 0))  # type: ignore[misc]
        assert ledger.row(asked[0].request_id) is None
        assert ledger.add(rows) == 2
        assert [row.seq for row in ledger.all_since()] == [1, 2, 3]
        assert ledger.replies([asked[1].request_id])[asked[1].request_id].reply == "mine"
        assert ledger.spent("fake").requests == 3
        assert [row.reply.request_id for row in ledger.sample("fake:1", asked[0].phase, 9)] == sorted(
            one.request_id for one in asked
        )


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
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.ledger_store import LedgerError, LedgerPlace
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.request import TeacherReply
from tests.support.engines import request
with Ledger(LedgerPlace(Path(sys.argv[1]), sys.argv[3] if sys.argv[3:] else None)) as ledger:
    for number in range(100):
        one = request(f"Name {number} seas.")
        ledger.record(one, TeacherReply(one.request_id, reply=sys.argv[2]))
        own = request(f"Writer {sys.argv[2]} names {number} seas.")
        ledger.record(own, TeacherReply(own.request_id, reply=sys.argv[2]))
        print(own.request_id, flush=True)
    sys.stdin.read()
"""


def writer(place: LedgerPlace, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(place.path), name, *([place.server] if place.server else [])]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_one_ledger(place: LedgerPlace) -> None:
    """Both may be the first, and find no tables."""
    writers = [writer(place, name) for name in "ab"]
    seen: list[int] = []
    while any(process.poll() is None for process in writers) and len(seen) < 100:
        if place.exists():
            with Ledger(place) as ledger:  # as whoever mirrors: nothing comes late under a number that was passed
                seen += [row.seq for row in ledger.all_since(seen[-1] if seen else 0)]
    for process in writers:
        process.communicate(timeout=120)
    assert [process.returncode for process in writers] == [0, 0]
    with Ledger(place) as ledger:
        rows = list(ledger.all_since())
    assert len(rows) == len({row.reply.request_id for row in rows}) == 300
    assert [row.seq for row in rows] == list(range(1, 301))
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.kill
def test_what_was_recorded_survives_a_kill(place: LedgerPlace) -> None:
    process = writer(place, "a")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(30)]
    process.kill()
    process.communicate()
    with Ledger(place) as ledger:
        assert set(ledger.replies(told)) == set(told)


# --- of a team


def place_in(postgres: str) -> LedgerPlace:
    return LedgerPlace(Path("nowhere", "teacher.sqlite"), postgres)


def test_looking_for_a_teams_ledger_makes_none_and_no_file_is_made_for_one(postgres: str) -> None:
    place = place_in(postgres)
    assert not place.exists()
    Ledger(place).close()
    assert place.exists()
    assert not place.path.parent.exists()
    assert run_sql(postgres, "select version from reflection_lake.ledger_version") == [(2,)]


def test_a_connection_that_broke_is_made_anew_and_no_reply_is_lost(postgres: str) -> None:
    one, two = request(), request("Name a lake.")
    with Ledger(place_in(postgres)) as ledger:
        ledger.record(one, answer(one))
        end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'reflection-lake %'"
        run_sql(postgres, end)
        assert ledger.record(two, answer(two)).reply == BETTER
        run_sql(postgres, end)
        assert [row.seq for row in ledger.all_since()] == [1, 2]
        with pytest.raises(LedgerError, match="ledger in postgres:host=127"), ledger._together():
            run_sql(postgres, end)
            ledger.spent("fake")  # half a transaction is not done again
        assert ledger.spent("fake").requests == 2


def test_who_writes_is_waited_for_and_told(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.lock_file.FIRST_S", 0.0)
    monkeypatch.setattr("models_py.teacher.ledger_store.FIRST_S", 0.2)
    one, said = request(), list[str]()
    with Ledger(place_in(postgres)) as other, Ledger(place_in(postgres), said.append) as ledger:
        with other._together():
            monkeypatch.setattr("models_py.teacher.ledger._BUSY_TIMEOUT_S", 0.3)
            with pytest.raises(LedgerError, match="lock timeout"):
                ledger.record(one, answer(one))
        assert re.match(rf"waiting for process {os.getpid()} on \S+ \(127.*, which writes to the ledger in", said[0])
        monkeypatch.setattr("models_py.teacher.ledger._BUSY_TIMEOUT_S", 60)
        assert ledger.record(one, answer(one)).reply == BETTER


def test_a_ledger_of_another_version_is_refused_and_one_who_may_not_make_tables_is_told(postgres: str) -> None:
    Ledger(place_in(postgres)).close()
    run_sql(postgres, "create role reader login; grant usage on schema reflection_lake to reader")
    run_sql(postgres, "grant select, insert, update on all tables in schema reflection_lake to reader")
    one, as_reader = request(), place_in(postgres.replace("user=lake", "user=reader"))
    with Ledger(as_reader) as ledger:  # it is there: replies are all that is written
        ledger.record(one, answer(one))
    run_sql(postgres, "update reflection_lake.ledger_version set version = 99")
    with pytest.raises(UserError, match="a ledger of version 99, this project reads version 2"):
        Ledger(place_in(postgres))
    run_sql(postgres, "drop schema reflection_lake cascade")
    with pytest.raises(UserError, match=r"permission denied .* a user who may create one"):
        Ledger(as_reader)
