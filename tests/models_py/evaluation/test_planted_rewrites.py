"""Rewrites whose worth is known are what they are called, and the pipeline's own parser reads them back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.errors import UserError
from models_py.evaluation.planted_rewrites import KINDS, RevisedPair, read_revised_pairs, rewrite, write_evidence_files
from models_py.teacher.parser import parse_reply
from tests.support.properties import examples

CATS = RevisedPair("Name a pet.", "Cat.", "A cat is a small pet. It sleeps 16 hours a day.")
SKY = RevisedPair("What colour is the sky?\nBy day", "Blue.", "By day the sky is blue.")
PAIRS = [CATS, SKY, RevisedPair("Greet.", "Hi.", "Good morning, everyone!")]


def line(**changes: object) -> str:
    row = {"instruction": "i", "input": "", "output": "o", "revised_instruction": "i", "revised_output": "better"}
    return json.dumps(row | changes) + "\n"


@pytest.mark.parametrize(
    ("kind", "at", "expected"),
    [
        ("expert", 0, CATS.revised),
        ("off_topic", 0, SKY.revised),
        ("off_topic", 2, CATS.revised),
        ("cut_third", 0, "A cat is a"),
        ("wrong_fact", 0, "A cat is a small pet. It sleeps 35 hours a day."),
        ("wrong_fact", 1, "By day the sky is not blue."),
        ("wrong_fact", 2, None),
    ],
)
def test_each_kind_is_what_it_is_called(kind: str, at: int, expected: str | None) -> None:
    assert rewrite(kind, PAIRS, at) == expected


def test_padding_doubles_the_answer_and_keeps_it() -> None:
    padded = rewrite("padded", PAIRS, 0) or ""
    assert padded.startswith(CATS.revised)
    assert 2 * len(CATS.revised) <= len(padded) <= 2 * len(CATS.revised) + 100


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("It costs 3.50 euros or 4 dollars.", "It costs 3.50 euros or 11 dollars."),
        ("In 1,200 years they will come.", "In 1,200 years they will not come."),
        ("This is not so, but that was.", "This is not so, but that was not."),
    ],
)
def test_a_number_is_changed_whole_and_a_negation_is_not_doubled(text: str, wrong: str) -> None:
    assert rewrite("wrong_fact", [RevisedPair("i", "o", text)], 0) == wrong


@examples(100)
@given(st.text(min_size=1, max_size=200).filter(str.strip), st.integers(0, 50))
def test_a_bad_rewrite_is_never_the_good_one(text: str, at: int) -> None:
    pairs = [RevisedPair("i", "o", text)] * (at + 1)
    for kind in ("cut_third", "wrong_fact", "padded"):
        assert rewrite(kind, pairs, at) != text


def test_the_replies_read_back_as_the_rewrites(tmp_path: Path) -> None:
    made = write_evidence_files(PAIRS, tmp_path)
    assert made == {"expert": 3, "off_topic": 3, "cut_third": 3, "wrong_fact": 2, "padded": 3}
    sources = [json.loads(one) for one in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert sources[1] == {"instruction": SKY.instruction, "output": "Blue."}
    for kind in KINDS:
        lines = [json.loads(one) for one in (tmp_path / f"{kind}.jsonl").read_text().splitlines()]
        replies = {(one["phase"], one["content_id"]): one for one in lines}
        for at, pair in enumerate(PAIRS):
            first = replies["instruction_reflection", pair.content_id]
            read = parse_reply("instruction_reflection", first["reply"], "stop")
            assert (read.status, read.instruction, read.output) == ("ok", pair.instruction, pair.output)
            second = replies.get(("response_reflection", pair.content_id))
            text = parse_reply("response_reflection", second["reply"], "stop").output if second else None
            assert text == rewrite(kind, PAIRS, at)


def test_only_distinct_pairs_that_were_revised_are_read(tmp_path: Path) -> None:
    file = tmp_path / "experts.jsonl"
    rows = [line(), line(), line(output="better"), line(output=""), line(instruction="a", input="b"), line(output="p")]
    file.write_text("".join(rows))
    assert [(pair.instruction, pair.output) for pair in read_revised_pairs(file, 3)] == [
        ("i", "o"),
        ("a\nb", "o"),
        ("i", "p"),
    ]
    assert len(read_revised_pairs(file, 2)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing: DATA names the folder"),
        ("[1]\n", r"experts.jsonl row 1: no JSON object with instruction"),
        (line() + "{\n", r"experts.jsonl row 2: no JSON object"),
        (line(), "fewer than two pairs"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "experts.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_revised_pairs(file, 5)
