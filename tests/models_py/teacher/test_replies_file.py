"""Replies travel between ledgers and into recordings whole, or not at all."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Price, Spent
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.reflect_pairs import Reflection, reflect_pairs
from models_py.teacher.replies_file import export_replies, import_replies
from models_py.teacher.request import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    PendingPair,
    Sampling,
    TeacherReply,
    TeacherRequest,
)
from models_py.teacher.spec import PromptSettings, RecordedSettings, TeacherSpec
from tests.support.engines import (
    BETTER,
    REWRITE,
    UNUSABLE,
    Scripted,
    always,
    asked,
    opened,
    pair_of,
    said,
    seas,
)
from tests.support.values import near

PAIRS = seas(4)
ODD = pair_of("Name \ud800 \u202e\x00\r\n a sea.", output="Östersjön.")


def say(request: TeacherRequest) -> TeacherReply:
    """Of the pairs the second needs three tries, the third a higher limit, the last is never usable."""
    place = [pair.pair_id for pair in PAIRS].index(request.content_id) if request.content_id in IDS else 0
    texts = [(REWRITE,), (UNUSABLE, UNUSABLE, REWRITE), (REWRITE, REWRITE), (UNUSABLE, "...", UNUSABLE)][place]
    usage = '{"prompt_tokens_details": {"cached_tokens": 7}}'
    finish_reason = "length" if place == 2 and not request.parse_attempt else "stop"
    return said(request, texts[request.parse_attempt], finish_reason, usage=usage, attempts=2)


IDS = {pair.pair_id for pair in PAIRS}


@pytest.fixture
def ledger(place: LedgerPlace) -> Iterator[Ledger]:
    with Ledger(place) as opened_ledger:
        yield opened_ledger


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "other.sqlite") as opened_ledger:
        yield opened_ledger


def reflect_on(
    teacher: OpenTeacher, ledger: Ledger, phase: str = INSTRUCTION_REFLECTION, pairs: list[PendingPair] = PAIRS
) -> dict[str, tuple[str | None, ...]]:
    found = reflect_pairs(phase, pairs, teacher, ledger, account=teacher.account(ledger.spent(teacher.spec.name)))
    return {one.pair.pair_id: texts_of(one) for one in found}


def texts_of(one: Reflection) -> tuple[str | None, ...]:
    return one.status, one.critique, one.instruction, one.output


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def tape(file: Path) -> OpenTeacher:
    return open_teacher(TeacherSpec("tape", RecordedSettings(replies=file)))


@pytest.fixture
def exported(ledger: Ledger, tmp_path: Path) -> Path:
    """What a teacher with second tries and an odd pair left, written out."""
    teacher = opened(say, Price(1, 2))
    reflect_on(teacher, ledger, pairs=[*PAIRS, ODD])
    assert export_replies(ledger, tmp_path / "out.jsonl", teacher) == 10
    return tmp_path / "out.jsonl"


# --- out


def test_a_line_holds_what_the_ledger_holds(ledger: Ledger, exported: Path) -> None:
    rows = {row.reply.request_id: row for row in ledger.all_since()}
    for line in lines(exported):
        row = rows[line["request_id"]]
        reply = TeacherReply(
            **{name: line[name] for name in TeacherReply.__slots__ if name in line and name != "usage"},
            usage=json.dumps(line["usage"]),
        )
        assert reply == row.reply
        assert line["payload"] == json.loads(row.payload)
        assert [
            line[name] for name in ("teacher", "identity", "phase", "content_id", "parse_attempt", "created_at")
        ] == [*(row.teacher, row.identity, row.phase, row.content_id, row.parse_attempt, row.created_at)]


def test_tries_of_a_pair_stand_together_in_the_order_of_first_replies(exported: Path) -> None:
    order = [pair.pair_id for pair in PAIRS]
    told = [
        (order.index(line["content_id"]), line["parse_attempt"])
        for line in lines(exported)
        if line["content_id"] in IDS
    ]
    assert told == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]


def test_two_exports_are_the_same_bytes(ledger: Ledger, exported: Path, tmp_path: Path) -> None:
    export_replies(ledger, tmp_path / "again.jsonl", opened(say))
    assert (tmp_path / "again.jsonl").read_bytes() == exported.read_bytes()


def test_errors_do_not_travel(ledger: Ledger, tmp_path: Path) -> None:
    teacher = opened(lambda request: TeacherReply(request.request_id, error="timeout"))
    reflect_on(teacher, ledger)
    assert (
        export_replies(ledger, tmp_path / "none.jsonl", teacher) == export_replies(ledger, tmp_path / "all.jsonl") == 0
    )


@pytest.mark.parametrize(
    "another",
    [
        lambda: opened(Scripted(always(REWRITE.replace("three", "four")), identity="m2")),
        lambda: opened(always(REWRITE.replace("three", "four")), sampling=Sampling(max_tokens=99)),
        lambda: opened(always(REWRITE.replace("three", "four")), prompts=PromptSettings("criteria_first")),
    ],
)
def test_another_model_sampling_or_prompt_stays_out_of_a_recording(
    ledger: Ledger, exported: Path, tmp_path: Path, another: Callable[[], OpenTeacher]
) -> None:
    theirs = another()
    reflect_on(theirs, ledger)
    assert export_replies(ledger, tmp_path / "mine.jsonl", opened(say)) == 10
    assert (tmp_path / "mine.jsonl").read_bytes() == exported.read_bytes()
    assert export_replies(ledger, tmp_path / "theirs.jsonl", theirs) == 4
    assert export_replies(ledger, tmp_path / "all.jsonl") == 14


def test_an_export_is_a_recording_that_answers_the_same(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    teacher = opened(say)
    first = reflect_on(teacher, ledger)
    reflect_on(opened(always(BETTER)), ledger, RESPONSE_REFLECTION)
    export_replies(ledger, tmp_path / "out.jsonl", teacher)
    recorded = tape(tmp_path / "out.jsonl")
    assert reflect_on(recorded, other) == first
    assert {status for status, *_ in first.values()} == {"ok", "missing_tag"}
    second = reflect_on(recorded, other, RESPONSE_REFLECTION)
    assert set(second.values()) == {("ok", "Too short.", None, "The Baltic Sea.")}
    assert sum(row.reply.error is None for row in other.all_since()) == len(lines(tmp_path / "out.jsonl"))


def test_a_recording_can_be_exported_in_its_turn(exported: Path, other: Ledger, tmp_path: Path) -> None:
    recorded = tape(exported)
    reflect_on(recorded, other)
    assert export_replies(other, tmp_path / "copy.jsonl", recorded) == 9
    kept = {(line["content_id"], line["parse_attempt"]): line["reply"] for line in lines(exported)}
    assert all(
        kept[line["content_id"], line["parse_attempt"]] == line["reply"] for line in lines(tmp_path / "copy.jsonl")
    )


def test_an_export_that_breaks_off_leaves_what_was_there(
    ledger: Ledger, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported.read_bytes()
    monkeypatch.setattr(ledger, "row", lambda request_id: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_replies(ledger, exported, opened(say))
    assert exported.read_bytes() == before
    assert [file.name for file in exported.parent.glob("*unfinished*")] == []


def test_who_reads_the_old_file_reads_it_to_its_end(ledger: Ledger, exported: Path) -> None:
    before = exported.read_bytes()
    with exported.open("rb") as reader:
        reader.read(100)
        assert export_replies(ledger, exported, opened(Scripted(say, identity="nobody"))) == 0
        assert before[:100] + reader.read() == before
    assert exported.read_bytes() == b""


def test_a_folder_that_is_not_there_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none/out\.jsonl: cannot be written \(No such file or directory\)"):
        export_replies(ledger, tmp_path / "none" / "out.jsonl")


# --- in


def test_an_import_is_the_same_ledger_and_asks_nothing(exported: Path, ledger: Ledger, other: Ledger) -> None:
    assert import_replies(other, exported) == (10, 10)
    by_id = [{row.reply.request_id: replace(row, seq=0) for row in one.all_since()} for one in (ledger, other)]
    assert by_id[0] == by_id[1]
    assert [row.seq for row in other.all_since()] == list(range(1, 11))
    assert other.spent("gpt") == ledger.spent("gpt") == Spent(10, 5000, near(10 * 600 / 1e6))
    teacher = opened(say)
    assert len(reflect_on(teacher, other, pairs=[*PAIRS, ODD])) == 5
    assert asked(teacher) == []


def test_a_second_import_changes_nothing(exported: Path, other: Ledger) -> None:
    import_replies(other, exported)
    before = list(other.all_since())
    assert import_replies(other, exported) == (10, 0)
    assert list(other.all_since()) == before


def test_a_reply_that_is_there_stays_and_an_error_gives_way(exported: Path, other: Ledger) -> None:
    reflect_on(opened(lambda request: TeacherReply(request.request_id, error="timeout")), other, pairs=PAIRS[:1])
    reflect_on(opened(always("Mine.")), other, pairs=PAIRS[1:2])
    mine = [row.reply.request_id for row in other.all_since() if row.reply.reply == "Mine."]
    assert import_replies(other, exported) == (10, 10 - len(mine))
    kept = {row.reply.request_id: row.reply for row in other.all_since()}
    assert {kept[request_id].reply for request_id in mine} == {"Mine."}
    assert [reply.error for reply in kept.values()] == [None] * 10


def test_numbers_written_by_another_tool_are_the_same_request(exported: Path, other: Ledger) -> None:
    rows = lines(exported)
    for row in rows:
        row["payload"]["sampling"] = {
            name: int(value) if value == int(value) else value for name, value in row["payload"]["sampling"].items()
        }
    assert import_replies(other, write(exported, rows)) == (10, 10)


def test_blank_lines_are_skipped_and_an_absent_count_is_unknown(exported: Path, other: Ledger) -> None:
    row = lines(exported)[0]
    for name in ("prompt_tokens", "completion_tokens", "latency_s", "cost_usd", "usage", "attempts", "finish_reason"):
        del row[name]
    exported.write_text(f"\n{json.dumps(row)}\n\n", encoding="utf-8")
    assert import_replies(other, exported) == (1, 1)
    (kept,) = other.all_since()
    assert kept.reply == TeacherReply(row["request_id"], reply=REWRITE)


def changed(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.update(values)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (changed(request_id="0" * 64), "payload is not what request_id, phase and identity say"),
        (changed(identity="m2"), "payload is not what request_id, phase and identity say"),
        (changed(phase=RESPONSE_REFLECTION), "payload is not what request_id, phase and identity say"),
        (lambda row: row["payload"]["messages"][1].update(content="?"), "payload is not what request_id"),
        (lambda row: row["payload"]["sampling"].update(best_of=2), "payload is no request of this project"),
        (lambda row: row["payload"]["sampling"].update(top_p="x"), "payload is no request of this project"),
        (changed(payload=None), "payload is no request of this project"),
        (lambda row: row.pop("payload"), "payload is missing, so the line says no request"),
        (lambda row: row.pop("created_at"), "created_at is missing"),
        (changed(created_at="yesterday"), "created_at is 'yesterday', not a time with its zone"),
        (changed(created_at="2025-01-31T12:00:00"), "not a time with its zone"),
        (changed(teacher=""), "teacher is '', not a name"),
        (changed(attempts=0), "attempts is 0, not a count"),
        (changed(teacher="gpt\ud800"), "teacher is 'gpt\\ud800', not text that can be stored"),
        (changed(content_id="\ud800"), "content_id is '\\ud800', not text that can be stored"),
        (changed(completion_tokens=1 << 63), "completion_tokens is 9223372036854775808, not a count"),
        (changed(cost_usd=float("inf")), "cost_usd is inf, not a number"),
        (changed(latency_s="2"), "latency_s is '2', not a number"),
        (changed(cost_usd=-1), "cost_usd is -1, not a number"),
        (changed(cost_usd=float("nan")), "cost_usd is nan, not a number"),
        (changed(usage=[1]), "usage is [1], not a JSON object"),
        (changed(reply=None), "reply is missing or not text"),
        (changed(parse_attempt=-1), "parse_attempt is -1, not a count"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_imported(
    exported: Path, other: Ledger, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    rows = lines(exported)
    change(rows[6])
    with pytest.raises(UserError) as caught:
        import_replies(other, write(exported, rows))
    assert str(caught.value).startswith(f"{exported}:7: ") and complaint in str(caught.value)
    assert list(other.all_since()) == []


def test_a_file_that_breaks_off_is_not_imported(exported: Path, other: Ledger) -> None:
    exported.write_bytes(exported.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"out\.jsonl:10: not a JSON object"):
        import_replies(other, exported)
    assert list(other.all_since()) == []


def test_a_recording_without_requests_says_where_it_belongs(other: Ledger, tmp_path: Path) -> None:
    row = {"phase": RESPONSE_REFLECTION, "content_id": "a", "reply": BETTER, "finish_reason": "stop"}
    with pytest.raises(UserError, match=r":1: request_id is missing.* under `replies` of a recorded teacher"):
        import_replies(other, write(tmp_path / "tape.jsonl", [row]))


def test_a_missing_file_is_named(other: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read \(No such file or directory\)"):
        import_replies(other, tmp_path / "none.jsonl")
