r"""JSON in every layout that files have, row by row, so that one bad row costs one row. Told by the file's beginning:

    lines      {"instruction": ...}\n{"instruction": ...}      each line stands alone; the row number is the line's
    array      [{"instruction": ...}, ...]                     in one line or many
    values     {\n"instruction": ...\n}\n{ ...                  one object over many lines, or one behind the other (jq)
    wrapped    {"version": 1, "data": [{...}, ...]}            one list of rows in an object that is none itself

Lines: blank ones are skipped. All other layouts: elements are decoded one by one from a window that moves over the
file. Behind a broken element reading goes on at the next object that begins with a key some element began with:
`{"instruction":` cannot stand inside a proper JSON string, whose quotes are escaped, so neither a missing quote nor a
nested object leads astray. (While no element was good yet, any object will do.) Where none follows, the broken element
was the last one; if anything hints that it was not, the file counts as cut off.

A missing comma between two objects and a comma before the closing bracket are forgiven: they cost no row. A key that
stands twice in an object makes a bad row: which of the two was meant nobody knows.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from models_py.sources.fields import Wanted
from models_py.sources.json_decoder import JsonDecoder
from models_py.sources.opened import HEAD_BYTES, UTF8_BOM, Lines, UnreadableError, open_bytes
from models_py.sources.row import MAX_BLANK_LINES, MAX_ROW_BYTES, Row, bad_utf8

_WINDOW_BYTES = 64 << 10
_LONGEST_TOKEN = 512
_MOST_PASSED_OVER = 16  # times MAX_ROW_BYTES: a line that is longer has no end
_BLANK = " \t\n\r"  # JSON's; Python's own, and its ends of lines, are other letters' bytes too
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE = re.compile(r"[^\n\r]+")
_BLANKS = r"[ \t\n\r]{0,100}"
_FIRST_KEY = re.compile(rf'\{{{_BLANKS}"([^"\\]{{0,200}})"{_BLANKS}:')
_NEXT_OBJECT = re.compile(rf',{_BLANKS}\{{{_BLANKS}"')
_MAX_FIRST_KEYS = 20
# An object up to its first list of objects: `{"version": 1, "data": [{`; of what stands before, only plain values.
_KEY = r'"([^"\\]{0,200})"\s*:\s*'
_BEFORE_LIST = re.compile(rf'\{{\s*((?:{_KEY}(?:"[^"\\]{{0,1000}}"|[\w.+-]{{1,40}})\s*,\s*){{0,20}}){_KEY}\[\s*\{{')
_NAME = re.compile(_KEY)

Layout = Literal["lines", "array", "values", "wrapped"]


def read_json(path: Path, wanted: Wanted) -> Iterator[Row]:
    """The rows of a JSON file of any layout, whatever its name says. Memory: a window of the file, one row."""
    with open_bytes(path) as file:
        layout = layout_of(file.peek(HEAD_BYTES), wanted, partial(_beginning, path))
        yield from _read_lines(file) if layout == "lines" else _read_elements(file, layout, wanted)


def _beginning(path: Path) -> bytes:
    """As much of the file as one row may be long."""
    pieces: list[bytes] = []
    left = MAX_ROW_BYTES
    with open_bytes(path) as file, suppress(UnreadableError):  # whoever reads the rows is told
        while left > 0 and (piece := file.read1(left)):
            pieces.append(piece)
            left -= len(piece)
    return b"".join(pieces)


def layout_of(head: bytes, wanted: Wanted, longer: Callable[[], bytes] | None = None) -> Layout:
    """What a file is that begins so. longer: gives more of it where that is too short to tell; None = it is all."""
    text = head.removeprefix(UTF8_BOM).decode("latin-1").lstrip(_BLANK)
    if text[:1] not in ("[", "{"):
        return "lines"
    lines = (line.group().strip(_BLANK) for line in _LINE.finditer(text))
    first, *others = islice(filter(None, lines), 2)
    is_object = text[0] == "{"
    if others and (_is_json(first) or (is_object and _are_lines(first, others[0]))):
        return "lines"
    if not others and longer is not None:
        return layout_of(longer(), wanted)
    return _layout_of_object(text, wanted, longer, in_lines=bool(others)) if is_object else "array"


def _layout_of_object(text: str, wanted: Wanted, longer: Callable[[], bytes] | None, *, in_lines: bool) -> Layout:
    is_row: Layout = "values" if in_lines else "lines"
    found = _BEFORE_LIST.match(text)
    if found is None or any(map(wanted.tells_a_row, _names_in(found))):
        return is_row
    whole = _first_object(text)
    if whole is None and longer is not None:
        return layout_of(longer(), wanted)
    # What is longer than a row may be, or broken, is none.
    return is_row if any(map(wanted.tells_a_row, whole or ())) else "wrapped"


def _are_lines(first: str, second: str) -> bool:
    """Whether a broken line is a broken row, and not the beginning of one that goes on in the next line."""
    if first.endswith(",") and _is_json(first[:-1]):  # rows of an array without its brackets
        return False
    if first.endswith("{") and not second.startswith(('"', "}")):
        return True
    return _is_json(second) or not _stops(first)


def _names_in(match: re.Match[str]) -> list[str]:
    return [_utf8(name) for name in (*_NAME.findall(match.group(1)), match.group(match.lastindex or 0))]


def _first_object(text: str) -> dict[str, object] | None:
    """The object that a text begins with; None where it is broken, or goes on behind the text's end."""
    try:
        found, _, _ = JsonDecoder().raw_decode(_utf8(text), 0)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _utf8(text: str) -> str:
    """What a text says that was read as Latin-1."""
    return text.encode("latin-1").decode("utf-8", errors="replace")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _stops(line: str, *, also_in_a_string: bool = False) -> bool:
    """Whether a line breaks off between two of JSON's signs, as those of an indented file do, or in a string too."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        in_string = error.msg.startswith("Unterminated string")
        return also_in_a_string if in_string else error.pos >= len(line)
    except (ValueError, RecursionError):
        return False
    return False


def _read_lines(file: "BufferedReader[Any]") -> Iterator[Row]:
    lines, decoder = Lines(file), JsonDecoder()
    offset = number = blank = 0
    while line := lines.readline(MAX_ROW_BYTES):
        number += 1
        start = offset
        offset += len(line)
        if number == 1 and line.startswith(UTF8_BOM):
            line = line.removeprefix(UTF8_BOM)
            start = len(UTF8_BOM)
        if len(line) >= MAX_ROW_BYTES and not line.endswith((b"\n", b"\r")):
            for _ in range(_MOST_PASSED_OVER):
                rest = lines.readline(MAX_ROW_BYTES)
                offset += len(rest)
                if len(rest) < MAX_ROW_BYTES or rest.endswith((b"\n", b"\r")):
                    break
            else:
                yield Row(number, start, None, line, "the line does not end; there are no rows in it", ends_file=True)
                return
            yield Row(number, start, None, line, f"the line is longer than {MAX_ROW_BYTES} bytes")
            continue
        content = line.strip()
        blank = 0 if content else blank + 1
        if content:
            row = _line_row(decoder, number, start, content)
            yield _cut_off(row) if row.record is None and line[-1:] not in (b"\n", b"\r") else row
        elif blank > MAX_BLANK_LINES:
            yield Row(number, start, None, b"", f"more than {MAX_BLANK_LINES:,} blank lines one upon the other", True)
            return


def _cut_off(last: Row) -> Row:
    """The last row; one that stops in the middle says that the file does."""
    line = bytes(last.raw).decode("utf-8", errors="replace") if isinstance(last.raw, bytes) else ""
    if not line.startswith(("{", "[")) or not _stops(line, also_in_a_string=True):
        return last
    return replace(last, problem=f"{last.problem}; the file breaks off here", ends_file=True)


def _line_row(decoder: JsonDecoder, number: int, offset: int, line: bytes) -> Row:
    try:
        record, problem = decoder.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Row(number, offset, None, line, bad_utf8(error))
    except (ValueError, RecursionError) as error:
        return Row(number, offset, None, line, _broken(error, 0))
    return Row(number, offset, record, line, problem)


def _read_elements(file: "BufferedReader[Any]", layout: Layout, wanted: Wanted) -> Iterator[Row]:
    """One row an element. Memory: a window of the file, which grows to hold one element of at most MAX_ROW_BYTES.

    Time is linear in the file's size, however broken it is: reading resumes behind the place where it failed.
    """
    window = _Window(file, layout)
    number = 0
    first_keys: set[str] = set()
    while window.skip_space():
        number += 1
        if window.text[window.position] == "]" and layout != "values":
            window.position += 1
            if problem := window.problem_behind_the_end(wanted):
                yield window.row(number, problem, ends_file=True)
            return
        try:
            record, end, problem = window.decode()
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
        yield (
            Row(number, offset, record, raw, problem)
            if raw.isascii()
            else _line_row(window.decoder, number, offset, raw)
        )
        window.position = end
        if window.skip_space() and window.text[window.position] == ",":
            window.position += 1
    if layout != "values":
        yield window.row(number + 1, "the JSON array is not closed: the file breaks off here", ends_file=True)


class _Window:
    """A stretch of a JSON file that moves forward, as Latin-1: one character a byte, so nothing can fail.

    JSON's own signs are ASCII and never part of a longer UTF-8 character.
    """

    def __init__(self, file: "BufferedReader[Any]", layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self.decoder = JsonDecoder()
        self._text_offset = 0
        self._at_end = False
        self.text = ""
        self.position = 0
        self._read_on()
        if self.text.startswith(UTF8_BOM.decode("latin-1")):
            self.position = len(UTF8_BOM)
        self.skip_space()
        if layout == "array":
            self.position += 1  # the opening bracket
        elif layout == "wrapped" and (before := _BEFORE_LIST.match(self.text, self.position)):
            self.position = before.end() - 1  # the first object

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

    def problem_behind_the_end(self, wanted: Wanted) -> str | None:
        """What is wrong with the rest of the file, behind the closing bracket of the list of rows."""
        if not self.skip_space():
            return "the JSON object is not closed: the file breaks off here" if self._layout == "wrapped" else None
        if self._layout == "array":
            return "there is text behind the end of the JSON array"
        while len(self.text) - self.position <= MAX_ROW_BYTES and not self._at_end:
            self._read_on()
        try:
            beside = json.loads("{" + _utf8(self.text[self.position :]).removeprefix(","))
        except (ValueError, RecursionError):
            return "there is text behind the list of rows that is no JSON"
        others = [
            name for name, value in beside.items() if (isinstance(value, list) and value) or wanted.tells_a_row(name)
        ]
        if not others:
            return None
        named = ", ".join(map(repr, others[:5]))
        return f"beside the list of rows that was read there is also {named}; write each to a file of its own"

    def decode(self) -> tuple[object, int, str | None]:
        """The element here, its end in `text`, and what is wrong with it where it can be read but not be used.

        Raises ValueError or RecursionError when it is broken.
        """
        while True:
            try:
                record, end, problem = self.decoder.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _LONGEST_TOKEN
                if self._at_end or not is_cut:
                    raise
            else:
                # A number that touches the window's end may go on behind it.
                if end < len(self.text) or self._at_end:
                    return record, end, problem
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
                is_closed = self.text.rstrip().endswith("]" if self._layout == "array" else "}")
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
