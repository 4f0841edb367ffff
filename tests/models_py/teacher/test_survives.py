"""Killed and interrupted at any moment, the teacher's work goes on where it was: nothing is lost, nothing paid twice.

Real processes, real signals, a real server that misbehaves. Children come from a fork server that has everything
imported, so one costs milliseconds.
"""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event as ProcessEvent
from pathlib import Path
from types import FrameType, GeneratorType

import pytest

from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.engines.openai import pacing
from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.reflect_pairs import Reflection, reflect_pairs
from models_py.teacher.request import INSTRUCTION_REFLECTION, PendingPair
from models_py.teacher.spec import OpenAISettings, TeacherSpec
from tests.support.engines import request
from tests.support.servers import TRANSIENT, ChatServer, body_id, every, mixed
from tests.support.soak import seeds
from tests.support.values import as_a

PAIRS = [
    PendingPair(str(number), instruction=f"Name {number} seas.", input="", output=f"Sea {number}.")
    for number in range(500)
]
FAULTS = [fault for fault in TRANSIENT if fault != "hang"]
FINAL = ("good", "null", "empty", "length", "content_filter")  # answers that are paid for
WORKERS = 16

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["aiohttp", __name__])


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "_FIRST_BACKOFF_S", 0.002)
        yield


def teacher(url: str) -> OpenTeacher:
    return open_teacher(
        TeacherSpec("gpt", OpenAISettings(model="m", base_url=url, api_key_env=None, concurrency=WORKERS))
    )


def outcomes(url: str, ledger: Ledger) -> Iterator[Reflection]:
    return reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher(url), ledger)


def reflect_all(url: str, ledger_path: Path, pause_s: float, interrupted: ProcessEvent) -> None:
    """The child: what a step does, and SIGTERM is SIGINT, as Dagster has it. pause_s: between two reflections."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    pacing._FIRST_BACKOFF_S = 0.002
    try:
        with Ledger(ledger_path) as ledger, closing(as_a(GeneratorType, outcomes(url, ledger))) as found:
            for _ in found:
                time.sleep(pause_s)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def started(server: ChatServer, ledger_path: Path, pause_s: float = 0.0) -> tuple[ForkServerProcess, ProcessEvent]:
    interrupted = processes.Event()
    child = processes.Process(target=reflect_all, args=(server.url, ledger_path, pause_s, interrupted), daemon=True)
    child.start()
    return child, interrupted


def until(holds: Callable[[], bool]) -> None:
    """Waits for something that is bound to happen."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def answered(ledger_path: Path) -> set[str]:
    """The body ids of what the ledger holds replies to."""
    with Ledger(ledger_path) as ledger:
        rows = [row for row in ledger.all_since() if row.reply.error is None]
    asked = [(row.identity, json.loads(row.payload)) for row in rows]
    return {body_id({"model": who, "messages": what["messages"], **what["sampling"]}) for who, what in asked}


def by_pair(found: Iterator[Reflection]) -> dict[str, Reflection]:
    return {reflection.pair.pair_id: reflection for reflection in found}


def misbehaving() -> ChatServer:
    plan = mixed(seed=11, faults=FAULTS, endings=[*FINAL, "422"])
    return ChatServer(plan, latency_s=(0.0, 0.006), retry_after_s=0.005)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Reflection], int]:
    """The reflections of a run that nothing disturbs, and how many calls it makes."""
    with misbehaving() as server, Ledger(tmp_path_factory.mktemp("undisturbed") / "teacher.sqlite") as ledger:
        return by_pair(outcomes(server.url, ledger)), len(server.calls)


def test_an_undisturbed_run_has_good_and_bad_outcomes(undisturbed: tuple[dict[str, Reflection], int]) -> None:
    found, calls = undisturbed
    statuses = Counter(reflection.status for reflection in found.values())
    assert sum(statuses.values()) == 500 and calls > 800
    assert statuses["ok"] > 400 and statuses["failed"] > 5, statuses


@pytest.mark.kill
@pytest.mark.parametrize("seed", seeds(4, 25))
def test_killed_at_any_moment_and_run_again_it_ends_the_same(
    seed: int, tmp_path: Path, undisturbed: tuple[dict[str, Reflection], int]
) -> None:
    chance, path = random.Random(seed), tmp_path / "teacher.sqlite"
    expected, calls = undisturbed
    moment = chance.uniform(0, 0.9 * calls)
    with misbehaving() as server:
        child, _ = started(server, path)
        until(lambda: len(server.calls) >= moment)
        time.sleep(chance.uniform(0, 0.005))
        child.kill()
        child.join()
        kept = answered(path)
        with Ledger(path) as ledger:
            assert by_pair(outcomes(server.url, ledger)) == expected
    assert child.exitcode == -signal.SIGKILL
    paid = Counter(call.body_id for call in server.calls if call.play in FINAL)
    assert [one for one in kept if paid[one] != 1] == []
    # What the workers had under way or had just handed over, and no more, is paid for again.
    assert sum(paid.values()) - len(paid) <= 2 * WORKERS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("pause_s", [0.0, 600.0], ids=["while it waits", "while it works"])
def test_an_interrupt_keeps_what_is_under_way_and_sends_nothing_more(
    number: int, pause_s: float, tmp_path: Path
) -> None:
    path = tmp_path / "teacher.sqlite"
    with ChatServer(every("good"), hold_from=50) as server:
        child, interrupted = started(server, path, pause_s)
        until(lambda: server.under_way == WORKERS and len(server.calls) >= 50)
        sent = len(server.calls)
        assert child.pid
        os.kill(child.pid, number)
        assert interrupted.wait(60)
        time.sleep(0.05)  # from the handler to the end of the loop
        server.release()
        child.join(timeout=60)
    assert child.exitcode == 130
    assert len(server.calls) == sent
    assert answered(path) == {call.body_id for call in server.calls}


def test_an_interrupt_while_the_asking_begins_leaves_nobody_asking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr("models_py.teacher.ask_missing.Thread", Interrupted)
    with ChatServer(every("good"), latency_s=(0.05, 0.05)) as server, Ledger(tmp_path / "teacher.sqlite") as ledger:
        found = outcomes(server.url, ledger)
        with pytest.raises(KeyboardInterrupt):
            next(found)
        assert not [thread for thread in threading.enumerate() if isinstance(thread, Interrupted)]
        assert len(server.calls) <= WORKERS


def test_a_slow_reader_delays_no_commit(tmp_path: Path) -> None:
    seas = [request(f"Name {number} seas.", identity="m") for number in range(100)]
    with ChatServer(every("good")) as server, Ledger(tmp_path / "teacher.sqlite") as ledger:
        replies = ask_missing(seas, teacher(server.url).engine, ledger)
        next(replies)
        until(lambda: len(list(ledger.all_since())) == 100)
        assert len(list(replies)) == 99
