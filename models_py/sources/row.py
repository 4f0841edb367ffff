"""One row as a file holds it, before anybody asks whether it is a pair.

A reader yields a `Row` for every row it meets, good or bad, and never raises for what a row contains:

    Row(number=3, byte_offset=812, record={"instruction": ...}, raw=b'{"instruction": ...}')
    Row(number=4, byte_offset=990, record=None, raw=b'{"instr', problem="not valid JSON: ...")
"""

import json
import re
from dataclasses import dataclass

MAX_ROW_BYTES = 16 << 20
"""A longer line or CSV row is no training pair; the limit keeps a broken file from filling the memory."""

MAX_BLANK_LINES = 1_000_000
"""More of them in a row, and the file is taken to hold nothing else: such a file may never end."""

EXCERPT_CHARACTERS = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file.

    `number` counts from 1: the line in JSON Lines, the element of a JSON array, the record below a CSV header, the
    row of a Parquet file. `byte_offset` is where the row starts in the uncompressed file, None for Parquet.
    `problem` says why the row could not be read; `ends_file` that nothing behind it could be read either.
    """

    number: int
    byte_offset: int | None
    record: object
    raw: object
    problem: str | None = None
    ends_file: bool = False


def bad_utf8(error: UnicodeDecodeError) -> str:
    """The reason of a row that is not UTF-8 text."""
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} of the row; save it as UTF-8"


def excerpt(raw: object) -> str:
    """The beginning of a row, at most EXCERPT_CHARACTERS, with unprintable characters written as escapes."""
    if isinstance(raw, bytes):
        text = raw[: 4 * EXCERPT_CHARACTERS].decode("utf-8", errors="backslashreplace")
    elif isinstance(raw, str):
        text = raw[:EXCERPT_CHARACTERS]
    else:
        text = json.dumps(raw, ensure_ascii=False, default=repr)
    text = _UNPRINTABLE.sub(_escape, text[:EXCERPT_CHARACTERS])
    return text if len(text) < EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
