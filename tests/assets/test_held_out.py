"""evaluation.held_out_*: files of pairs become rows, every model scores each once, what fails keeps its reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from assets.evaluation.evaluated_models import evaluated_models
from assets.evaluation.held_out_rows import held_out_rows, observed
from assets.evaluation.held_out_scores import held_out_scores
from models_py.errors import UserError
from models_py.student.chat import TermSequences
from models_py.student.loading import load_chat, load_model
from models_py.student.nll import TargetSequence, own_nll
from models_py.student.scorer import Scorer
from tests.assets.conftest import version
from tests.support.lakes import snapshots
from tests.support.trained import Trained

PAIRS = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue, I think."},
    {"instruction": "Count to three.", "output": "One, two, three."},
    {"instruction": "Count to three.", "output": "One, two, three."},
    {"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me."},
        {"role": "user", "content": "And who else?"},
        {"role": "assistant", "content": "Nobody else."},
    ]},
]  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained") / "mine")


@pytest.fixture
def trained(start: Trained, tmp_path: Path) -> Trained:
    trained = start.copy(tmp_path / "mine")
    write(trained, "first", PAIRS)
    write(trained, "second", [*PAIRS[:1], {"instruction": "Say it.", "output": "x" * 4000}])
    trained.configure(held_out=[{"name": "first", "path": "first.jsonl"}, {"name": "second", "path": "second.jsonl"}])
    return trained


def write(trained: Trained, name: str, rows: list[Any]) -> None:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (trained.folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_a_pair_stands_once_in_each_set_that_holds_it(trained: Trained) -> None:
    result = trained.run(held_out_rows)
    rows = trained.lake.read(
        "select held_out, source_row, instruction, system from evaluation.held_out_rows order by all"
    )
    assert rows.rows() == [
        ("first", 1, "Name a colour.", ""),
        ("first", 2, "Count to three.", ""),
        ("first", 4, "And who else?", "Be brief."),
        ("second", 1, "Name a colour.", ""),
        ("second", 2, "Say it.", ""),
    ]
    assert result.metadata["told"].value == "first: 1 further copies count once"


def test_bad_rows_are_told_and_too_many_stop_it(trained: Trained) -> None:
    write(trained, "first", [*PAIRS, '{"instruction": "broken'])
    told = trained.run(held_out_rows).metadata["told"].value.splitlines()
    assert told[1].startswith("first: 1 rows are no pairs (first: row 5: ")
    write(trained, "first", [*PAIRS[:1], "broken", "broken"])
    with pytest.raises(UserError, match=r"evaluation\.held_out\.first: 2 of 3 rows cannot be used"):
        trained.run(held_out_rows)


def test_a_changed_file_is_seen(trained: Trained) -> None:
    before = observed(trained.profile)
    write(trained, "first", PAIRS[:1])
    assert observed(trained.profile) != before


def test_each_loss_is_that_of_the_models_own_logits(trained: Trained) -> None:
    trained.run(held_out_rows)
    result = trained.run(held_out_scores)
    assert result.metadata["dagster/row_count"] == 4 * 3
    losses = trained.lake.read(
        "select name, instruction, output, nll, tokens, truncated from evaluation.held_out_losses "
        "inner join evaluation.held_out_rows using (held_out, content_id) "
        "where held_out = 'second' order by name, instruction"
    )
    assert losses["name"].unique().sort().to_list() == ["half", "paper", "toy (base)"]
    models = {model.name: model for model in evaluated_models(trained.lake, trained.profile)}
    for row in losses.iter_rows(named=True):
        student = models[row["name"]].student
        chat, model = load_chat(student), load_model(student, "cpu")
        terms = chat.answer_sequences(row["instruction"], "", row["output"])
        assert isinstance(terms, TermSequences)
        assert row["tokens"] == terms.target_tokens and row["truncated"] == terms.truncated
        expected = own_nll(model, TargetSequence(tuple(terms.conditioned), terms.target_tokens))
        assert row["nll"] == pytest.approx(expected, rel=1e-4)
    assert [row["truncated"] for row in losses.iter_rows(named=True)] == [False, True] * 3
    assert result.metadata["told"] == "3 of 12 answers are scored without their end (max_length)"


def test_nothing_is_computed_twice(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.run(held_out_rows)
    first = version(trained.run(held_out_scores))
    before = snapshots(trained.lake)
    monkeypatch.setattr(Scorer, "__init__", lambda *_: pytest.fail("a model was loaded"))
    assert version(trained.run(held_out_scores)) == first and snapshots(trained.lake) == before
    # What a set no longer holds stays stored, counts no more, and counts again.
    trained.configure(held_out=[{"name": "only", "path": "second.jsonl"}])
    trained.run(held_out_rows)
    assert trained.run(held_out_scores).metadata["dagster/row_count"] == 2 * 3
    assert trained.lake.scalar("select count(*) from evaluation.held_out_losses where held_out = 'only'") == 6


def test_an_interrupted_run_goes_on_with_what_is_missing(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.run(held_out_rows)
    real, asked = Scorer.score, []

    def until_the_second(self: Scorer, requests: Any, *more: Any, **named: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, requests, *more, **named)

    monkeypatch.setattr(Scorer, "score", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        trained.run(held_out_scores)
    assert trained.lake.scalar("select count(*) from evaluation.held_out_scores") == 4
    trained.run(held_out_scores)
    assert len(asked) == 4  # two models were missing
    assert trained.lake.scalar("select count(*) from evaluation.held_out_scores") == 12


def test_a_failed_row_keeps_its_reason(trained: Trained) -> None:
    write(trained, "first", [{"instruction": "why " * 900, "output": "Because."}, *PAIRS[:1]])
    trained.run(held_out_rows)
    result = trained.run(held_out_scores)
    failed = trained.lake.read(
        "select distinct nll, status, reason from evaluation.held_out_losses where status <> 'ok'"
    )
    [(nll, status, reason)] = failed.rows()
    assert (nll, status) == (None, "prompt_too_long") and reason.startswith(
        "answer_nll_given_instruction: the prompt takes"
    )
    assert result.metadata["status/prompt_too_long"] == 3


def test_what_a_model_was_trained_on_is_told(trained: Trained) -> None:
    row = trained.lake.read(
        "select instruction, input from training.training_pairs where recipe = 'paper' limit 1"
    ).row(0)
    write(trained, "first", [{"instruction": row[0], "input": row[1], "output": "Something else."}])
    trained.run(held_out_rows)
    told = trained.run(held_out_scores).metadata["told"].splitlines()
    assert "paper was trained on 1 of the instructions of first" in told


def test_no_set_is_no_work(trained: Trained) -> None:
    trained.configure()
    assert trained.run(held_out_rows).metadata["dagster/row_count"] == 0
    assert trained.run(held_out_scores).metadata["dagster/row_count"] == 0
