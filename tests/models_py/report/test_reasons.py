"""Every code that the selection views give has a sentence, and no sentence is of a code that they do not."""

import re

import pytest

from models_py.report.reasons import DROPPED, FIRST, SECOND
from tests.conftest import PROJECT

SQL = PROJECT / "sql"


def codes(file: str, case: str) -> set[str]:
    """What the CASE that ends with `end as <case>` in a file gives."""
    (body,) = re.findall(rf"case((?:(?!\bcase\b).)*?)end as {case}\b", (SQL / file).read_text(), re.DOTALL)
    return set(re.findall(r"(?:then|else) '(\w+)'", body))


def test_each_reason_of_the_first_choice_is_told() -> None:
    guard = set(re.findall(r"then '(\w+)'", (SQL / "macros" / "guard_objection.sql").read_text()))
    assert set(FIRST) == codes("instruction_choices.sql", "reason") | guard | {"rewrite_wins"}


def test_each_reason_of_the_second_choice_is_told() -> None:
    assert set(SECOND) == codes("response_choices.sql", "reason")


def test_each_reason_to_leave_a_pair_out_is_told() -> None:
    text = (SQL / "pair_decisions.sql").read_text()
    assert set(DROPPED) == codes("pair_decisions.sql", "gate") | set(
        re.findall(r"'(not_scored|policy|near_duplicate|below_cut)'", text)
    )


@pytest.mark.parametrize("reasons", [FIRST, SECOND])
def test_sentences_have_no_other_holes_than_the_two_statistics(reasons: dict[str, str]) -> None:
    assert {hole for told in reasons.values() for hole in re.findall(r"\{(\w+)\}", told)} == {"before", "after"}
