"""Which of two answers to one instruction is preferred, and which comparisons prefer none."""

from typing import Any

import pytest

from dagster_project.lakehouse.lake import Lake
from tests.sql.story import Story, Text

FAILED = Text(ifd=None, r_ifd=None, status="not_finite")


def preferred(lake: Lake, columns: str) -> list[tuple[Any, ...]]:
    return lake.read(f"select {columns} from selection.preference_pairs order by pair_id, base").rows()


@pytest.fixture
def story(lake: Lake) -> Story:
    story = Story(lake)
    story.recipe("paper", "paper")
    return story


def test_the_lower_reversed_ifd_is_chosen_whoever_wrote_it(story: Story) -> None:
    story.pair("taken", Text(ifd=0.5, r_ifd=0.9), "refused", response=Text(ifd=0.7, r_ifd=0.6))
    story.pair("vetoed", Text(ifd=0.5, r_ifd=0.4), "refused", response=Text(ifd=0.7, r_ifd=0.6))
    story.pair("rewritten", Text(ifd=0.5), Text(ifd=0.6, r_ifd=0.9), both=Text(ifd=0.7, r_ifd=0.3))
    lake = story.tell()
    texts = "pair_id, base, instruction, chosen, rejected"
    assert preferred(lake, texts) == [
        ("rewritten", "instruction", "x' rewritten", "y'' rewritten both", "y' rewritten"),
        ("taken", "original", "x taken", "y'' taken response", "y taken"),
        ("vetoed", "original", "x vetoed", "y vetoed", "y'' vetoed response"),
    ]
    assert preferred(lake, "pair_id, chosen_candidate, rejected_candidate, reason") == [
        ("rewritten", "both", "instruction", "rewrite_wins"),
        ("taken", "response", "original", "rewrite_wins"),
        ("vetoed", "original", "response", "rewrite_vetoed"),
    ]
    ratios = [
        f"round({name}, 6)" for name in ("r_ifd_chosen", "r_ifd_rejected", "ifd_chosen", "ifd_rejected", "margin")
    ]
    assert preferred(lake, f"pair_id, {', '.join(ratios)}")[1:] == [
        ("taken", 0.6, 0.9, 0.7, 0.5, 0.3),
        ("vetoed", 0.4, 0.6, 0.5, 0.7, 0.2),
    ]


def test_what_prefers_nothing_has_no_row(story: Story) -> None:
    story.pair("tie", Text(r_ifd=0.5), "refused", response=Text(r_ifd=0.5))
    story.pair("no_rewrite", Text(), "refused", response="refused")
    story.pair("base_failed", Text(r_ifd=None), "refused", response=Text(r_ifd=0.5))
    story.pair("rewrite_failed", Text(), "refused", response=FAILED)
    story.pair("neither", FAILED, "refused", response=Text(r_ifd=0.5))
    story.pair("awaited", Text(r_ifd=0.9), "refused", response=Text(r_ifd=0.5))
    scores = story.rows["scoring.chosen_scores"]
    story.rows["scoring.chosen_scores"] = [row for row in scores if row["content_id"] != "awaited-response"]
    assert preferred(story.tell(), "pair_id") == []
    why = story.lake.read("select pair_id, reason from selection.response_choices order by pair_id").rows()
    assert why == [
        ("awaited", "awaiting_scores"),
        ("base_failed", "awaiting_scores"),
        ("neither", "not_scored"),
        ("no_rewrite", "no_rewrite"),
        ("rewrite_failed", "rewrite_not_scored"),
        ("tie", "tie"),
    ]


def test_where_both_bases_were_reflected_each_is_a_comparison(lake: Lake) -> None:
    story = Story(lake, response_reflection="all")
    story.recipe("paper", "paper")
    story.recipe("longest", "longest")
    story.pair("a", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.6, r_ifd=0.2), response=Text(r_ifd=0.3), both=Text(r_ifd=0.4))
    assert preferred(story.tell(), "pair_id, base, chosen_candidate, reason") == [
        ("a", "instruction", "instruction", "rewrite_vetoed"),
        ("a", "original", "response", "rewrite_wins"),
    ]
