"""Instruction files of the shapes that evaluation sets have, and what is told of those that cannot be asked."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models_py.cleaning.contamination import LookedFor
from models_py.cleaning.evaluation_texts import read_evaluation_texts
from models_py.cleaning.settings import EvaluationFile
from models_py.conversation import NO_CONTEXT, Context, Message
from models_py.errors import UserError
from models_py.evaluation.answer_settings import Generation, InstructionFile
from models_py.evaluation.instructions import Instruction, read_instructions
from models_py.sources.read import read_sources
from models_py.sources.spec import Source

PROJECT = Path(__file__).resolve().parents[3]
BUNDLED = PROJECT / "seeds" / "evaluation" / "instructions.jsonl"
SHARED = PROJECT.parent / "shared" / "data"


def written(folder: Path, *rows: object, name: str = "set.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def one(folder: Path, row: object, **settings: Any) -> Instruction:
    file = written(folder, row, row)  # of one row alone a reader may think that it is the file's frame
    (found,) = read_instructions([InstructionFile("set", path=str(file), **settings)]).instructions
    return found


@pytest.mark.parametrize(
    ("row", "instruction", "input", "reference"),
    [
        ({"instruction": "Name a sea."}, "Name a sea.", "", ""),
        ({"instruction": "Name it.", "input": "A red fruit."}, "Name it.", "A red fruit.", ""),
        ({"prompt": "Name a sea.", "key": 1000, "kwargs": [{}]}, "Name a sea.", "", ""),
        ({"question": "2+2?", "answer": "4"}, "2+2?", "", "4"),
        ({"Instruction": "Name a sea.", "Skill": "Geography", "idx": 7}, "Name a sea.", "", ""),
        ({"dataset": "koala", "instruction": "Hi.", "output": "Hello.", "generator": "x"}, "Hi.", "", "Hello."),
        ({"question_id": 1, "text": "Name a sea.", "category": "generic"}, "Name a sea.", "", ""),
        ({"question_id": 81, "turns": ["Name a sea.", "And a lake."]}, "Name a sea.", "", ""),
        ({"uid": "a1", "turns": [{"content": "Name a sea."}], "cluster": "geo"}, "Name a sea.", "", ""),
        ({"conversations": ["Name a sea."], "source": "own"}, "Name a sea.", "", ""),
        ({"instruction": "2+2?", "reference": "4"}, "2+2?", "", "4"),
        ({"turns": ["2+2?", "x2?"], "reference": ["4", "8"]}, "2+2?", "", "4"),
        ({"query": "2+2?", "target": "4"}, "2+2?", "", "4"),
        ({"messages": [{"role": "user", "content": "Name a sea."}]}, "Name a sea.", "", ""),
        ({"conversations": [{"from": "human", "value": "Name a sea."}]}, "Name a sea.", "", ""),
        ([{"role": "user", "content": "Name a sea."}], "Name a sea.", "", ""),
        ({"messages": '[{"role": "user", "content": "Name a sea."}]'}, "Name a sea.", "", ""),
        ({"messages": {"role": ["user"], "content": ["Name a sea."]}}, "Name a sea.", "", ""),
        ({"messages": None, "instruction": "Name a sea.", "output": "Baltic."}, "Name a sea.", "", "Baltic."),
        ({"prompt": [{"role": "user", "content": "Name a sea."}]}, "Name a sea.", "", ""),
        ("Name a sea.", "Name a sea.", "", ""),
        (
            {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
            *("2+2?", "", "4"),
        ),
        ({"instruction": "Name a sea.", "output": ""}, "Name a sea.", "", ""),
        ({"instruction": "Name a sea.", "output": None}, "Name a sea.", "", ""),
        ({"instruction": "Say it.", "context": "<noinput>", "response": "It."}, "Say it.", "", "It."),
    ],
)
def test_shapes_of_evaluation_sets(tmp_path: Path, row: object, instruction: str, input: str, reference: str) -> None:
    found = one(tmp_path, row)
    assert (found.instruction, found.input, found.reference) == (instruction, input, reference)
    assert found.context == NO_CONTEXT


@pytest.mark.parametrize(
    ("row", "fields", "instruction", "reference"),
    [
        ({"q": "2+2?", "a": "4"}, {"instruction": "q"}, "2+2?", ""),
        ({"q": "2+2?", "a": "4"}, {"instruction": "q", "reference": "a"}, "2+2?", "4"),
        ({"q": ["2+2?", "x2?"], "a": ["4", "8"]}, {"instruction": "q", "reference": "a"}, "2+2?", "4"),
        ({"chat": [{"role": "user", "content": "2+2?"}]}, {"messages": "chat"}, "2+2?", ""),
        ({"chat": '[{"from": "human", "value": "2+2?"}]'}, {"messages": "chat"}, "2+2?", ""),
    ],
)
def test_fields_by_name(tmp_path: Path, row: object, fields: dict[str, str], instruction: str, reference: str) -> None:
    found = one(tmp_path, row, fields=fields)
    assert (found.instruction, found.reference) == (instruction, reference)


def test_a_file_of_one_chat_is_no_frame_of_its_turns(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": 7, "talk": [{"role": "user", "content": "2+2?"}]})
    read = read_instructions([InstructionFile("set", path=str(path), fields={"messages": "talk"})])
    assert [found.instruction for found in read.instructions] == ["2+2?"]


def test_what_stands_before_the_last_question_is_kept(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a sea."},
        {"role": "assistant", "content": "Baltic."},
        {"role": "user", "content": "Another."},
    ]
    found = one(tmp_path, {"messages": turns})
    before = Context("Be brief.", (Message("user", "Name a sea."), Message("assistant", "Baltic.")))
    assert (found.instruction, found.context) == ("Another.", before)
    assert found.instruction_id != one(tmp_path, {"instruction": "Another."}).instruction_id


def test_a_row_has_the_id_of_its_file_or_its_number(tmp_path: Path) -> None:
    rows = [{"question_id": 81, "text": "a"}, {"uid": "x7", "prompt": "b"}, {"prompt": "c"}]
    read = read_instructions([InstructionFile("set", path=str(written(tmp_path, *rows)))])
    assert [found.question_id for found in read.instructions] == ["81", "x7", "3"]


def test_what_is_not_asked_is_told(tmp_path: Path) -> None:
    rows = [{"turns": ["a", "b"]}, {"text": "a"}, {"text": "c"}, {"text": "d"}]
    read = read_instructions([InstructionFile("set", path=str(written(tmp_path, *rows)), limit=3)])
    assert [found.instruction for found in read.instructions] == ["a", "c"]
    assert read.told == (
        "set: only the first 3 rows are asked (limit)",
        "set: 1 of 3 rows ask what another asks, and are asked once",
        "set: of 1 of 3 rows only the first turn is asked",
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"title": "Seas"}, r"set\.jsonl, row 1: no recognised fields.*evaluation\.instructions\.set\.fields"),
        ({"instruction": "  "}, "row 1: field instruction is empty"),
        ({"instruction": 7}, "row 1: field instruction: expected text, found the number 7"),
        ({"turns": []}, "row 1: no recognised fields"),
        ({"prompt": "a", "question": "b"}, "row 1: fields prompt and question are both filled"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "row 1: field messages: no user turn"),
        ({"messages": []}, r"set\.jsonl, row 1: field messages: no user turn; found roles none"),
        ([], r"set\.jsonl, row 1: field messages: no user turn; found roles none"),
        ({"messages": "[]"}, "row 1: field messages: no user turn; found roles none"),
        ({"messages": "[1"}, "row 1: field messages: the text is no JSON"),
        ({"messages": None}, "row 1: field messages: expected a list of turns, found null"),
        ({"instruction": "Look.", "image": "x.png"}, "row 1: .*images"),
        (17, "row 1: expected an object with fields, found the number 17"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(tmp_path: Path, row: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        one(tmp_path, row)


def test_chats_of_a_csv(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": text}] for text in ("Name a sea.", "Name a lake.")]
    with (tmp_path / "set.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "messages"], *enumerate(map(json.dumps, chats))])
    read = read_instructions([InstructionFile("set", path=str(tmp_path / "set.csv"))])
    assert [found.instruction for found in read.instructions] == ["Name a sea.", "Name a lake."]


def test_a_broken_line_and_an_empty_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"instruction": "a"}\n{"instr', encoding="utf-8")
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.jsonl, row 2: not valid JSON"):
        read_instructions([InstructionFile("set", path=str(tmp_path / "broken.jsonl"))])
    with pytest.raises(UserError, match=r"evaluation\.instructions\.set\.path: .*empty\.jsonl holds no instruction"):
        read_instructions([InstructionFile("set", path=str(tmp_path / "empty.jsonl"))])


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(UserError, match=r"evaluation\.instructions\.set\.fields: instruction is missing"):
        InstructionFile("set", path="a.jsonl", fields={"input": "x"})
    with pytest.raises(UserError, match="'output' is not one of our fields"):
        InstructionFile("set", path="a.jsonl", fields={"instruction": "q", "output": "a"})
    with pytest.raises(UserError, match=r"evaluation\.instructions\.set: give either path or paths"):
        InstructionFile("set")
    with pytest.raises(UserError, match="max_tokens: 0 is below 1"):
        Generation(max_tokens=0)


def test_only_what_decides_an_answer_is_in_the_id_of_a_generation() -> None:
    plain = Generation(max_tokens=64)
    same = [Generation(max_tokens=64, engine="vllm"), Generation(64, batch_tokens=9), Generation(64, seed=5, top_p=0.5)]
    others = [Generation(65), Generation(64, temperature=0.5), Generation(64, temperature=0.5, seed=1)]
    assert {one.id for one in same} == {plain.id}
    assert len({one.id for one in [plain, *others]}) == 4


def test_the_bundled_instructions_are_forty_in_eight_categories() -> None:
    read = read_instructions([InstructionFile("bundled", path=str(BUNDLED))])
    assert read.told == ()
    assert Counter(found.category for found in read.instructions) == dict.fromkeys(
        (
            *("writing", "rewriting", "coding", "mathematics"),
            *("reasoning", "extraction", "knowledge", "advice"),
        ),
        5,
    )
    assert sum(bool(found.reference) for found in read.instructions) >= 10


def test_no_bundled_pair_holds_a_bundled_instruction() -> None:
    looked_for = LookedFor.of(read_evaluation_texts([EvaluationFile("bundled", path=str(BUNDLED), words=8)]))
    pairs = read_sources([Source("seeds", path=str(PROJECT / "seeds" / "pairs.jsonl"))]).pairs
    texts = pairs.select("pair_id", "instruction", "input", "output").unpivot(index="pair_id", variable_name="field")
    found = looked_for.copies_in(texts.rename({"pair_id": "content_id", "value": "text"}))
    assert found.height == 0, found.to_dicts()


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(("name", "rows"), [("judge_instructions.jsonl", 80), ("alpaca_eval_verdicts.jsonl", 805)])
def test_shared_sets_load(name: str, rows: int) -> None:
    assert len(read_instructions([InstructionFile("set", path=str(SHARED / name))]).instructions) == rows
