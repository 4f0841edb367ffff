r"""CSV files (RFC 4180: commas, double quotes, a header), row by row, so that one bad row costs one row.

    instruction,input,output
    "Name three
    rivers.",,"Rhine, Nile, Volga"

Fields may hold newlines. Quotes are read strictly: `"a"b` is a bad row and not silently `ab`. Where the quotes of a row
are broken, it is taken to end at the first line that makes their number even; a quote that is never closed ends the
file, for what stands behind it could be text or rows, and guessing would make pairs that nobody wrote.
The row number counts records below the header, as a spreadsheet does.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models_py.sources.row import MAX_ROW_BYTES, UTF8_BOM, Row, bad_utf8, open_bytes


def read_csv(path: Path) -> Iterator[Row]:
    """One row a record below the header. Memory: one record, of at most MAX_ROW_BYTES."""
    # The limit is csv's own global; it only ever grows here.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    with open_bytes(path) as file:
        lines = _Lines(file)
        header: list[str] = []
        number = 0
        while not lines.at_end:
            cells, problem = _next_record(lines)
            if not cells and not problem:  # a blank line, or the end
                continue
            if not header:
                header = cells
                problem = problem or _header_problem(header)
                if problem:
                    yield Row(1, lines.offset, None, lines.raw(), f"the header: {problem}", ends_file=True)
                    return
                continue
            number += 1
            if not problem and len(cells) != len(header):
                problem = f"the row has {len(cells)} fields, the header {len(header)}"
            record = None if problem else dict(zip(header, cells, strict=True))
            yield Row(number, lines.offset, record, lines.raw(), problem, ends_file=lines.at_end and bool(problem))


def _next_record(lines: "_Lines") -> tuple[list[str], str | None]:
    """The next record's cells, and the reason when they are not to be used. No cells: a blank line or the end."""
    lines.begin_record()
    try:
        cells = next(csv.reader(lines, strict=True), [])
    except (csv.Error, _RecordTooLongError) as error:
        first_error = str(error)
        try:
            while lines.raw().count(b'"') % 2 and next(lines, None) is not None:
                pass
        except _RecordTooLongError as too_long:
            first_error = str(too_long)
        more = f" ({len(lines.taken)} lines up to the next closing quote)" if len(lines.taken) > 1 else ""
        return [], f"not valid CSV: {first_error}{more}"
    if lines.decode_error is not None:
        return cells, bad_utf8(*lines.decode_error)
    return cells, None


def _header_problem(names: list[str]) -> str | None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    return f"the name {twice[0]!r} stands there more than once" if twice else None


class _RecordTooLongError(Exception):
    """A record runs on beyond any sensible length."""


class _Lines:
    """The lines of a file for csv.reader, which remember the bytes and the offset of the current record."""

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self.taken: list[bytes] = []
        self.at_end = False
        self.decode_error: tuple[bytes, UnicodeDecodeError] | None = None
        self._file = file
        self._bytes_taken = 0

    def begin_record(self) -> None:
        self.offset += self._bytes_taken
        self._bytes_taken = 0
        self.taken = []
        self.decode_error = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_ROW_BYTES)
        if not line:
            self.at_end = True
            raise StopIteration
        self._bytes_taken += len(line)
        if self._bytes_taken > MAX_ROW_BYTES:
            self.at_end = True
            raise _RecordTooLongError(f"the record is longer than {MAX_ROW_BYTES} bytes")
        self.taken.append(line)
        text = line.removeprefix(UTF8_BOM) if self.offset == 0 and len(self.taken) == 1 else line
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            self.decode_error = self.decode_error or (text, error)
            return text.decode("utf-8", errors="replace")

    def raw(self) -> bytes:
        """The current record's bytes."""
        return b"".join(self.taken)
