"""The rules that stand once, in sql/macros/."""

import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import SQL_DIR, load_macros

CANDIDATES = ["original", "instruction", "response", "both"]


def values(lake: Lake, macro: str, *arguments: tuple[object, ...]) -> list[object]:
    """What the macro makes of each tuple of arguments."""
    with lake.connect() as connection:
        marks = ", ".join("?" * len(arguments[0]))
        rows = [connection.execute(f"select selection.{macro}({marks})", row).fetchall() for row in arguments]
    return [row[0][0] for row in rows]


def test_every_macro_is_tested() -> None:
    assert set(load_macros()) == {
        *(
            "base_of_twin",
            "candidate_names",
            "candidate_order",
            "guard_objection",
            "higher_wins",
            "lower_wins",
            "ppl",
            "ppl_ratio",
            "twin_of_base",
        )
    }


def test_perplexities(lake: Lake) -> None:
    assert values(lake, "ppl", (2.1972246, 2), (1, 0), (None, 2)) == [pytest.approx(3), None, None]
    assert values(lake, "ppl_ratio", (0, 0.6931472, 1), (0, None, 1)) == [pytest.approx(0.5), None]


@pytest.mark.parametrize(("macro", "sign"), [("lower_wins", 1), ("higher_wins", -1)])
def test_a_tie_and_a_null_keep_the_base(lake: Lake, macro: str, sign: int) -> None:
    ratios = [(0.7 * sign, 0.8 * sign), (0.8, 0.8), (0.9 * sign, 0.8 * sign), (None, 0.8), (0.9, None), (None, None)]
    assert values(lake, macro, *ratios) == [True, False, False, False, True, False]


def test_what_the_guard_says_of_a_rewrite(lake: Lake) -> None:
    rewrites = [(0.9, 0.5, 0.5), (1.0, 0.1, 0.5), (None, 0.1, 0.5), (0.9, None, 0.5), (0.9, 0.5, None), (0.9, 0.6, 0.5)]
    hard, unknown = "rewrite_too_hard", "guard_not_scored"
    assert values(lake, "guard_objection", *rewrites) == [None, hard, hard, unknown, unknown, "rewrite_off_topic"]


def test_twins_and_bases(lake: Lake) -> None:
    names = [(name,) for name in (*CANDIDATES, "else", None)]
    assert values(lake, "twin_of_base", *names) == ["response", "both", None, None, None, None]
    assert values(lake, "base_of_twin", *names) == [None, None, "original", "instruction", None, None]
    assert values(lake, "candidate_order", *names) == [1, 2, 3, 4, None, None]


def test_the_order_of_candidates_stands_once() -> None:
    in_one_list = "'original', 'instruction', 'response', 'both'"
    assert [path.stem for path in SQL_DIR.rglob("*.sql") if in_one_list in path.read_text()] == ["candidate_names"]
