"""The rows of a query as people read them on a terminal: a table, or line by line where a table would be too wide.

    ┌──────────┬──────┐        ── row 1 ──────────
    │ recipe   │ rows │        recipe  paper
    ├──────────┼──────┤        rows    26
    │ paper    │   26 │
    └──────────┴──────┘

Nothing in a text acts on the terminal: control signs, and those that turn the reading direction, are shown as pictures
and escapes. What is shortened, and how much is left out, is said below.
"""

import itertools
import json
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size

from dagster_project.commands.terminal import plain

TABLE_ROWS, LINE_ROWS = 200, 20  # shown, where nobody says how many
_TEXT_WIDTH = 60  # of a column of a table
_NARROWEST = 12  # a text that must be cut shorter than this tells nothing
_LINE_CHARS = 400  # of a text that nobody asked to see whole
_HASH = re.compile(r"[0-9a-f]{32,}")
_HASH_CHARS = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """The first and last rows of a result; `left_out` lie between them."""

    columns: Sequence[str]
    first: Sequence[Sequence[object]]
    last: Sequence[Sequence[object]]
    left_out: int

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[object]], at_most: int) -> "Shown":
        """Read all rows and keep `at_most` of them: more of the beginning than of the end."""
        left = iter(rows)
        first = list(itertools.islice(left, at_most - at_most // 2))
        last: deque[Sequence[object]] = deque(maxlen=at_most // 2)
        later = 0
        for row in left:
            later += 1
            last.append(row)
        return cls(columns, first, list(last), later - len(last))

    def fewer(self, at_most: int) -> "Shown":
        """The same with at most so many rows."""
        here = [*self.first, *self.last]
        ends = at_most // 2
        if len(here) <= at_most:
            return self
        return Shown(self.columns, here[: at_most - ends], here[len(here) - ends :], self.total - at_most)

    @property
    def total(self) -> int:
        return len(self.first) + self.left_out + len(self.last)


def as_table(shown: Shown, width: int) -> str | None:
    """A table of at most `width` cells; None where its columns would be too narrow to be read."""
    texts = [[short(value) for value in row] for row in (*shown.first, *shown.last)]
    names = [plain(name) for name in shown.columns]
    widths = _widths(names, texts, width)
    if widths is None:
        return None
    numbers = [_is_number(shown, column) for column in range(len(names))]

    def line(cells: Sequence[str], aligned: Sequence[bool]) -> str:
        fitted = (_fit(cell, to, right) for cell, to, right in zip(cells, widths, aligned, strict=True))
        return f"│ {' │ '.join(fitted)} │"

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join("─" * (one + 2) for one in widths) + right

    body = [line(row, numbers) for row in texts]
    if shown.left_out:
        body.insert(len(shown.first), line(["·" for _ in names], numbers))
    head = [rule("┌", "┬", "┐"), line(names, [False] * len(names)), rule("├", "┼", "┤")]
    cut = any(text.endswith("…") for row in body for text in row.split(" │"))
    return "\n".join([*head, *body, rule("└", "┴", "┘"), _said(shown, cut)])


def as_lines(shown: Shown, width: int, *, whole: bool) -> str:
    """One value a line under a rule for each row; whole: with every sign of ids and texts."""
    names = [plain(name) for name in shown.columns]
    indent = max(map(cell_len, names), default=0) + 2
    lines: list[str] = []
    cut = False
    numbered = itertools.chain(
        enumerate(shown.first, start=1), enumerate(shown.last, start=len(shown.first) + shown.left_out + 1)
    )
    for number, row in numbered:
        if number == len(shown.first) + shown.left_out + 1 and shown.left_out:
            lines.append("·")
        lines.append(f"── row {number:,} ".ljust(width, "─"))
        for name, value in zip(names, row, strict=True):
            pieces = _wrapped(value, max(width - indent, 20), whole=whole)
            cut |= "…" in pieces[-1]
            lines.append(f"{set_cell_size(name, indent)}{pieces[0]}")
            lines += [" " * indent + piece for piece in pieces[1:]]
    return "\n".join([*lines, "─" * width, _said(shown, cut and not whole)])


def short(value: object) -> str:
    """A value in a table: an id by its beginning, a number by six digits, a time by its second."""
    if isinstance(value, float):
        return f"{value:.6g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    text = whole_text(value)
    if isinstance(value, str) and _HASH.fullmatch(value):
        return text[:_HASH_CHARS] + "…"
    return plain(text)


def whole_text(value: object) -> str:
    """A value as text; nothing is lost but the difference between NULL and the text `NULL`."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.hex() if isinstance(value, bytes) else str(value)


def _widths(names: Sequence[str], texts: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """How wide each column is, the widest cut first; None where they do not fit."""
    natural = [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)] if names else []
    least = [min(one, max(cell_len(name), _NARROWEST)) for name, one in zip(names, natural, strict=True)]
    room = width - 3 * len(names) - 1
    widths = [max(floor, min(one, _TEXT_WIDTH)) for floor, one in zip(least, natural, strict=True)]
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _fit(text: str, width: int, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def _is_number(shown: Shown, column: int) -> bool:
    values: list[Any] = [row[column] for row in (*shown.first, *shown.last) if row[column] is not None]
    return bool(values) and not any(isinstance(value, str | bool) for value in values)


def _wrapped(value: object, width: int, *, whole: bool) -> list[str]:
    """The lines of a value; its own line ends stay."""
    text = whole_text(value)
    if not whole and (isinstance(value, float | datetime) or _HASH.fullmatch(text)):
        return [short(value)]
    left_out = 0 if whole else max(len(text) - _LINE_CHARS, 0)
    lines = plain(text[: len(text) - left_out], lines=True).expandtabs(4).split("\n")
    pieces = [piece for line in lines for piece in _broken(line, width)]
    return [*pieces, f"… {left_out:,} more characters"] if left_out else pieces


def _broken(line: str, width: int) -> list[str]:
    """The line in pieces of at most `width` cells, broken between words where that can be."""
    pieces = [""]
    for word in re.findall(r"\s*\S+|\s+$", line):
        if cell_len(pieces[-1] + word) <= width:
            pieces[-1] += word
        else:
            pieces += chop_cells(word.lstrip(), width)
    return pieces if pieces[0] else pieces[1:] or [""]


def _said(shown: Shown, cut: bool) -> str:
    rows = f"{shown.total} row{'' if shown.total == 1 else 's'}"
    rows += f" ({shown.total - shown.left_out} shown)" if shown.left_out else ""
    return f"{rows}; … is cut: FORMAT=line shows all of it" if cut else rows
