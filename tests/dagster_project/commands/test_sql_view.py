"""Rows as tables and lines of a terminal."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from rich.cells import cell_len

from dagster_project.commands.sql_view import Shown, as_lines, as_table, short

ID = "0123456789abcdef" * 4


def shown(*rows: Sequence[object], columns: Sequence[str] | None = None, at_most: int = 10) -> Shown:
    return Shown.of(columns or [f"c{number}" for number in range(len(rows[0]))], rows, at_most)


def test_a_table_is_as_wide_as_its_texts() -> None:
    assert as_table(shown(("a", 1, None), ("bb", 22, True), columns=["name", "n", "flag"]), 80) == (
        "┌──────┬────┬──────┐\n"
        "│ name │ n  │ flag │\n"
        "├──────┼────┼──────┤\n"
        "│ a    │  1 │ NULL │\n"
        "│ bb   │ 22 │ true │\n"
        "└──────┴────┴──────┘\n"
        "2 rows"
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize(
    "text",
    ["word " * 40, "日本語テキスト" * 20, "🙂" * 60, "é" * 90, "x" * 500],
    ids=["words", "wide", "emoji", "accents", "unbroken"],
)
def test_no_line_is_wider_than_the_terminal(width: int, text: str) -> None:
    rows = shown((ID, text, 1.5, text), (ID, "", None, text))
    table = as_table(rows, width)
    lines = as_lines(rows, width, whole=False)
    for view in (table, lines):
        assert view is None or max(map(cell_len, view.splitlines())) <= width
    assert table is None or "… is cut: FORMAT=line" in table
    assert text.strip() in as_lines(rows, 10_000, whole=True)


def test_a_table_that_would_cut_all_texts_to_nothing_is_none() -> None:
    assert as_table(shown(tuple("twenty letters or so" for _ in range(9))), 100) is None
    assert as_table(shown(tuple(range(15))), 100) is not None


def test_the_middle_is_left_out_and_counted() -> None:
    rows = shown(*((number,) for number in range(1000)), columns=["i"], at_most=5)
    table = str(as_table(rows, 80)).splitlines()
    assert [line.strip("│ ") for line in table[3:-2]] == ["0", "1", "2", "·", "998", "999"]
    assert table[-1] == "1000 rows (5 shown)"
    lines = as_lines(rows.fewer(2), 80, whole=False)
    assert [line.split()[2] for line in lines.splitlines() if line.startswith("── row")] == ["1", "1,000"]
    assert lines.endswith("1000 rows (2 shown)")


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 7])
def test_all_rows_are_counted_however_many_are_shown(count: int) -> None:
    rows = Shown.of(["i"], [(number,) for number in range(count)], 5)
    assert (rows.total, len(rows.first) + len(rows.last)) == (count, min(count, 5))
    assert (rows.fewer(2).total, rows.fewer(2).left_out) == (count, max(count - 2, 0))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ID, "0123456789ab…"),
        ("0123456789abcdef", "0123456789abcdef"),
        (0.1 + 0.2, "0.3"),
        (0.0, "0"),
        (1e-9, "1e-09"),
        (123456789.25, "123456789.25"),
        (float("nan"), "nan"),
        (12345678901234567890, "12345678901234567890"),
        (datetime(2026, 1, 2, 3, 4, 5, 678), "2026-01-02 03:04:05"),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        (b"\x00\xff", "00ff"),
        ("two\nlines\ttab", "two␊lines␉tab"),
        ("\x1b]8;;http://attacker.example\x07link", "␛]8;;http://attacker.example␇link"),
        ("\u202egnp.exe \ufeff\u2066\U000e0041\x9b31m", "\\u202egnp.exe \\ufeff\\u2066\\ue0041\\u009b31m"),
        ("\ud800 lone", "\\ud800 lone"),
        ("👩‍👩‍👧 क्‍ष نص", "👩‍👩‍👧 क्‍ष نص"),
    ],
)
def test_values_are_short_and_act_on_nothing(value: object, text: str) -> None:
    assert short(value) == text


def test_lines_keep_the_lines_of_a_text_and_say_what_is_missing() -> None:
    view = as_lines(shown(("first\nsecond", ID, "x" * 1000), columns=["text", "id", "long"]), 50, whole=False)
    assert "text  first\n      second\nid    0123456789ab…\nlong  xxx" in view
    assert "      … 600 more characters\n" in view
    assert ID in as_lines(shown((ID,)), 100, whole=True)
