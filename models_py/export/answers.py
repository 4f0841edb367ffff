"""Answers for other people's judges: what AlpacaEval and MT-bench read.

    alpaca_eval   one JSON list     {"dataset": "bundled", "instruction": "...", "output": "...", "generator": "paper"}
    mt_bench      JSON Lines        {"question_id": 81, "answer_id": "...", "model_id": "paper",
                                     "choices": [{"index": 0, "turns": ["..."]}], "tstamp": 1700000000.0}

An input stands below its instruction, as the model was shown it. AlpacaEval finds its own answers by the instruction's
text, MT-bench its questions by `question_id`, which is what the instruction file calls it. No row that has no answer is
left out silently: how many those are is told by whoever calls.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models_py.content import fingerprint
from models_py.student.template import instruction_text

_ID_CHARS = 22  # as shortuuid's, which fastchat writes


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer with what it answers. seconds: since 1970, when it was committed."""

    dataset: str
    question_id: str
    instruction: str
    input: str
    output: str
    generator: str
    seconds: float


def _alpaca_eval(answers: Iterable[GivenAnswer]) -> str:
    rows = [
        {
            "dataset": one.dataset,
            "instruction": instruction_text(one.instruction, one.input),
            "output": one.output,
            "generator": one.generator,
        }
        for one in answers
    ]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def _mt_bench(answers: Iterable[GivenAnswer]) -> str:
    return "".join(json.dumps(_mt_bench_row(one), ensure_ascii=False) + "\n" for one in answers)


def _mt_bench_row(one: GivenAnswer) -> dict[str, Any]:
    return {
        "question_id": int(one.question_id)
        if one.question_id.isascii() and one.question_id.isdigit()
        else one.question_id,
        "answer_id": fingerprint(one.dataset, one.question_id, one.generator, one.output)[:_ID_CHARS],
        "model_id": one.generator,
        "choices": [{"index": 0, "turns": [one.output]}],
        "tstamp": one.seconds,
    }


FORMATS: Mapping[str, Callable[[Iterable[GivenAnswer]], str]] = {"alpaca_eval": _alpaca_eval, "mt_bench": _mt_bench}
