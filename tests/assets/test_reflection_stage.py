"""reflection: each pair is asked about once for good; a failure is asked again and not stored twice."""

from collections.abc import Iterable
from pathlib import Path
from threading import Event

import pytest

from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.raw.raw_pairs import raw_pairs
from assets.reflection.instruction_reflections import instruction_reflections
from assets.reflection.response_reflections import response_reflections
from assets.reflection.teacher_replies import teacher_replies
from models_py.content import content_id
from models_py.teacher.recorded import RecordedTeacher
from tests.assets.conftest import BETTER_DOG, CAT, DOG, NEW_CAT, OWL, REPLIES, Flow, rewrite, version

REFLECTIONS = "select pair_id, status, content_id, instruction, output from reflection.instruction_reflections"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The content ids that the teacher is really asked about."""
    asked: list[str] = []
    ask = RecordedTeacher.ask

    def watched(self: RecordedTeacher, requests: Iterable, stop: Event):
        requests = list(requests)
        asked.extend(request.content_id for request in requests)
        return ask(self, requests, stop)

    monkeypatch.setattr(RecordedTeacher, "ask", watched)
    return asked


@pytest.fixture(scope="module")
def start(new_flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    flow = new_flow.copy(tmp_path_factory.mktemp("start"))
    list(flow.run(raw_pairs))
    for asset in (recipes, students, teachers):
        flow.run(asset)
    return flow


@pytest.fixture
def ready(start: Flow, tmp_path: Path) -> Flow:
    return start.copy(tmp_path)


def test_every_pair_has_an_outcome(ready: Flow) -> None:
    result = ready.run(instruction_reflections)
    rows = {row[0]: row[1:] for row in ready.lake.read(REFLECTIONS).rows()}
    assert rows == {
        content_id(*CAT): ("ok", content_id(*NEW_CAT), NEW_CAT[0], NEW_CAT[2]),
        content_id(*DOG): (rows[content_id(*DOG)][0], None, None, None),
        content_id(*OWL): ("failed", None, None, None),
    }
    assert rows[content_id(*DOG)][0] in {"refused", "missing_tag"}
    assert (result.metadata["dagster/row_count"], result.metadata["pending_before"]) == (3, 3)
    assert (result.metadata["status/ok"], result.metadata["status/failed"]) == (1, 1)


def test_a_second_run_asks_only_what_failed_and_stores_nothing_twice(ready: Flow, asked: list[str]) -> None:
    first = version(ready.run(instruction_reflections))
    assert sorted(asked) == sorted(content_id(*pair) for pair in (CAT, DOG, OWL))
    asked.clear()
    assert version(ready.run(instruction_reflections)) == first
    assert asked == [content_id(*OWL)]
    assert ready.lake.scalar("select count(*) from reflection.instruction_reflections") == 3


def test_a_reply_that_was_paid_for_is_not_asked_again_when_the_lake_lost_it(ready: Flow, asked: list[str]) -> None:
    """As after a kill between the ledger's commit and the lake's."""
    ready.run(instruction_reflections)
    before = ready.lake.read(REFLECTIONS + " order by all").rows()
    ready.lake.write(lambda connection: connection.execute("delete from reflection.instruction_reflections"), commit())
    asked.clear()
    ready.run(instruction_reflections)
    assert asked == [content_id(*OWL)]
    assert ready.lake.read(REFLECTIONS + " order by all").rows() == before


def test_another_recording_reflects_anew_and_the_old_rows_stay(ready: Flow) -> None:
    ready.run(instruction_reflections)
    ready.replies({**REPLIES, ("instruction_reflection", OWL): rewrite("Describe an owl at night.", "Silent.")})
    ready.run(teachers)
    ready.run(instruction_reflections)
    current = ready.lake.read("select pair_id, status from selection.current_instruction_reflections").rows()
    assert dict(current)[content_id(*OWL)] == "ok"
    assert ready.lake.scalar("select count(*) from reflection.instruction_reflections") == 6


def test_the_second_reflection_is_of_the_chosen_base(ready: Flow) -> None:
    ready.run(instruction_reflections)
    choice = {
        "teacher": "recorded",
        "student": "toy",
        "pair_id": content_id(*DOG),
        "choice": "original",
        "reason": "no_rewrite",
    }
    names, values = ", ".join(choice), ", ".join(f"'{value}'" for value in choice.values())
    ready.lake.write(
        lambda c: c.execute(f"insert into selection.instruction_choices ({names}) values ({values})"), commit()
    )
    ready.run(response_reflections)
    rows = ready.lake.read(
        "select pair_id, base, base_content_id, status, content_id, output from reflection.response_reflections"
    )
    dog = content_id(*DOG)
    assert rows.rows() == [(dog, "original", dog, "ok", content_id(DOG[0], DOG[1], BETTER_DOG), BETTER_DOG)]


def test_the_ledger_is_mirrored_once_without_its_failures(ready: Flow) -> None:
    ready.run(instruction_reflections)
    first = ready.run(teacher_replies)
    again = ready.run(teacher_replies)
    assert version(first) == version(again)
    rows = ready.lake.read(
        "select content_id, teacher, phase, attempts, cost_usd, error from reflection.teacher_replies order by 1"
    )
    expected = sorted(content_id(*pair) for pair in (CAT, DOG))
    assert rows.rows() == [(pair, "recorded", "instruction_reflection", 1, None, None) for pair in expected]


def commit():
    from dagster_project.lake import Commit

    return Commit("by hand")
