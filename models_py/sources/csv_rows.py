r"""CSV files (RFC 4180: double quotes, a header), row by row, so that one bad row costs one row.

    instruction,input,output
    "Name three
    rivers.",,"Rhine, Nile, Volga"

Values are divided by what divides the header into names that are known: a comma, tab, semicolon or bar; a first line
`sep=;` says it. A header without such a name ends the file, for then no row of it could be read.

Fields may hold newlines. Quotes are read strictly: `"a"b` is a bad row and not silently `ab`. Where the quotes of a row
are broken, it is taken to end at the first line that makes their number even; a quote that is never closed ends the
file, for what stands behind it could be text or rows, and guessing would make pairs that nobody wrote.
The row number counts records below the header, as a spreadsheet does; rows of empty cells are skipped as blank lines
are, and so are the empty columns that spreadsheets leave at the right. A cell there that is filled makes a bad row.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from models_py.sources.opened import UTF8_BOM, Lines, open_bytes
from models_py.sources.row import MAX_BLANK_LINES, MAX_ROW_BYTES, Row, bad_utf8
from models_py.sources.values import names_of

_DELIMITERS = (",", "\t", ";", "|")
_SEPARATOR_LINE = re.compile(rb"sep=(.)\r?\n?", re.IGNORECASE | re.DOTALL)


def read_csv(path: Path, is_wanted: Callable[[str], bool], delimiters: Sequence[str] = _DELIMITERS) -> Iterator[Row]:
    """One row a record below the header. Memory: one record, of at most MAX_ROW_BYTES.

    is_wanted: tells the names of fields that can be read. delimiters: rather the first.
    """
    # The limit is csv's own global; it only ever grows here.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    with open_bytes(path) as file:
        records = _Records(Lines(file), delimiters[0])
        header: list[str] = []
        number = 0
        while not records.at_end:
            cells, problem = records.next()
            if records.blank_lines > MAX_BLANK_LINES:
                told = f"more than {MAX_BLANK_LINES:,} blank lines one upon the other"
                yield Row(number + 1, records.offset, None, b"", told, ends_file=True)
                return
            if not cells and not problem:  # a blank line, or the end
                continue
            if not header:
                if said := _SEPARATOR_LINE.fullmatch(records.raw().removeprefix(UTF8_BOM)):
                    records.delimiter = said.group(1).decode("latin-1")
                    delimiters = (records.delimiter,)
                    continue
                # What was wrong with it may be no more than the delimiter by which it was read.
                records.delimiter, header = _header(records.text(), is_wanted, delimiters)
                if header or not problem:
                    problem = records.not_utf8 or _header_problem(header, is_wanted)
                if problem:
                    yield Row(1, records.offset, None, records.raw(), f"the header: {problem}", ends_file=True)
                    return
                continue
            number += 1
            problem = problem or _row_problem(cells, header)
            named = ((name, cell) for name, cell in zip(header, cells, strict=False) if name)
            record = None if problem else dict(named)
            # A last row that stops in the middle: the file was cut off, and nobody knows how much is missing.
            is_cut = records.at_end or (len(cells) < len(header) and not records.raw().endswith((b"\n", b"\r")))
            yield Row(number, records.offset, record, records.raw(), problem, ends_file=is_cut and bool(problem))


def _header(text: str, is_wanted: Callable[[str], bool], delimiters: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter that makes most known names of a header, and the names; empty ones at the right are left out.

    No names: it can be read with none of the delimiters.
    """
    tried = [(delimiter, _cells(text, delimiter)) for delimiter in delimiters]
    delimiter, names = max(tried, key=lambda one: (sum(map(is_wanted, one[1])), bool(one[1])))
    while names and not names[-1].strip():
        names.pop()
    return delimiter, names


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _header_problem(names: Sequence[str], is_wanted: Callable[[str], bool]) -> str | None:
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        return f"the name {twice[0]!r} stands there more than once"
    if not any(map(is_wanted, names)):
        found = names_of(dict.fromkeys(names))
        return (
            f"no field that is known, found {found}; write a first line of names such as instruction, input, output, "
            "or set `fields` on the source"
        )
    return None


def _row_problem(cells: Sequence[str], header: Sequence[str]) -> str | None:
    if any(cells[len(header) :]) or len(cells) < len(header):
        return f"the row has {len(cells)} fields, the header {len(header)}"
    return None


class _RecordTooLongError(Exception):
    """A record runs on beyond any sensible length."""


class _Records:
    """The records of a file; remembers the bytes and the offset of the current one."""

    def __init__(self, lines: Lines, delimiter: str) -> None:
        self.offset = 0
        self.at_end = False
        self.delimiter = delimiter
        self.blank_lines = 0
        self._lines = lines
        self._taken: list[bytes] = []
        self._bytes_taken = self._quotes_taken = 0
        self._decode_error: UnicodeDecodeError | None = None

    def next(self) -> tuple[list[str], str | None]:
        """The next record's cells, and the reason when they are not to be used. No cells: a blank line or the end."""
        self.offset += self._bytes_taken
        self._bytes_taken = self._quotes_taken = 0
        self._taken = []
        self._decode_error = None
        try:
            cells = next(csv.reader(self, delimiter=self.delimiter, strict=True), [])
        except (csv.Error, _RecordTooLongError) as error:
            first_error = str(error)
            try:
                while self._quotes_taken % 2 and next(self, None) is not None:
                    pass
            except _RecordTooLongError as too_long:
                first_error = str(too_long)
            more = f" ({len(self._taken)} lines up to the next closing quote)" if len(self._taken) > 1 else ""
            return [], f"not valid CSV: {first_error}{more}"
        if self.not_utf8:
            return cells, self.not_utf8
        is_blank = not any(cells) and b'"' not in self.raw()
        self.blank_lines = self.blank_lines + 1 if is_blank else 0
        return [] if is_blank else cells, None

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> str:
        line = self._lines.readline(MAX_ROW_BYTES)
        if not line:
            self.at_end = True
            raise StopIteration
        self._bytes_taken += len(line)
        if self._bytes_taken > MAX_ROW_BYTES:
            self.at_end = True
            raise _RecordTooLongError(f"the record is longer than {MAX_ROW_BYTES} bytes")
        text = line.removeprefix(UTF8_BOM) if self.offset == 0 and not self._taken else line
        self._taken.append(line)
        self._quotes_taken += line.count(b'"')
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            self._decode_error = self._decode_error or error
            return text.decode("utf-8", errors="replace")

    @property
    def not_utf8(self) -> str | None:
        """Why the current record is no text, where it is none."""
        return None if self._decode_error is None else bad_utf8(self._decode_error)

    def raw(self) -> bytes:
        """The current record's bytes."""
        return b"".join(self._taken)

    def text(self) -> str:
        """The current record's text, without the mark at the beginning of a file."""
        return self.raw().removeprefix(UTF8_BOM).decode("utf-8", errors="replace")
