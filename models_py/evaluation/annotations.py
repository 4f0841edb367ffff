"""Verdicts that other people's judges gave, from files in AlpacaEval's format.

    {"instruction": "...", "output_1": "...", "generator_1": "text_davinci_003", "output_2": "...",
     "generator_2": "mine", "annotator": "gpt4", "preference": 1.7}

preference: 1 the first answer, 2 the second, 1.5 a tie, what lies between says how sure the annotator is; null is a
verdict that could not be read. The second answer is the model's. Of the answers only the lengths are kept; a file that
has no answers may give these as `chars_1` and `chars_2`. A row that is no annotation stops the evaluation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models_py.errors import UserError
from models_py.evaluation.annotation_file import AnnotationFile
from models_py.sources.read import strict_rows
from models_py.sources.values import kind_of

_REMEDY = "Give the file as alpaca_eval writes annotations.json"
_BASELINE, _MODEL = "baseline", "model"


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row. source_row counts over all files of its name, from 1. chars: None where the file does not say."""

    annotation: str
    source_row: int
    annotator: str
    generator_1: str
    generator_2: str
    instruction: str | None
    chars_1: int | None
    chars_2: int | None
    preference: float | None


def read_annotations(files: Sequence[AnnotationFile]) -> list[Annotation]:
    """Every row of every file. Raises UserError, naming the profile's key, file, row and field."""
    found: list[Annotation] = []
    for one in files:
        before = len(found)
        found += _of_one(one)
        if len(found) == before:
            raise UserError(f"{one.files.key}: {', '.join(one.files.patterns)} holds no annotation; correct it")
    return found


def _of_one(one: AnnotationFile) -> Iterator[Annotation]:
    for number, (path, _, row) in enumerate(strict_rows(one.files), start=1):
        yield _annotation(one.name, number, row.record, f"{one.files.key}: {path}, row {row.number}")


def _annotation(name: str, number: int, record: object, where: str) -> Annotation:
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {kind_of(record)}. {_REMEDY}")
    if "preference" not in record:
        raise UserError(f"{where}: field preference is missing. {_REMEDY}")
    instruction = record.get("instruction")
    return Annotation(
        annotation=name,
        source_row=number,
        annotator=_name(record, "annotator", name),
        generator_1=_name(record, "generator_1", _BASELINE),
        generator_2=_name(record, "generator_2", _MODEL),
        instruction=instruction if isinstance(instruction, str) else None,
        chars_1=_chars(record, 1, where),
        chars_2=_chars(record, 2, where),
        preference=_preference(record["preference"], where),
    )


def _name(record: Mapping[str, object], field: str, default: str) -> str:
    value = record.get(field)
    return value if isinstance(value, str) and value.strip() else default


def _chars(record: Mapping[str, object], side: int, where: str) -> int | None:
    value = record.get(f"output_{side}")
    if value is None:
        value = record.get(f"chars_{side}")
        if value is None or (type(value) is int and value >= 0):
            return value
        raise UserError(f"{where}: field chars_{side} is {kind_of(value)}, not a count. {_REMEDY}")
    if not isinstance(value, str):
        raise UserError(f"{where}: field output_{side}: expected text, found {kind_of(value)}. {_REMEDY}")
    return len(value)


def _preference(value: object, where: str) -> float | None:
    """1 to 2; null, NaN and AlpacaEval's -1 for what its parser could not read are none."""
    if value is None or value == -1 or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 2:
        said = kind_of(value)
        raise UserError(f"{where}: field preference is {said}; it lies from 1 (the first answer) to 2. {_REMEDY}")
    return float(value)
