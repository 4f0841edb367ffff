"""Evaluation files as people have them: which of a row's texts are looked for, and which of these are what it asks."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from models_py.cleaning.evaluation_texts import read_evaluation_texts
from models_py.cleaning.settings import EvaluationFile
from models_py.errors import UserError


def write(folder: Path, *rows: object, name: str = "set.jsonl") -> str:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return str(folder / name)


# Invented rows in the shapes of public sets: what is asked, and what else is said.
SHAPES: dict[str, tuple[object, list[str], list[str]]] = {
    "gsm8k": ({"question": "q", "answer": "a #### 4"}, ["question"], ["answer"]),
    "mmlu": (
        {"question": "q", "subject": "s", "choices": ["a", "b"], "answer": 1},
        ["question"],
        ["subject", "choices[0]", "choices[1]"],
    ),
    "arc": (
        {"id": "M_1", "question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"},
        ["question"],
        [
            "id",
            "choices.text[0]",
            "choices.text[1]",
            "choices.label[0]",
            "choices.label[1]",
            "answerKey",
        ],
    ),
    "hellaswag": (
        {"ind": 4, "ctx": "c", "endings": ["e", "f"], "label": "0"},
        ["ctx", "endings[0]", "endings[1]", "label"],
        [],
    ),
    "humaneval": (
        {"task_id": "H/0", "prompt": "def f():", "canonical_solution": "pass", "test": "assert f()"},
        ["prompt"],
        ["task_id", "canonical_solution", "test"],
    ),
    "mbpp": ({"task_id": 2, "text": "t", "code": "c", "test_list": ["x"]}, ["text", "code", "test_list[0]"], []),
    "math": ({"problem": "p", "level": "5", "solution": "s"}, ["problem"], ["level", "solution"]),
    "bbh": ({"input": "i", "target": "t"}, ["input"], ["target"]),
    "squad": (
        {"context": "c", "question": "q", "answers": {"text": ["a"], "answer_start": [1]}},
        ["context", "question"],
        ["answers.text[0]"],
    ),
    "alpaca_eval": (
        {"instruction": "i", "output": "o", "generator": "g", "dataset": "d"},
        ["instruction"],
        ["output", "generator", "dataset"],
    ),
    "mt_bench": (
        {"question_id": 81, "category": "w", "turns": ["a", "b"]},
        ["category", "turns[0]", "turns[1]"],
        [],
    ),
    "arena_hard": ({"uid": "x", "turns": [{"content": "a"}]}, ["uid", "turns[0].content"], []),
    "chat": (
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
            ]
        },
        ["messages[1].content"],
        ["messages[0].content", "messages[2].content"],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}], "source": "z"},
        ["conversations[0].value"],
        ["conversations[1].value", "source"],
    ),
    "prompt_of_turns": (
        {"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]},
        ["prompt[0].content"],
        ["completion[0].content"],
    ),
    "bare_text": ("q", ["row"], []),
    "list": (["a", "b"], ["row[0]", "row[1]"], []),
    "nothing_said": ({"question": "q", "answer": None, "hint": " "}, ["question"], []),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_asked_and_what_else_is_said(tmp_path: Path, shape: str) -> None:
    row, asked, other = SHAPES[shape]
    path = write(tmp_path, row, row)  # one row alone may be the whole file's wrapping
    texts = read_evaluation_texts([EvaluationFile("set", path=path)]).filter(pl.col("item_row") == 2)
    by_asked = {
        is_asked: texts.filter(pl.col("is_asked") == is_asked)["item_field"].to_list() for is_asked in (True, False)
    }
    assert by_asked == {True: asked, False: other}


def test_rows_of_all_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "part2.csv").write_text("question,answer\nq3,a3\n", "utf-8")
    (tmp_path / "part1.jsonl.gz").write_bytes(gzip.compress(b'{"question": "q1"}\n\n{"question": "q2"}\n'))
    pl.DataFrame({"text": ["q4"], "tags": [["t1", "t2"]]}).write_parquet(tmp_path / "other.parquet")
    files = [
        EvaluationFile("parts", paths=(f"{tmp_path}/part*",)),
        EvaluationFile("other", path=f"{tmp_path}/other.parquet", words=8),
    ]
    texts = read_evaluation_texts(files, lambda path: path.name)
    assert texts.select("evaluation", "file", "item_row", "item_field", "text", "run_words").rows() == [
        ("parts", "part1.jsonl.gz", 1, "question", "q1", 13),
        ("parts", "part1.jsonl.gz", 3, "question", "q2", 13),
        ("parts", "part2.csv", 1, "question", "q3", 13),
        ("parts", "part2.csv", 1, "answer", "a3", 13),
        ("other", "other.parquet", 1, "text", "q4", 8),
        ("other", "other.parquet", 1, "tags[0]", "t1", 8),
        ("other", "other.parquet", 1, "tags[1]", "t2", 8),
    ]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (("answer",), ["answer"]),
        (("doc.q",), ["doc.q"]),
        (("doc",), ["doc.q", "doc.more[0]"]),
        (("question", "doc.more"), ["question", "doc.more[0]"]),
    ],
)
def test_named_fields_are_what_is_asked(tmp_path: Path, fields: tuple[str, ...], found: list[str]) -> None:
    path = write(tmp_path, {"question": "q", "answer": "a", "doc": {"q": "x", "more": ["y"]}})
    texts = read_evaluation_texts([EvaluationFile("set", path=path, fields=fields)])
    assert texts["item_field"].to_list() == found
    assert texts["is_asked"].all()


@pytest.mark.parametrize(
    ("text", "fields", "told"),
    [
        (
            '{"question": "q"}\n{"question": ',
            None,
            r"evaluation\.contamination\.set\.path: .*set\.jsonl, row 2: not valid JSON",
        ),
        ("", None, r"evaluation\.contamination\.set\.path: its rows hold no text, so nothing can be looked for"),
        ('{"n": 1}\n', None, r"evaluation\.contamination\.set\.path: its rows hold no text"),
        (
            '{"question": "q"}\n',
            ("questoin",),
            r"evaluation\.contamination\.set\.fields: its rows hold no text in questoin",
        ),
        ("version https://git-lfs.github.com/spec/v1\n", None, r"set\.jsonl is a git-lfs pointer, not the data"),
    ],
)
def test_what_cannot_be_looked_for_is_an_error(
    tmp_path: Path, text: str, fields: tuple[str, ...] | None, told: str
) -> None:
    (tmp_path / "set.jsonl").write_text(text, "utf-8")
    with pytest.raises(UserError, match=told):
        read_evaluation_texts([EvaluationFile("set", path=str(tmp_path / "set.jsonl"), fields=fields)])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.contamination\.set\.path: .*gone\.jsonl"):
        read_evaluation_texts([EvaluationFile("set", path=str(tmp_path / "gone.jsonl"))])
    (tmp_path / "set.txt").write_text("q", "utf-8")
    with pytest.raises(UserError, match=r"set evaluation\.contamination\.set\.format to one of"):
        read_evaluation_texts([EvaluationFile("set", path=str(tmp_path / "set.txt"))])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, r"evaluation\.contamination\.set: give either path or paths"),
        ({"path": "a", "paths": ("b",)}, r"evaluation\.contamination\.set: give either path or paths"),
        ({"path": "a", "fields": ()}, r"evaluation\.contamination\.set\.fields: is empty"),
        (
            {"path": "a", "words": 3},
            r"evaluation\.contamination\.set\.words: 3 words are no run to look for; use 8 to 50",
        ),
        ({"path": "a", "words": 51}, r"use 8 to 50"),
        ({"path": "a", "format": "jsnl"}, r"evaluation\.contamination\.set\.format: 'jsnl'.*did you mean jsonl"),
    ],
)
def test_settings_that_say_nothing(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        EvaluationFile("set", **settings)  # type: ignore[arg-type]
