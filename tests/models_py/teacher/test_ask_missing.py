import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from types import GeneratorType

import pytest

from models_py.progress import Progress
from models_py.teacher import ask_missing as ask_missing_module
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.engines.recorded import RecordedEngine
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Account, Budget
from models_py.teacher.request import TeacherReply, TeacherRequest
from tests.support.engines import BETTER, Say, Scripted, fails, recording, request
from tests.support.values import as_a


@pytest.fixture
def ledger(place: LedgerPlace) -> Iterator[Ledger]:
    with Ledger(place) as opened:
        yield opened


def plain(one: TeacherRequest) -> TeacherReply:
    return TeacherReply(one.request_id, reply=BETTER, finish_reason="stop")


def engine(say: Say = plain, stop_after: int | None = None) -> Scripted:
    """As an engine with many requests under way: it takes all of them and answers the last one first."""
    return Scripted(say, stop_after=stop_after, takes_all=True)


SEAS = [request(f"Name {number} seas.") for number in range(4)]


def test_every_request_gets_its_reply(ledger: Ledger) -> None:
    answered = list(ask_missing(SEAS, engine(), ledger))
    assert sorted(place for place, _ in answered) == [0, 1, 2, 3]
    assert all(SEAS[place].request_id == reply.request_id and reply.reply == BETTER for place, reply in answered)


def test_what_is_known_is_not_asked_again(ledger: Ledger) -> None:
    list(ask_missing(SEAS[:3], engine(), ledger))
    teacher = engine()
    answered = list(ask_missing(SEAS, teacher, ledger))
    assert [one.request_id for one in teacher.asked] == [SEAS[3].request_id]
    assert [place for place, _ in answered] == [0, 1, 2, 3]


def test_a_teacher_with_nothing_to_do_is_not_called(ledger: Ledger, tmp_path: Path) -> None:
    list(ask_missing(SEAS, engine(), ledger))
    assert len(list(ask_missing(SEAS, RecordedEngine(tmp_path / "none.jsonl"), ledger))) == 4


def test_an_error_is_passed_on_and_asked_again(ledger: Ledger) -> None:
    assert {reply.error for _, reply in ask_missing(SEAS, engine(fails("timeout")), ledger)} == {"timeout"}
    teacher = engine()
    assert {reply.error for _, reply in ask_missing(SEAS, teacher, ledger)} == {None}
    assert len(teacher.asked) == 4


def test_a_reply_is_committed_before_it_is_passed_on(ledger: Ledger) -> None:
    for _, reply in ask_missing(SEAS, engine(), ledger):
        with Ledger(ledger.place) as other:
            assert reply.request_id in other.replies([reply.request_id])


def test_what_an_early_end_leaves_is_asked_next_time(ledger: Ledger) -> None:
    assert len(list(ask_missing(SEAS, engine(stop_after=1), ledger))) == 1
    teacher = engine()
    assert len(list(ask_missing(SEAS, teacher, ledger))) == 4
    assert len(teacher.asked) == 3


def test_what_was_under_way_when_a_reader_leaves_is_kept(ledger: Ledger) -> None:
    outcomes = ask_missing(SEAS, engine(), ledger)
    next(outcomes)
    as_a(GeneratorType, outcomes).close()
    assert len(list(ledger.all_since())) == 4  # this teacher takes all at once


def test_the_same_request_twice_is_asked_once_and_answered_twice(ledger: Ledger) -> None:
    teacher = engine()
    assert len(list(ask_missing([SEAS[0], SEAS[0]], teacher, ledger))) == 2
    assert len(teacher.asked) == 1


def test_progress_is_of_what_is_asked(ledger: Ledger) -> None:
    list(ask_missing(SEAS[:2], engine(), ledger))
    seen: list[Progress] = []
    list(ask_missing(SEAS, engine(), ledger, on_progress=seen.append))
    known = "2 more from the ledger"
    assert [(step.done, step.total, step.note) for step in seen] == [(1, 2, known), (2, 2, known)]


def test_what_a_teacher_is_busy_with_before_it_answers_is_told_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_missing_module, "_LOOK_S", 0.01)

    class Loading(Scripted):
        busy = ""

        @property
        def busy_with(self) -> str:
            return self.busy

        def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
            self.busy = "it loads"
            time.sleep(0.3)
            self.busy = ""
            yield from super().ask(requests, stop)

    seen: list[Progress] = []
    list(ask_missing(SEAS[:2], Loading(plain), ledger, on_progress=seen.append))
    assert [(step.done, step.note, step.urgent) for step in seen] == [
        (0, "it loads", True),
        (1, "", False),
        (2, "", False),
    ]


def test_who_is_waited_for_is_told_when_nothing_comes_and_ever_more_seldom(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_missing_module, "_LOOK_S", 0.01)
    monkeypatch.setattr(ask_missing_module, "_QUIET_S", 0.1)

    class Hanging(Scripted):
        def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
            asked = list(requests)
            time.sleep(2.0)
            yield from super().ask(asked, stop)

    seen: list[Progress] = []
    account = Account(budget=Budget(max_requests=2))
    list(ask_missing(SEAS, Hanging(plain), ledger, account, on_progress=seen.append))
    quiet = [step for step in seen if "nothing came for" in step.note]
    assert 2 <= len(quiet) <= 5 and all(step.urgent and step.done == 0 for step in quiet)
    said = r"nothing came for \d s: 2 calls under way, the oldest for \d s, and the budget has no room beside them"
    assert all(re.search(said, step.note) for step in quiet)


def test_an_answer_that_was_not_asked_for_is_a_fault_of_the_engine(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="other, which is not open"):
        list(ask_missing(SEAS, engine(lambda _: TeacherReply("other", reply="?")), ledger))


def test_a_recorded_gap_is_stored_as_an_error(ledger: Ledger, tmp_path: Path) -> None:
    one = SEAS[0]
    known = {"phase": one.phase, "content_id": one.content_id, "reply": BETTER, "finish_reason": "stop"}
    teacher = RecordedEngine(recording(tmp_path / "replies.jsonl", known))
    replies = dict(ask_missing(SEAS[:2], teacher, ledger))
    assert replies[0].reply == BETTER
    assert "no recorded response_reflection" in str(replies[1].error)
