r"""JSON Lines and JSON arrays, row by row, so that one bad row costs one row.

JSON Lines: each line stands alone. Blank lines are skipped; the row number is the line number an editor shows.

JSON array: elements are decoded one by one from a window that moves over the file. Behind a broken element reading
goes on at the next object that begins with a key some element began with: `{"instruction":` cannot stand inside a
proper JSON string, whose quotes are escaped, so neither a missing quote nor a nested object leads astray. (While no
element was good yet, any object will do.) Where none follows, the broken element was the last one; if anything hints
that it was not, the file counts as cut off.

A missing comma between two objects and a comma before the closing bracket are forgiven: they cost no row.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from models_py.sources.row import MAX_ROW_BYTES, UTF8_BOM, Row, bad_utf8, open_bytes

_WINDOW_BYTES = 64 << 10
_LONGEST_TOKEN = 512
_SPACE = re.compile(r"[ \t\n\r]*")
_BLANKS = r"[ \t\n\r]{0,100}"
_FIRST_KEY = re.compile(rf'\{{{_BLANKS}"([^"\\]{{0,200}})"{_BLANKS}:')
_NEXT_OBJECT = re.compile(rf',{_BLANKS}\{{{_BLANKS}"')
_MAX_FIRST_KEYS = 20


def read_json(path: Path) -> Iterator[Row]:
    """A JSON array; a file that does not begin with `[` is read as JSON Lines, which many name .json."""
    with open_bytes(path) as file:
        head = file.read(4096).removeprefix(UTF8_BOM).lstrip()
    return read_json_array(path) if head.startswith(b"[") else read_json_lines(path)


def read_json_lines(path: Path) -> Iterator[Row]:
    """One row a line that is not blank. Memory: one line."""
    with open_bytes(path) as file:
        offset = 0
        number = 0
        while line := file.readline(MAX_ROW_BYTES):
            number += 1
            start = offset
            offset += len(line)
            if number == 1 and line.startswith(UTF8_BOM):
                line = line.removeprefix(UTF8_BOM)
                start = len(UTF8_BOM)
            if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
                while rest := file.readline(MAX_ROW_BYTES):
                    offset += len(rest)
                    if rest.endswith(b"\n"):
                        break
                yield Row(number, start, None, line, f"the line is longer than {MAX_ROW_BYTES} bytes")
                continue
            content = line.strip()
            if content:
                yield _line_row(number, start, content)


def _line_row(number: int, offset: int, line: bytes) -> Row:
    try:
        return Row(number, offset, _decoder.decode(line.decode("utf-8")), line)
    except UnicodeDecodeError as error:
        return Row(number, offset, None, line, bad_utf8(line, error))
    except (ValueError, RecursionError) as error:
        return Row(number, offset, None, line, _broken(error, 0))


def read_json_array(path: Path) -> Iterator[Row]:
    """One row an element. Memory: a window of the file, which grows to hold one element of at most MAX_ROW_BYTES.

    Time is linear in the file's size, however broken it is: reading resumes behind the place where it failed.
    """
    with open_bytes(path) as file:
        window = _Window(file)
        number = 0
        first_keys: set[str] = set()
        while window.skip_space():
            number += 1
            if window.text[window.position] == "]":
                window.position += 1
                if window.skip_space():
                    yield window.row(number, "there is text behind the end of the JSON array", ends_file=True)
                return
            try:
                record, end = window.decode()
            except (ValueError, RecursionError) as error:
                offset, raw, problem = window.offset, window.raw(), _broken(error, window.position)
                rest = window.find_object(first_keys, error) if isinstance(error, json.JSONDecodeError) else "cut off"
                if rest == "cut off":
                    problem += "; the file cannot be read any further"
                yield Row(number, offset, None, raw, problem, ends_file=rest == "cut off")
                if rest != "found":
                    return
                continue
            if len(first_keys) < _MAX_FIRST_KEYS and (key := _FIRST_KEY.match(window.text, window.position)):
                first_keys.add(key.group(1))
            offset, raw = window.offset, window.text[window.position : end].encode("latin-1")
            # ASCII means the same in Latin-1 and UTF-8; all else is decoded again from the bytes.
            yield Row(number, offset, record, raw) if raw.isascii() else _line_row(number, offset, raw)
            window.position = end
            if window.skip_space() and window.text[window.position] == ",":
                window.position += 1
        yield window.row(number + 1, "the JSON array is not closed: the file breaks off here", ends_file=True)


class _Window:
    """A stretch of a JSON array's file that moves forward, as Latin-1: one character a byte, so nothing can fail.

    JSON's own signs are ASCII and never part of a longer UTF-8 character.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text_offset = 0
        self._at_end = False
        self.text = ""
        self.position = 0
        self._read_on()
        if self.text.startswith(UTF8_BOM.decode("latin-1")):
            self.position = len(UTF8_BOM)
        self.skip_space()
        self.position += 1  # the opening bracket

    @property
    def offset(self) -> int:
        """The byte offset in the file at which reading stands."""
        return self._text_offset + self.position

    def raw(self) -> bytes:
        """The next bytes, for an excerpt."""
        return self.text[self.position : self.position + 1000].encode("latin-1")

    def row(self, number: int, problem: str, *, ends_file: bool) -> Row:
        """A bad row at this position."""
        return Row(number, self.offset, None, self.raw(), problem, ends_file)

    def skip_space(self) -> bool:
        """Move to the next sign; False at the end of the file."""
        while True:
            blank = _SPACE.match(self.text, self.position)
            self.position = blank.end() if blank else self.position
            if self.position < len(self.text):
                return True
            if self._at_end:
                return False
            self._read_on()

    def decode(self) -> tuple[object, int]:
        """The element here and its end in `text`. Raises ValueError or RecursionError when it is broken."""
        while True:
            try:
                record, end = _decoder.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _LONGEST_TOKEN
                if self._at_end or not is_cut:
                    raise
            else:
                # A number that touches the window's end may go on behind it.
                if end < len(self.text) or self._at_end:
                    return record, end
            if len(self.text) - self.position > MAX_ROW_BYTES:
                raise ValueError(f"the element is longer than {MAX_ROW_BYTES} bytes")
            self._read_on()

    def find_object(
        self, first_keys: Collection[str], error: json.JSONDecodeError
    ) -> Literal["found", "was last", "cut off"]:
        """Move to the next object behind the error that begins with one of these keys (with any key if none is known).

        `was last`: the array is closed, and no other object stands before its end.
        """
        wanted = "|".join(map(re.escape, sorted(first_keys))) or r'[^"\\]{1,200}'
        pattern = re.compile(rf'\{{{_BLANKS}"(?:{wanted})"{_BLANKS}:')
        others = 0
        # A string that was not closed ends with the first quote of the next object, two signs back.
        self.position = max(error.pos - 2, self.position + 1)
        while True:
            if match := pattern.search(self.text, self.position):
                self.position = match.start()
                return "found"
            others += len(_NEXT_OBJECT.findall(self.text, self.position))
            if self._at_end:
                is_closed = self.text.rstrip().endswith("]")
                return "was last" if is_closed and not others else "cut off"
            self.position = max(self.position, len(self.text) - _LONGEST_TOKEN)
            self._read_on()

    def _read_on(self) -> None:
        """Drop what lies behind the position and read at least as much again as is left."""
        left = self.text[self.position :]
        block = self._file.read(max(_WINDOW_BYTES, len(left)))
        self._text_offset += self.position
        self.position = 0
        self.text = left + block.decode("latin-1")
        self._at_end = not block


def _broken(error: Exception, start: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg.removesuffix(' at')} at position {error.pos - start + 1}"
    if isinstance(error, RecursionError):
        return "not readable JSON: nested too deeply"
    return f"not readable JSON: {error}"


def _whole_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python refuses integers of thousands of digits
        return float(digits)


_decoder = json.JSONDecoder(parse_int=_whole_number)
