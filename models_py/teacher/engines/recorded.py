"""The recorded teacher: replies read from a file, so a run needs no model, no key and no money.

The file is JSON Lines, one reply a line, matched by phase, content id and try (`parse_attempt`, 0 when absent), as
`make export-replies` writes them from a ledger:
    {"phase": "response_reflection", "content_id": "51ab...", "reply": "...", "finish_reason": "stop",
     "prompt_tokens": 412, "completion_tokens": 230, "parse_attempt": 0}
Token counts may be absent; further keys are ignored. A pair without a line is a failed reply, not an exception; a
second try without a line is not asked for.

Only positions are held in memory; texts are read when they are asked for.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from os import stat_result
from pathlib import Path
from threading import Event
from typing import Any

from models_py.content import file_sha256, fingerprint
from models_py.errors import UserError
from models_py.teacher.engines.base import Engine
from models_py.teacher.request import (
    INSTRUCTION_REFLECTION,
    NEW_INSTRUCTION,
    REQUESTS,
    VERDICT,
    TeacherReply,
    TeacherRequest,
)

LARGEST_COUNT = 1 << 63  # of the ledger's integers

_REMEDY = "Correct the line or record the replies again."


_Key = tuple[str, str, int]  # phase, content id, try


def _key(request: TeacherRequest) -> _Key:
    return request.phase, request.content_id, request.parse_attempt


class RecordedEngine(Engine):
    """Answers from the JSON Lines file at `path`; raises UserError for a file that cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def identity(self) -> str:
        """`recorded:` and the file's hash: another recording is another teacher."""
        try:
            return f"recorded:{file_sha256(self.path)[:12]}"
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def answers(self, request: TeacherRequest) -> bool:
        """Whether the file holds a reply to this try."""
        return _key(request) in self._positions

    def check_knows(self, content_ids: Sequence[str]) -> None:
        """Raises UserError, naming the file, when none of the pairs has a line of the first phase."""
        known = {
            content_id for phase, content_id, _ in self._positions if phase in (INSTRUCTION_REFLECTION, NEW_INSTRUCTION)
        }
        if content_ids and not known.intersection(content_ids):
            raise UserError(
                f"{self.path}: knows 0 of {len(content_ids):,} pairs; its {len(known):,} pairs are others, or their "
                "texts have changed since. Record replies to these, or correct `replies` of the teacher in the profile."
            )

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Yields in the order of `requests`; `attempts` is 1, latency and cost are unknown (None)."""
        positions = self._positions
        with self.path.open("rb") as file:
            for request in requests:
                position = positions.get(_key(request))
                if position is None:
                    yield TeacherReply(
                        request.request_id,
                        error=f"no recorded {request.phase} of content_id {request.content_id} in {self.path.name}",
                    )
                    continue
                file.seek(position)
                if _version(self.path.stat()) != self._read_version:
                    raise UserError(f"{self.path}: changed while it was being read. Run again.")
                row = json.loads(file.readline())
                yield TeacherReply(
                    request.request_id,
                    reply=row["reply"],
                    finish_reason=row.get("finish_reason"),
                    prompt_tokens=row.get("prompt_tokens"),
                    completion_tokens=row.get("completion_tokens"),
                )

    @cached_property
    def _positions(self) -> dict[_Key, int]:
        """Byte offset of each reply's line, by phase, content id and try; checks every line."""
        positions: dict[_Key, int] = {}
        seen: dict[_Key, tuple[int, str]] = {}
        offset = 0
        try:
            self._read_version = _version(self.path.stat())
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        row = read_line(line, f"{self.path}:{number}")
                        key = (row["phase"], row["content_id"], row.get("parse_attempt") or 0)
                        said = fingerprint(row["reply"], row.get("finish_reason"))
                        first, said_first = seen.setdefault(key, (number, said))
                        if said != said_first:
                            raise UserError(
                                f"{self.path}:{number}: another reply to the {key[0]} of content_id {key[1]} "
                                f"than line {first}. Keep one of the two."
                            )
                        positions.setdefault(key, offset)
                    offset += len(line)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return positions


def read_line(line: bytes, where: str) -> dict[str, Any]:
    """One line of a recording, checked. Raises UserError that begins with `where` (file:line)."""
    try:
        row = json.loads(line)
    except ValueError as error:  # bad JSON, bad UTF-8
        raise UserError(f"{where}: not a JSON object ({error}). {_REMEDY}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: not a JSON object. {_REMEDY}")
    if row.get("phase") not in (known := (*REQUESTS, VERDICT)):
        raise UserError(f"{where}: phase is {row.get('phase')!r}, not one of {', '.join(known)}. {_REMEDY}")
    for field in ("content_id", "reply"):
        if not isinstance(row.get(field), str):
            raise UserError(f"{where}: {field} is missing or not text. {_REMEDY}")
    if not isinstance(row.get("finish_reason"), str | None):
        raise UserError(f"{where}: finish_reason is not text. {_REMEDY}")
    for field in ("prompt_tokens", "completion_tokens", "parse_attempt"):
        count = row.get(field)
        if count is not None and (type(count) is not int or not 0 <= count < LARGEST_COUNT):
            raise UserError(f"{where}: {field} is {count!r}, not a count. {_REMEDY}")
    return row


def _version(stat: stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot read the recorded replies ({error.strerror}). Correct `replies` of the teacher in the profile."
    )
