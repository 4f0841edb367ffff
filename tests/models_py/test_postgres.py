"""Locks that a PostgreSQL server keeps: real sessions of a real server, whose holders are ended in every way."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from models_py import lock_file
from models_py import postgres as module
from models_py.errors import UserError
from models_py.postgres import LostLockError, held_in_postgres, lock_key, without_password
from tests.support.postgres import run_sql
from tests.support.processes import first_line, python

HOLDER = """
import sys, time
from models_py.postgres import held_in_postgres
with held_in_postgres(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""
_SESSIONS = "from pg_stat_activity where application_name like 'reflection-lake %'"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "FIRST_S", 0.2)
    monkeypatch.setattr(lock_file, "AGAIN_S", 0.3)


@contextmanager
def holder(postgres: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    process = python(HOLDER, postgres, name)
    assert first_line(process) == "held"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.kill
def test_a_wait_is_told_again_with_process_machine_and_time_and_ends_with_the_holders_death(postgres: str) -> None:
    said: list[str] = []
    with holder(postgres, "scoring") as process:

        def tell(line: str) -> None:
            said.append(line)
            if len(said) == 2:
                process.kill()

        with held_in_postgres(postgres, "reflection", said.append):  # other work is not held up
            assert said == []
        with held_in_postgres(postgres, "scoring", tell) as lock:
            lock.check()
    shown = re.escape(without_password(postgres))
    whom = rf"waiting for process {process.pid} on \S+ \(127\.0\.0\.1/32\), which has held the lock scoring of {shown} "
    assert len(said) == 2
    assert all(re.fullmatch(whom + r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; waited \d+ s", line) for line in said), said


def test_a_lock_that_was_given_back_is_free_and_one_of_another_database_is_another(
    postgres: str, postgres_server: str
) -> None:
    said: list[str] = []
    for _ in range(2):
        with held_in_postgres(postgres, "a", said.append) as lock:
            lock.check()
            with held_in_postgres(f"{postgres_server} dbname=postgres", "a", said.append):
                pass
    assert said == []


def test_a_lock_whose_session_the_server_ended_is_missed(postgres: str) -> None:
    with held_in_postgres(postgres, "a") as lock:
        run_sql(postgres, f"select pg_terminate_backend(pid) {_SESSIONS}")
        with (
            held_in_postgres(postgres, "a"),  # who comes next has it at once
            pytest.raises(LostLockError, match=r"lock a of .* was lost in the middle of the work: .*Run again"),
        ):
            lock.check()


def test_a_session_that_holds_it_no_more_is_told_from_one_that_does(postgres: str) -> None:
    """As behind a pooler that lends a session to whoever comes."""
    with held_in_postgres(postgres, "a") as lock:
        lock._ask("select pg_advisory_unlock(%(key)s)", key=lock_key("a"))
        with pytest.raises(LostLockError, match="is there a pooler between"):
            lock.check()


def test_a_server_that_falls_silent_counts_as_gone(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with held_in_postgres(postgres, "a") as lock:
        ((session,),) = run_sql(postgres, f"select pid {_SESSIONS}")
        monkeypatch.setattr(module, "_ANSWERS_S", 0.3)
        os.kill(session, signal.SIGSTOP)
        try:
            with pytest.raises(LostLockError, match="no answer within 0 s"):
                lock.check()
        finally:
            os.kill(session, signal.SIGCONT)


def test_an_interrupt_ends_a_wait_at_once(postgres: str) -> None:
    waiting = """
import sys
from models_py.postgres import held_in_postgres
from models_py import lock_file
lock_file.FIRST_S = 0.1
try:
    with held_in_postgres(sys.argv[1], "a", lambda line: print(line, flush=True)):
        print("held", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with held_in_postgres(postgres, "a"):
        process = python(waiting, postgres)
        assert first_line(process).startswith(f"waiting for process {os.getpid()} on ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[0].splitlines()[-1] == "interrupted"


def test_several_threads_may_check_one_lock(postgres: str) -> None:
    problems: list[BaseException] = []

    def check() -> None:
        try:
            for _ in range(20):
                lock.check()
        except BaseException as error:
            problems.append(error)

    with held_in_postgres(postgres, "a") as lock:
        threads = [threading.Thread(target=check) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []


def test_a_server_that_takes_calls_and_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        catalog = f"postgres:host=127.0.0.1 port={silent.getsockname()[1]} dbname=lake password=hidden"
        told = r"^The PostgreSQL server at .*password=\*\*\* does not let us in: no answer within 0 s\. Mend `lake"
        with pytest.raises(UserError, match=told), Lake(tmp_path, catalog=catalog).exclusively("scoring"):
            pass


def test_who_cannot_be_reached_is_named_without_the_password() -> None:
    address = "postgres:host=127.0.0.1 port=1 dbname=x password=hunter2"
    said = r"server at postgres:host=127\.0\.0\.1 port=1 .*lake\.catalog"
    with pytest.raises(UserError, match=said) as raised, held_in_postgres(address, "a"):
        pass
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres:dbname=x password=hunter2 host=h", "postgres:dbname=x password=*** host=h"),
        ("postgres:dbname=x PASSWORD = 'hunter 2'", "postgres:dbname=x PASSWORD = ***"),
        ("postgres:postgresql://me:hunter2@h:5432/x", "postgres:postgresql://me:***@h:5432/x"),
        ("postgres:postgresql://h:5432/x at http://h:80/", "postgres:postgresql://h:5432/x at http://h:80/"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_without_the_lock_group_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(UserError, match="make setup WITH=team"), held_in_postgres("postgres:dbname=x", "a"):
        pass
