"""Replies that travel: out of a ledger into JSON Lines, and from there into another ledger or a recorded teacher.

    {"phase": "response_reflection", "content_id": "51ab...", "parse_attempt": 0, "reply": "...", "finish_reason":
     "stop", "prompt_tokens": 412, "completion_tokens": 230, "request_id": "9f2c...", "teacher": "gpt", "identity":
     "gpt-4.1-mini", "payload": {...}, "attempts": 1, "latency_s": 2.1, "cost_usd": 0.0005, "usage": {...},
     "created_at": "2025-01-31T12:00:00.000+00:00"}

A line is what the `recorded` engine reads (engines/recorded.py) and, beyond that, the row of the ledger. A ledger may
hold several replies to one pair, by other models or under other prompts; a recording must not. So what is written is
what one teacher of a profile would be answered now: under its identity, its prompts and its sampling, each pair's tries
that count (attempts.py). All replies can be written too, for another ledger only.

Errors do not travel: they are no replies.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from models_py.conversation import Message
from models_py.errors import UserError
from models_py.publish import published_file
from models_py.teacher.attempts import stored_attempts
from models_py.teacher.engines.recorded import LARGEST_COUNT, read_line
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher
from models_py.teacher.parser import encodable, parse_reply
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest

_REMEDY = "Take the line from `make export-replies` again, or leave it out."


def export_replies(ledger: Ledger, file: Path, teacher: OpenTeacher | None = None) -> int:
    """Writes what `teacher` would be answered now, without one every reply; returns how many.

    Lines stand in the order in which replies, of a pair its first, were committed. The file is there whole or not at
    all. Raises UserError when it cannot be written.
    """
    rows = (row for row in ledger.all_since() if row.reply.error is None)
    try:
        count = write_replies(file, current_replies(ledger, teacher) if teacher else rows)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}). Name a file in a folder that exists."
        ) from error
    return count


def write_replies(file: Path, rows: Iterable[LedgerRow]) -> int:
    """Writes the rows as lines of a file that is there whole or not at all; returns how many. Raises OSError."""
    with published_file(file) as unfinished:
        return _write(unfinished, map(_line, rows))


def current_replies(ledger: Ledger, teacher: OpenTeacher) -> Iterator[LedgerRow]:
    """The ledger's answers to what `teacher` asks as the profile stands, at most one a pair, phase and try."""
    first_samplings = {name: teacher.sampling(FIRST_TRY, name).payload() for name in teacher.prompts}
    for row in ledger.all_since():
        if row.reply.error is not None or row.identity != teacher.engine.identity or row.phase not in teacher.prompts:
            continue
        first = _request(row, json.loads(row.payload))
        if (
            first.prompt == teacher.prompts[row.phase].version
            and first.sampling.payload() == first_samplings[row.phase]
        ):
            yield from _tries(ledger, teacher, row, first)


def import_replies(ledger: Ledger, file: Path) -> tuple[int, int]:
    """Takes the lines of an export into the ledger; returns how many lines there are and how many were new.

    Replies that are there stay, so doing it twice changes nothing. All lines are taken or none: raises UserError naming
    file and line for one that cannot be read, or whose `request_id` is not the hash of its `payload`. What replies cost
    counts as spent by the teacher of their name, as it would had they been asked here.
    """
    lines = 0

    def rows() -> Iterator[LedgerRow]:
        nonlocal lines
        for row in _rows_of(file):
            lines += 1
            yield row

    new = ledger.add(rows())
    return lines, new


def _tries(ledger: Ledger, teacher: OpenTeacher, row: LedgerRow, first: TeacherRequest) -> Iterator[LedgerRow]:
    """The tries of a pair that count, the first of which is `row`."""
    if parse_reply(row.phase, row.reply.reply, row.reply.finish_reason).status == "ok":
        yield row
        return
    for attempt in stored_attempts(first, teacher, ledger):
        found = ledger.row(attempt.reply.request_id)
        assert found is not None
        yield found


def _write(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with path.open("w", encoding="ascii") as file:
        for count, line in enumerate(lines, start=1):  # noqa: B007 (the last count is the result)
            file.write(line)
    return count


def _line(row: LedgerRow) -> str:
    """One row as a line of JSON, in ASCII: pairs can hold lone surrogates, which are no UTF-8."""
    reply = row.reply
    fields = {
        "phase": row.phase,
        "content_id": row.content_id,
        "parse_attempt": row.parse_attempt,
        "reply": reply.reply,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "request_id": reply.request_id,
        "teacher": row.teacher,
        "identity": row.identity,
        "payload": json.loads(row.payload),
        "attempts": reply.attempts,
        "latency_s": reply.latency_s,
        "cost_usd": reply.cost_usd,
        "usage": json.loads(reply.usage) if reply.usage else None,
        "created_at": row.created_at,
    }
    return json.dumps(fields) + "\n"


def _rows_of(file: Path) -> Iterator[LedgerRow]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{file}:{number}"
                    yield _row(read_line(line, where), where)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Name a file of `make export-replies`.") from error


def _row(line: dict[str, Any], where: str) -> LedgerRow:
    """The row that a line stands for, its further fields checked."""
    for field in ("request_id", "teacher", "identity", "payload", "created_at"):
        if field not in line:
            raise UserError(
                f"{where}: {field} is missing, so the line says no request. Only files of `make export-replies` can be "
                "imported; any other recording is named under `replies` of a recorded teacher."
            )
    usage = line.get("usage")
    row = LedgerRow(
        seq=0,
        teacher=line["teacher"],
        identity=line["identity"],
        phase=line["phase"],
        content_id=line["content_id"],
        payload="",
        parse_attempt=line.get("parse_attempt") or 0,
        created_at=line["created_at"],
        reply=TeacherReply(
            line["request_id"],
            reply=line["reply"],
            finish_reason=line.get("finish_reason"),
            prompt_tokens=line.get("prompt_tokens"),
            completion_tokens=line.get("completion_tokens"),
            attempts=line.get("attempts", 1),
            latency_s=line.get("latency_s"),
            cost_usd=line.get("cost_usd"),
            usage=None if usage is None else json.dumps(usage),
        ),
    )
    if problem := _problem(row):
        raise UserError(f"{where}: {problem}. {_REMEDY}")
    try:
        request = _request(row, line["payload"])
        request_id = request.hash
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: payload is no request of this project ({error!r}). {_REMEDY}") from error
    if (request.phase, request.identity, request_id) != (row.phase, row.identity, row.reply.request_id):
        raise UserError(
            f"{where}: payload is not what request_id, phase and identity say: one of them was changed. {_REMEDY}"
        )
    return replace(row, payload=request.stored)


def _problem(row: LedgerRow) -> str | None:
    """What is wrong with a field that `read_line` does not look at."""
    if not (isinstance(row.teacher, str) and row.teacher):
        return f"teacher is {row.teacher!r}, not a name"
    for name, text in (("teacher", row.teacher), ("identity", row.identity), ("content_id", row.content_id)):
        if not isinstance(text, str) or encodable(text) != text:
            return f"{name} is {text!r}, not text that can be stored"
    if type(row.reply.attempts) is not int or not 1 <= row.reply.attempts < LARGEST_COUNT:
        return f"attempts is {row.reply.attempts!r}, not a count"
    for name, value in (("latency_s", row.reply.latency_s), ("cost_usd", row.reply.cost_usd)):
        if value is not None and not (type(value) in (int, float) and 0 <= value < math.inf):
            return f"{name} is {value!r}, not a number from 0 on"
    if not isinstance(json.loads(row.reply.usage or "{}"), dict):
        return f"usage is {row.reply.usage}, not a JSON object"
    try:
        has_zone = datetime.fromisoformat(row.created_at).tzinfo is not None
    except (TypeError, ValueError):
        has_zone = False
    return None if has_zone else f"created_at is {row.created_at!r}, not a time with its zone in ISO 8601"


def _request(row: LedgerRow, payload: dict[str, Any]) -> TeacherRequest:
    """The request whose payload this is."""
    return TeacherRequest(
        request_id=row.reply.request_id,
        teacher=row.teacher,
        identity=payload["identity"],
        phase=payload["phase"],
        content_id=row.content_id,
        prompt=payload["prompt"],
        messages=tuple(Message(**message) for message in payload["messages"]),
        sampling=Sampling(**payload["sampling"]),
        parse_attempt=row.parse_attempt,
    )
