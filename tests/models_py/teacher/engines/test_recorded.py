from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.engines.recorded import RecordedEngine
from models_py.teacher.request import RESPONSE_REFLECTION, TeacherReply
from tests.support.engines import BETTER, recording, request


def row(instruction: str = "Name a sea.", **changes: object) -> dict[str, Any]:
    content = request(instruction).content_id
    known = {"phase": RESPONSE_REFLECTION, "content_id": content, "reply": BETTER, "finish_reason": "stop"}
    return known | changes


def test_answers_by_phase_and_content(tmp_path: Path) -> None:
    path = recording(tmp_path / "replies.jsonl", row(), row("Name a lake.", reply="Längs.", completion_tokens=7))
    asked = [request("Name a lake."), request()]
    assert list(RecordedEngine(path).ask(asked, Event())) == [
        TeacherReply(asked[0].request_id, reply="Längs.", finish_reason="stop", completion_tokens=7),
        TeacherReply(asked[1].request_id, reply=BETTER, finish_reason="stop"),
    ]


def test_a_missing_reply_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    one = request("Name a river.")
    (reply,) = RecordedEngine(recording(tmp_path / "replies.jsonl", row())).ask([one], Event())
    assert reply.reply is None
    assert reply.error == f"no recorded response_reflection of content_id {one.content_id} in replies.jsonl"


def test_another_recording_is_another_teacher(tmp_path: Path) -> None:
    first = RecordedEngine(recording(tmp_path / "a.jsonl", row())).identity
    assert first == RecordedEngine(recording(tmp_path / "b.jsonl", row())).identity
    assert first != RecordedEngine(recording(tmp_path / "c.jsonl", row(reply="No."))).identity
    assert first.startswith("recorded:") and len(first) == len("recorded:") + 12


def test_the_same_line_twice_is_one_reply(tmp_path: Path) -> None:
    (reply,) = RecordedEngine(recording(tmp_path / "replies.jsonl", row(), row())).ask([request()], Event())
    assert reply.reply == BETTER


def test_two_replies_to_one_request_are_refused(tmp_path: Path) -> None:
    teacher = RecordedEngine(recording(tmp_path / "replies.jsonl", row(), row(reply="Other.")))
    with pytest.raises(UserError, match=r"replies\.jsonl:2: another reply .* than line 1\. Keep one"):
        list(teacher.ask([request()], Event()))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('"\udcff"', "not a JSON object"),
        ('{"phase": "answer"}', "phase is 'answer'"),
        ('{"phase": "response_reflection"}', "content_id is missing"),
        ('{"phase": "response_reflection", "content_id": "a", "reply": null}', "reply is missing or not text"),
        ('{"phase": "response_reflection", "content_id": "a", "reply": "b", "finish_reason": 1}', "finish_reason"),
        ('{"phase": "response_reflection", "content_id": "a", "reply": "b", "prompt_tokens": true}', "is True, not a"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = recording(tmp_path / "replies.jsonl", row())
    path.write_bytes(path.read_bytes() + b"\n" + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(UserError) as caught:
        list(RecordedEngine(path).ask([request()], Event()))
    assert "replies.jsonl:3: " in str(caught.value) and complaint in str(caught.value)
    assert str(caught.value).endswith("Correct the line or record the replies again.")


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    teacher = RecordedEngine(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"none\.jsonl: cannot read .* Correct `replies`"):
        teacher.identity  # noqa: B018 - reading it opens the file
    with pytest.raises(UserError, match=r"none\.jsonl: cannot read"):
        list(teacher.ask([request()], Event()))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = recording(tmp_path / "replies.jsonl", row(), row("Name a lake."))
    replies = RecordedEngine(path).ask([request(), request("Name a lake.")], Event())
    assert next(replies).reply == BETTER
    recording(path, row("Name a lake."))
    with pytest.raises(UserError, match="changed while it was being read"):
        next(replies)
