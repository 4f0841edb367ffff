"""evaluation.instructions and evaluation.answers: every model answers each instruction once, however often it runs."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation import answers as answers_asset
from assets.evaluation.answers import answers
from assets.evaluation.instructions import instructions, observed
from models_py.errors import UserError
from models_py.evaluation import write_answers
from models_py.evaluation.answer import Answer, Asked
from tests.assets.conftest import version
from tests.support.lakes import snapshots
from tests.support.trained import Trained

QUESTIONS = ["Name a sea.", "Why is the sky blue?", "Count to three."]
GENERATION = {"max_tokens": 6}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained") / "mine")


@pytest.fixture
def trained(start: Trained, tmp_path: Path) -> Trained:
    trained = start.copy(tmp_path / "mine")
    ask(trained, "set", *QUESTIONS)
    configure(trained)
    return trained


def ask(trained: Trained, name: str, *questions: str) -> None:
    lines = (json.dumps({"instruction": question, "category": "any"}) for question in questions)
    (trained.folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def configure(trained: Trained, sets: Sequence[str] = ("set",), **evaluation: object) -> None:
    files = [{"name": name, "path": f"{name}.jsonl"} for name in sets]
    trained.configure(**{"instructions": files, "generation": GENERATION, **evaluation})
    trained.run(instructions)


def written(trained: Trained) -> list[tuple[Any, ...]]:
    rows = trained.lake.read(
        "select name, instruction, answer, finish_reason, tokens, status from evaluation.current_answers order by all"
    )
    return rows.rows()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Whom the model was asked, by name, and what; the answers are those of the real models."""
    calls: list[tuple[str, list[str]]] = []
    real: Callable[..., Iterator[Answer]] = write_answers.answers

    def noted(model: Any, questions: Sequence[Asked], *more: Any) -> Iterator[Answer]:
        calls.append((model.name, sorted(one.instruction for one in questions)))
        return real(model, questions, *more)

    monkeypatch.setattr(write_answers, "answers", noted)
    return calls


@pytest.mark.slow
def test_every_model_answers_every_instruction_once(trained: Trained, asked: list[tuple[str, list[str]]]) -> None:
    result = trained.run(answers)
    rows = written(trained)
    assert [(name, question) for name, question, *_ in rows] == [
        (name, question) for name in ("half", "paper", "toy (base)") for question in sorted(QUESTIONS)
    ]
    assert {status for *_, status in rows} == {"ok"}
    assert all(answer is not None and (tokens == 6) == (end == "length") for _, _, answer, end, tokens, _ in rows)
    assert [name for name, _ in asked] == ["half", "paper", "toy (base)"]
    assert result.metadata["dagster/row_count"] == 9
    before = snapshots(trained.lake)
    assert version(trained.run(answers)) == version(result)
    assert (len(asked), snapshots(trained.lake)) == (3, before)


@pytest.mark.slow
def test_a_further_instruction_asks_that_alone_and_a_set_of_the_same_texts_nothing(
    trained: Trained, asked: list[tuple[str, list[str]]]
) -> None:
    trained.run(answers)
    asked.clear()
    ask(trained, "set", *QUESTIONS, "And then?")
    ask(trained, "same", *QUESTIONS)
    configure(trained, sets=("set", "same"))
    trained.run(answers)
    assert [questions for _, questions in asked] == [["And then?"]] * 3
    assert trained.lake.scalar("select count(*) from evaluation.answers") == 12
    assert trained.lake.scalar("select count(*) from evaluation.current_answers") == 3 * (4 + 3)


@pytest.mark.slow
def test_other_settings_are_other_answers_and_the_old_ones_come_back(
    trained: Trained, asked: list[tuple[str, list[str]]]
) -> None:
    trained.run(answers)
    first = written(trained)
    configure(trained, generation={"max_tokens": 3})
    trained.run(answers)
    assert all(tokens <= 3 for *_, tokens, _ in written(trained))
    assert trained.lake.scalar("select count(*) from evaluation.answers") == 18
    asked.clear()
    configure(trained, generation={"max_tokens": 6, "batch_tokens": 100})
    trained.run(answers)
    assert (written(trained), asked) == (first, [])


@pytest.mark.slow
def test_what_is_there_when_it_is_killed_is_not_written_again(
    trained: Trained, asked: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = write_answers.answers

    def killed(*given: Any) -> Iterator[Answer]:
        yield next(real(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(answers_asset, "_COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(write_answers, "answers", killed)
    with pytest.raises(KeyboardInterrupt):
        trained.run(answers)
    assert trained.lake.scalar("select count(*) from evaluation.answers") == 1
    monkeypatch.setattr(write_answers, "answers", real)
    asked.clear()
    trained.run(answers)
    assert [len(questions) for _, questions in asked] == [2, 3, 3]
    assert trained.lake.scalar("select count(*) from evaluation.answers") == 9


def test_what_answers_lack_is_told(trained: Trained) -> None:
    ask(trained, "set", "Name a sea.", "word " * 4000)
    trained.run(instructions)
    told = trained.run(answers).metadata["told"].splitlines()
    assert "half: 1 of 2 answers failed: evaluation.answers has the reasons" in told
    assert any("are cut at evaluation.generation.max_tokens (6)" in line for line in told)
    reasons = trained.lake.read("select distinct status, reason from evaluation.answers where status <> 'ok'").rows()
    assert [status for status, _ in reasons] == ["prompt_too_long"]


def test_a_changed_file_or_setting_is_seen(trained: Trained) -> None:
    before = observed(trained.profile)
    ask(trained, "set", "Another?")
    changed = observed(trained.profile)
    configure(trained, generation={"max_tokens": 7})
    assert before != changed != observed(trained.profile)


def test_what_a_profile_says_wrong_is_told_with_its_path(trained: Trained) -> None:
    for evaluation, told in (
        ({"instructions": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "instructions: a is named twice"),
        ({"generation": {"max_tokens": 0}}, r"evaluation\.generation\.max_tokens: 0 is below 1"),
        ({"generation": {"maximum": 3}}, r"evaluation\.generation\.maximum: 'maximum' is not a key here"),
        ({"opponents": ["bas"]}, r"evaluation\.opponents: 'bas' is not base or a recipe.*base"),
        (
            {"judges": {"gpt": {"engine": "openai", "model": "m", "prompts": {"conversation": "x.jinja"}}}},
            r"evaluation\.judges\.gpt\.prompts: a judge has one prompt, verdict",
        ),
        ({"judges": {"gpt": {"engine": "openia", "model": "m"}}}, r"evaluation\.judges\.gpt\.engine"),
    ):
        with pytest.raises(UserError, match=told):
            trained.configure(**evaluation)
