"""One row as a file holds it, before anybody asks whether it is a pair.

A reader yields a `Row` for every row it meets, good or bad, and never raises for what a row contains:

    Row(number=3, byte_offset=812, record={"instruction": ...}, raw=b'{"instruction": ...}')
    Row(number=4, byte_offset=990, record=None, raw=b'{"instr', problem="not valid JSON: ...")
"""

import gzip
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MAX_ROW_BYTES = 16 << 20
"""A longer line or CSV row is no training pair; the limit keeps a broken file from filling the memory."""

EXCERPT_CHARACTERS = 200
UTF8_BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
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


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unpacked when they are gzip (told by the first two bytes, not by the name)."""
    file = path.open("rb")
    if file.peek(2)[:2] == _GZIP_MAGIC:
        # GzipFile does not close a file object it was given; reading through its own keeps one owner.
        file.close()
        return cast(BinaryIO, io.BufferedReader(gzip.GzipFile(path)))
    return file


def bad_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    """The reason of a row that is not UTF-8 text."""
    hint = "; the file seems to be UTF-16" if raw.startswith(_UTF16_MARKS) else ""
    found = f"byte 0x{error.object[error.start]:02x} at byte {error.start + 1} of the row"
    return f"not UTF-8: {found}{hint}; save it as UTF-8"


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
