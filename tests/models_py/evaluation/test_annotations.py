"""Annotation files as alpaca_eval writes them and as people cut them, and what is told of those that are none."""

import json
from pathlib import Path

import pytest

from models_py.errors import UserError
from models_py.evaluation.annotation_file import AnnotationFile
from models_py.evaluation.annotations import Annotation, read_annotations

WHOLE = {
    "instruction": "Name a sea.",
    "output_1": "Baltic.",
    "generator_1": "davinci",
    "output_2": "The Baltic Sea.",
    "generator_2": "mine",
    "dataset": "own",
    "annotator": "gpt4",
    "preference": 2,
}


def read(folder: Path, *rows: object) -> list[Annotation]:
    (folder / "annotations.json").write_text(json.dumps(list(rows)))
    return read_annotations([AnnotationFile("file", path=str(folder / "annotations.json"))])


def test_a_whole_row(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == [
        Annotation("file", 1, "gpt4", "davinci", "mine", "Name a sea.", chars_1=7, chars_2=15, preference=2.0)
    ]


@pytest.mark.parametrize(
    ("changes", "preference"),
    [
        ({"preference": 1}, 1.0),
        ({"preference": 1.5}, 1.5),
        ({"preference": 1.9999812}, 1.9999812),
        ({"preference": None}, None),
        ({"preference": -1}, None),
        ({"preference": 2.0, "raw_completion": {"x": 1}, "time_per_example": 0.3}, 2.0),
    ],
)
def test_preferences(tmp_path: Path, changes: dict[str, object], preference: float | None) -> None:
    (found,) = read(tmp_path, {**WHOLE, **changes})
    assert found.preference == preference


def test_what_a_cut_file_lacks_is_unknown_and_no_guess(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_text('{"preference": 1.2, "chars_1": 9, "chars_2": 4}\n{"preference": 2}\n')
    found = read_annotations([AnnotationFile("cut", path=str(tmp_path / "cut.jsonl"))])
    assert [(one.annotator, one.generator_1, one.generator_2) for one in found] == [("cut", "baseline", "model")] * 2
    assert [(one.chars_1, one.chars_2, one.instruction) for one in found] == [(9, 4, None), (None, None, None)]


def test_rows_are_counted_over_all_files_of_a_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps([WHOLE, WHOLE]))
    found = read_annotations([AnnotationFile("both", path=str(tmp_path / "*.json"))])
    assert [one.source_row for one in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"instruction": "x"}, r"annotations\.file\.path: .*annotations\.json, row 2: field preference is missing"),
        ({**WHOLE, "preference": 0.4}, "row 2: field preference is the number 0.4; it lies from 1"),
        ({**WHOLE, "preference": 3}, "it lies from 1 .* to 2"),
        ({**WHOLE, "preference": "2"}, "field preference is text '2'"),
        ({**WHOLE, "preference": True}, "field preference is true"),
        ({**WHOLE, "output_1": 7}, "field output_1: expected text, found the number 7"),
        ({"preference": 1, "chars_1": "many"}, "field chars_1 is text 'many', not a count"),
        ({"preference": 1, "chars_2": -1}, "field chars_2 is the number -1, not a count"),
        ("text", "row 2: expected an object"),
    ],
)
def test_a_row_that_is_no_annotation_is_named(tmp_path: Path, row: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, WHOLE, row)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no annotation"):
        read(tmp_path)
