"""The disk fills while replies are under way: all that were paid for are kept, and nothing more is asked.

A real small disk, a real server. Where nobody may mount one, a limit of the size of files stands for it.
"""

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from models_py.disk import Reserve
from models_py.errors import UserError
from models_py.progress import Progress
from models_py.teacher import ask_missing as asking
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.engines.base import Engine
from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import open_teacher
from models_py.teacher.replies_file import import_replies
from models_py.teacher.request import TeacherReply
from models_py.teacher.spec import OpenAISettings, TeacherSpec
from tests.support.disks import fill, small_disk
from tests.support.engines import request
from tests.support.processes import finish, python
from tests.support.servers import ChatServer, every

SEAS = [request(f"Name {number} seas.", identity="m") for number in range(30)]
WORKERS = 8
AT_MOST = 2 * WORKERS  # calls: a worker may have sent one more before the first reply could not be written


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


def teacher(url: str, workers: int = WORKERS) -> Engine:
    settings = OpenAISettings(model="m", base_url=url, api_key_env=None, concurrency=workers)
    return open_teacher(TeacherSpec("gpt", settings)).engine


def ask(server: ChatServer, path: Path, told: list[Progress] | None = None) -> list[tuple[int, TeacherReply]]:
    with Ledger(path) as ledger:
        return list(ask_missing(SEAS, teacher(server.url), ledger, on_progress=(told or []).append))


def saved(path: Path) -> int:
    with Ledger(path) as ledger:
        return len(list(ledger.all_since()))


def when(holds: Callable[[], bool], do: Callable[[], object]) -> threading.Thread:
    """Does something, in a thread, once it holds."""

    def wait() -> None:
        while not holds():
            time.sleep(0.005)
        do()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def each_once(server: ChatServer) -> bool:
    return set(Counter(call.body_id for call in server.calls).values()) == {1}


def test_all_that_is_under_way_is_kept_and_nothing_more_is_asked(disk: Path) -> None:
    path = disk / "teacher.sqlite"
    with ChatServer(every("good"), hold_from=1) as server:

        def fill_and_answer() -> None:
            fill(disk)
            server.release()

        when(lambda: server.under_way == WORKERS, fill_and_answer)
        with pytest.raises(UserError, match=r"teacher\.sqlite cannot be written .*All replies .* are saved"):
            ask(server, path)
        assert len(server.calls) == saved(path) <= AT_MOST
        (disk / "filler").unlink()
        assert len(ask(server, path)) == len(SEAS)
        assert (len(server.calls), each_once(server)) == (len(SEAS), True)


def test_a_disk_that_is_full_before_costs_nothing(disk: Path) -> None:
    path = disk / "teacher.sqlite"
    assert saved(path) == 0
    fill(disk, leave=400_000)
    with ChatServer(every("good")) as server:
        with pytest.raises(UserError, match=r"cannot be written .*No space left.*nothing more was asked"):
            ask(server, path)
        assert server.calls == []


def keep_full(disk: Path, ends: threading.Event) -> None:
    """As a log that grows: what becomes free is taken at once."""
    while not ends.is_set():
        fill(disk)
        time.sleep(0.001)


def held_on_a_full_disk(server: ChatServer, disk: Path, resources: ExitStack) -> threading.Event:
    """Fills the disk while all workers wait, keeps it full until the event is set, and then answers."""
    ends = threading.Event()

    def fill_and_answer() -> None:
        fill(disk)
        filler = threading.Thread(target=keep_full, args=(disk, ends), daemon=True)
        filler.start()
        resources.callback(filler.join)
        resources.callback(ends.set)
        time.sleep(0.05)
        server.release()

    when(lambda: server.under_way == WORKERS, fill_and_answer)
    return ends


def take_no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if others took what is released before the ledger can."""
    monkeypatch.setattr(Reserve, "hold", lambda *_: None)


def test_replies_are_held_until_there_is_room(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_no_reserve(monkeypatch)
    path, told = disk / "teacher.sqlite", [Progress(0, 0, "")]
    with ChatServer(every("good"), hold_from=1) as server, ExitStack() as resources:
        ends = held_on_a_full_disk(server, disk, resources)

        def make_room() -> None:
            ends.set()
            time.sleep(0.05)
            (disk / "filler").unlink()

        when(lambda: "holding" in told[-1].note, make_room)
        with pytest.raises(UserError, match="All replies that were under way are saved"):
            ask(server, path, told)
        assert len(server.calls) == saved(path) <= AT_MOST
    assert any(f"replies until {path} can be written" in one.note and one.urgent for one in told)


def test_replies_that_no_room_came_for_lie_elsewhere(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_no_reserve(monkeypatch)
    monkeypatch.setattr(asking, "_HOLD_S", 0.3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = disk / "teacher.sqlite"
    with ChatServer(every("good"), hold_from=1) as server, ExitStack() as resources:
        ends = held_on_a_full_disk(server, disk, resources)
        with pytest.raises(UserError, match=r"\d+ replies that it did not take lie in .*make import-replies") as said:
            ask(server, path)
        ends.set()
        time.sleep(0.05)
        (disk / "filler").unlink()
        rescued = Path(str(said.value).split("FILE=")[1].split()[0])
        with Ledger(path) as ledger:
            import_replies(ledger, rescued)
        assert len(server.calls) == saved(path) <= AT_MOST
        assert len(ask(server, path)) == len(SEAS)
        assert (len(server.calls), each_once(server)) == (len(SEAS), True)


LIMITED = """
import resource, sys, tempfile
from pathlib import Path
from models_py.errors import UserError
from models_py.teacher import ask_missing as asking
from tests.models_py.teacher.test_full_disk import SEAS, Ledger, teacher

asking._HOLD_S = 0.3
tempfile.tempdir = sys.argv[4]
url, path = sys.argv[1], Path(sys.argv[2])
with Ledger(path) as ledger:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        print(len(list(asking.ask_missing(SEAS, teacher(url), ledger))))
    except UserError as error:
        print(error)
"""


def test_a_limit_of_the_size_of_files_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    with ChatServer(every("good"), latency_s=(0.01, 0.02)) as server:
        told = finish(python(LIMITED, server.url, path, 120_000, tmp_path))
        assert "lie in" in told
        asked = len(server.calls)
        rescued = Path(told.split("FILE=")[1].split()[0])
        kept = rescued.read_text(encoding="ascii").splitlines()
        assert (asked < len(SEAS), asked - saved(path) - len(kept)) == (True, 0)
        assert {json.loads(line)["teacher"] for line in kept} == {"fake"}
