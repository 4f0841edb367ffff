"""Outcomes of verdicts in both orders, against a table worked out by hand from the paper's rule."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze

ANSWER = "An answer."
SCORES = {"win": (8.0, 6.0), "tie": (7.0, 7.0), "loss": (5.5, 6.0)}  # of the model's answer and the opponent's
# What the model does where it is shown first, and where it is shown second.
NINE = {
    ("win", "win"): "win",
    ("win", "tie"): "win",
    ("tie", "win"): "win",
    ("loss", "loss"): "loss",
    ("loss", "tie"): "loss",
    ("tie", "loss"): "loss",
    ("tie", "tie"): "tie",
    ("win", "loss"): "tie",
    ("loss", "win"): "tie",
}
MODEL = checkpoint_id("paper", "v1", "fp-toy", TrainingSettings())
COMMON = {"judge": "gpt", "prompt_version": "v1", "generation": "g"}


class Told:
    """A story of one checkpoint, `paper`, its base and a judge."""

    def __init__(self, lake: Lake) -> None:
        self.story = Story(lake)
        self.story.recipe("paper", "original")
        self.story.pair("a", Text(ifd=0.5))
        self.story.add("profile.training_settings", recipe="paper", training_seed=0, settings=settings())
        made = {"recipe": "paper", "checkpoint_id": MODEL, "data_version": "v1", "path": "p", "manifest": "{}"}
        self.story.add("training.student_checkpoints", **made)
        self.story.add("evaluation.opponents", model=MODEL, opponent="fp-toy", why="base")
        self.story.add("evaluation.judges", judge="gpt", prompt_version="v1")

    def asked(self, instruction: str, answer: str | None = "Mine.", other: str | None = "Theirs!") -> None:
        asked = {"instruction_id": instruction, "generation": "g"}
        self.story.add("evaluation.instructions", instruction_set="set", **asked)
        for model, text in ((MODEL, answer), ("fp-toy", other)):
            status = "ok" if text is not None else "not_finite"
            self.story.add("evaluation.answers", model=model, **asked, answer=text, status=status)

    def verdict(self, instruction: str, model_first: bool, result: str, **changes: object) -> None:
        mine, theirs = SCORES.get(result, (None, None))
        models, scores = ((MODEL, "fp-toy"), (mine, theirs)) if model_first else (("fp-toy", MODEL), (theirs, mine))
        row = {"model_1": models[0], "model_2": models[1], "score_1": scores[0], "score_2": scores[1]}
        status = {"status": "ok" if result in SCORES else result}
        self.story.add("evaluation.verdicts", **{**COMMON, "instruction_id": instruction, **row, **status, **changes})

    def outcomes(self, columns: str = "outcome") -> dict[str, object]:
        lake = freeze(self.story.tell(), "v1")
        rows = lake.read(f"select instruction_id, {columns} from evaluation.verdict_outcomes").rows()
        return {name: values[0] if len(values) == 1 else values for name, *values in rows}


def settings() -> str:
    from models_py.content import canonical_json

    return canonical_json(TrainingSettings().hashed).decode()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    yield Told(Lake(tmp_path))


def test_what_counts_are_the_verdicts_on_what_the_profile_names_now(told: Told) -> None:
    told.asked("a")
    told.verdict("a", True, "failed")  # and came when it was asked again
    told.verdict("a", True, "win")
    told.verdict("a", False, "unreadable")
    told.verdict("left", True, "win")  # an instruction that is in no set any more
    told.verdict("a", True, "loss", generation="longer answers")
    told.verdict("a", True, "loss", prompt_version="v0")
    told.verdict("a", True, "loss", judge="another")
    told.verdict("a", True, "loss", model_1="a model that nobody compares now")
    told.asked("b")
    told.verdict("b", True, "failed")
    told.verdict("b", True, "failed")
    current = told.story.tell().read(
        "select instruction_id, model_1, status, score_1 from evaluation.current_verdicts order by all"
    )
    first, second = sorted([(MODEL, "ok", 8.0), ("fp-toy", "unreadable", None)])
    assert current.rows() == [("a", *first), ("a", *second), ("b", MODEL, "failed", None)]


def test_the_nine_combinations_of_two_orders(told: Told) -> None:
    for first, second in NINE:
        name = f"{first} then {second}"
        told.asked(name)
        told.verdict(name, True, first)
        told.verdict(name, False, second)
    found = told.outcomes("outcome, preference, first_wins, second_wins")
    assert {name: values[0] for name, values in found.items()} == {  # type: ignore[index]
        f"{first} then {second}": outcome for (first, second), outcome in NINE.items()
    }
    worth = {"win": 1.0, "tie": 0.5, "loss": 0.0}
    assert all(values[1] == worth[values[0]] for values in found.values())  # type: ignore[index]
    # First positions win where the model is shown first and wins, and where it is shown second and loses.
    assert found["win then loss"][2:] == [2, 0]  # type: ignore[index]
    assert found["loss then win"][2:] == [0, 2]  # type: ignore[index]
    assert found["win then win"][2:] == [1, 1]  # type: ignore[index]
    assert found["tie then tie"][2:] == [0, 0]  # type: ignore[index]
    assert found["tie then loss"][2:] == [1, 0]  # type: ignore[index]


def test_what_cannot_be_read_is_no_tie_and_what_is_missing_is_not_judged(told: Told) -> None:
    for name, verdicts in {
        "one unreadable": ("win", "unreadable"),
        "both unreadable": ("unreadable", "unreadable"),
        "one missing": ("win", None),
        "one failed": ("failed", "loss"),
        "none": (None, None),
        "failed, then came": ("failed", "win"),
    }.items():
        told.asked(name)
        for model_first, result in zip((True, False), verdicts, strict=True):
            if result is not None:
                told.verdict(name, model_first, result)
    told.verdict("failed, then came", True, "win")
    told.asked("no answer", answer=None)
    found = told.outcomes("outcome, preference, identical")
    assert found == {
        "one unreadable": ["unreadable", None, False],
        "both unreadable": ["unreadable", None, False],
        "one missing": ["unjudged", None, False],
        "one failed": ["unjudged", None, False],
        "none": ["unjudged", None, False],
        "failed, then came": ["win", 1.0, False],
        "no answer": ["unjudged", None, False],
    }


def test_identical_answers_are_a_tie_that_nobody_is_asked_about(told: Told) -> None:
    told.asked("same", answer="Both.", other="Both.")
    assert told.outcomes("outcome, preference, identical, chars") == {"same": ["tie", 0.5, True, 5]}


def test_only_verdicts_of_the_current_prompt_and_generation_count(told: Told) -> None:
    told.asked("old")
    for model_first in (True, False):
        told.verdict("old", model_first, "win", prompt_version="v0")
        told.verdict("old", model_first, "win", generation="another")
        told.verdict("old", model_first, "win", judge="nobody")
    assert told.outcomes() == {"old": "unjudged"}


def test_an_annotation_is_one_verdict_on_the_second_answer(told: Told) -> None:
    for number, preference in enumerate((2.0, 1.0, 1.5, 1.75, None), start=1):
        row = {"annotation": "file", "source_row": number, "annotator": "gpt4", "preference": preference}
        told.story.add(
            "evaluation.annotations", **row, generator_1="davinci", generator_2="paper", chars_1=9, chars_2=4
        )
    columns = "outcome, preference, chars, opponent_chars, model, opponent, judge, instruction_set"
    common = [4, 9, MODEL, "davinci", "gpt4", "file"]
    assert told.outcomes(columns) == {
        "row 1": ["win", 1.0, *common],
        "row 2": ["loss", 0.0, *common],
        "row 3": ["tie", 0.5, *common],
        "row 4": ["win", 0.75, *common],
        "row 5": ["unreadable", None, *common],
    }
