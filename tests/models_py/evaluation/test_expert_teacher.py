"""Experts as a teacher: what they changed comes back through the pipeline's own parser, what they left stays."""

import json
from pathlib import Path

import pytest

from models_py.content import content_id
from models_py.errors import UserError
from models_py.evaluation.expert_teacher import (
    ORIGINALS,
    PAIRS,
    REPLIES,
    REVISED,
    read_expert_pairs,
    write_expert_files,
)
from models_py.teacher.parser import parse_reply

ROWS = [
    {
        "instruction": "Add these.",
        "input": "2, 3",
        "output": "6",
        "revised_instruction": "Add the numbers.",
        "revised_input": "2 and 3",
        "revised_output": "2 + 3 = 5.",
    },
    {
        "instruction": "Greet.",
        "input": "",
        "output": "Hi.",
        "revised_instruction": "Greet.",
        "revised_input": "",
        "revised_output": "Good morning!",
    },
    {
        "instruction": "Name a sea.",
        "input": "",
        "output": "Baltic.",
        "revised_instruction": "Name a sea.",
        "revised_input": "",
        "revised_output": "The Baltic Sea.",
    },
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "expert_revisions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS[:2], ROWS[1], ROWS[2]]))
    return file


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_experts_answer_as_a_teacher_does(file: Path, tmp_path: Path) -> None:
    pairs = read_expert_pairs(file, 3)
    write_expert_files(pairs[:2], pairs[2:], tmp_path)
    asked = ("Add these.\n2, 3", "6"), ("Greet.", "Hi.")
    assert lines(tmp_path / PAIRS) == [{"instruction": one, "output": other} for one, other in asked]
    replies = {(line["phase"], line["content_id"]): line["reply"] for line in lines(tmp_path / REPLIES)}
    assert len(replies) == 5  # two and three: of the first pair both texts can be the base of the second reflection

    def read(phase: str, instruction: str, output: str) -> tuple[str | None, str | None]:
        reply = parse_reply(phase, replies[phase, content_id(instruction, "", output)], "stop")
        assert reply.status == "ok"
        return reply.instruction, reply.output

    new = ("Add the numbers.\n2 and 3", "2 + 3 = 5.")
    assert read("instruction_reflection", *asked[0]) == new
    assert read("instruction_reflection", *asked[1]) == asked[1]
    assert read("response_reflection", *asked[0])[1] == read("response_reflection", *new)[1] == "2 + 3 = 5."
    assert read("response_reflection", *asked[1])[1] == "Good morning!"


def test_what_is_held_out_is_in_no_pair_that_is_trained_on(file: Path, tmp_path: Path) -> None:
    pairs = read_expert_pairs(file, 3)
    write_expert_files(pairs[:2], pairs[2:], tmp_path)
    assert lines(tmp_path / REVISED) == [{"instruction": "Name a sea.", "output": "The Baltic Sea."}]
    assert lines(tmp_path / ORIGINALS) == [{"instruction": "Name a sea.", "output": "Baltic."}]


@pytest.mark.parametrize(
    ("rows", "said"),
    [(4, r"holds 3 distinct pairs; 4 are asked for: lower --rows"), (3, r"expert_revisions\.jsonl row 2: no JSON")],
)
def test_too_few_rows_and_other_rows_are_refused(file: Path, rows: int, said: str) -> None:
    if rows == 3:
        file.write_text(json.dumps(ROWS[0]) + '\n{"instruction": "alone"}\n')
    with pytest.raises(UserError, match=said):
        read_expert_pairs(file, rows)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing: DATA names the folder"):
        read_expert_pairs(tmp_path / "expert_revisions.jsonl", 1)
