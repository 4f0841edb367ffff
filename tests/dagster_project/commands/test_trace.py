"""`make trace`: one pair from its line to the checkpoints that saw it, also when its line is gone."""

import argparse
import io

import pytest
from rich.console import Console

from dagster_project.commands.trace import pairs_meant, print_trace
from dagster_project.lakehouse.lake import Commit, Lake
from models_py.errors import UserError
from tests.support.frozen import change, freeze, tell, train


@pytest.fixture
def told(lake: Lake) -> Lake:
    return tell(lake)


def meant(lake: Lake, **asked: object) -> list[str]:
    nothing = {"pair": "", "file": "", "row": None, "recipe": "", "rank": None}
    return pairs_meant(lake, argparse.Namespace(**(nothing | asked)))[0]


def said(lake: Lake, pair: str) -> str:
    out = io.StringIO()
    print_trace(lake, pair, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_a_kept_pair_is_told_from_its_line_to_its_checkpoint(told: Lake) -> None:
    version = freeze(told)
    train(told, version)
    told.append(
        {"evaluation.verdicts": [{"judge": "gpt", "model_1": "c0ffee000001", "model_2": "base", "status": "ok"}]},
        Commit("a verdict"),
    )
    text = said(told, "a")
    for line in (
        "Pair a  pairs.jsonl, row 1 (source s)",
        "first choice: instruction (rewrite_wins). IFD 0.2000 → 0.9000, the higher one wins.",
        "second choice: both (rewrite_wins). r-IFD 0.9000 → 0.3000, the lower one wins.",
        "  paper               rank 1, both, IFD 0.8000, r-IFD 0.3000",
        f"  paper               {version}, rank 1, both, frozen",
        ", selected now",
        "requests a-i, a-both",
        "checkpoints c0ffee000001, in 1 verdicts",
    ):
        assert line in text
    assert text.index("first choice") < text.index("second choice") < text.index("In the recipes")


def test_a_dropped_pair_says_why(told: Lake) -> None:
    text = said(told, "d")
    assert "dropped: policy" in text
    assert "first reflection, refused" in text
    assert text.rstrip().endswith("In frozen training sets\n  none")


def test_a_pair_that_could_not_be_scored_says_why(told: Lake) -> None:
    failed = "status = 'prompt_too_long', answer_nll_given_instruction = null, reason = '754 tokens of 512'"
    change(told, f"update scoring.instruction_scores set {failed} where content_id = 'd'")
    assert "dropped: not_scored (prompt_too_long: 754 tokens of 512)" in said(told, "d")


def test_a_pair_whose_line_is_gone_is_told_as_it_was(told: Lake) -> None:
    version = freeze(told)
    train(told, version)
    change(told, "delete from raw.raw_pairs where pair_id = 'b'")
    freeze(told)
    text = said(told, "b")
    assert "row 2 (source s), as it was at snapshot" in text
    assert "the sources have it no more" in text
    assert "Now, " not in text
    assert f"{version}, rank 2" in text
    told.compact(set())
    lost = said(told, "b")
    assert "its text is lost: the snapshots that held it were expired" in lost
    assert f"{version}, rank 2" in lost
    assert "from pairs.jsonl, row 2 (source s)" in lost


def test_a_line_is_found_as_it_is_and_as_it_was(told: Lake) -> None:
    freeze(told)
    change(told, "update raw.raw_pairs set source_row = 9 where pair_id = 'b'")
    assert meant(told, file="pairs.jsonl", row=9) == ["b"]
    assert meant(told, file="pairs.jsonl", row=2) == ["b"]
    assert meant(told, recipe="paper", rank=1) == ["a"]


@pytest.mark.parametrize(
    ("asked", "told_of"),
    [
        ({}, "Which pair: PAIR="),
        ({"pair": "zzzz"}, "PAIR=zzzz: no pair of this lake has an id that begins so"),
        ({"pair": "a"}, r"at least 4 characters"),
        ({"file": "pair.jsonl", "row": 1}, r"FILE: 'pair\.jsonl' is not a file that pairs came from.*pairs\.jsonl"),
        ({"file": "pairs.jsonl", "row": 77}, r"ROW=77: no pair of this lake came from that row.*There is no such row"),
        ({"recipe": "papr", "rank": 1}, "RECIPE: 'papr' is not a recipe of the profile"),
        ({"recipe": "paper", "rank": 9}, "RANK=9: recipe paper keeps 3 rows"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(told: Lake, asked: dict[str, object], told_of: str) -> None:
    with pytest.raises(UserError, match=told_of):
        meant(told, **asked)


def test_a_line_that_repeats_another_is_told_as_that_pair(told: Lake) -> None:
    asked = argparse.Namespace(pair="", file="pairs.jsonl", row=77, recipe="", rank=None)
    found = pairs_meant(told, asked, lambda files: ["b", "unknown"] if files == ["pairs.jsonl"] else [])
    assert found == (["b"], "Row 77 repeats what came before it:\n")
    with pytest.raises(UserError, match="`limit` or `sample` of the source leaves it out"):
        pairs_meant(told, asked, lambda _: ["unknown"])


def test_a_line_that_is_no_pair_says_why(told: Lake) -> None:
    row = {"source": "s", "file": "pairs.jsonl", "source_row": 7, "reason": "output is empty"}
    told.append({"raw.quarantined_rows": [row]}, Commit("a bad row"))
    with pytest.raises(UserError, match=r"ROW=7: .* of pairs\.jsonl\. It is quarantined: output is empty\.$"):
        meant(told, file="pairs.jsonl", row=7)
