"""`make export-answers`: answers in the files that AlpacaEval and MT-bench read."""

import json
from pathlib import Path

import pytest

from dagster_project.commands.export_answers import main
from tests.support.trained import Trained, answer_by_hand


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = Trained(tmp_path_factory.mktemp("trained") / "mine")
    answer_by_hand(trained)
    return trained


def run(answered: Trained, *arguments: object) -> int:
    return main([*map(str, arguments), "--profile", str(answered.profile.file)])


def test_alpaca_evals_outputs(answered: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answers.json"
    assert run(answered, "paper", "--out", out) == 0
    assert json.loads(out.read_text("utf-8")) == [
        {"dataset": "set", "instruction": asked, "output": said, "generator": "paper"}
        for asked, said in (
            ("Name a sea.", "The paper Sea."),
            ("Why is the sky blue?", "Light."),
            ("Count to three.", "1 2 3"),
        )
    ]
    assert capsys.readouterr().out == f"{out}: 3 answers of paper to set\n"


def test_mt_benchs_answers(answered: Trained, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    assert run(answered, "toy (base)", "--out", out, "--format", "mt_bench") == 0
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["question_id"] for row in rows] == [1, 2, 3]
    assert len({row["answer_id"] for row in rows}) == 3
    first = {name: rows[0][name] for name in ("model_id", "choices", "tstamp")}
    assert first == {
        "model_id": "toy (base)",
        "choices": [{"index": 0, "turns": ["The toy (base) Sea."]}],
        "tstamp": 1769860800.0,
    }


def test_what_has_no_answer_is_left_out_and_told(
    answered: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = answered.copy(tmp_path / "copy")
    trained.configure(instructions=[{"name": "set", "path": "set.jsonl"}], generation={"max_tokens": 6})
    with trained.lake.connect(read_only=False) as connection:
        connection.execute("delete from evaluation.answers where answer = '1 2 3'")
    assert run(trained, "half", "--out", tmp_path / "answers.json") == 0
    assert "1 of 3 instructions have no answer and are left out." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "x.json"], "MODEL says which: half, paper, toy (base)."),
        (["papr", "--out", "x.json"], "'papr' is not an evaluated model (did you mean paper?)"),
        (["paper"], "OUT is missing"),
        (["paper", "--out", "x.json", "--format", "alpaca"], "FORMAT: 'alpaca' is not a format"),
        (["paper", "--out", "x.json", "--set", "other"], "SET: 'other' is not a set of instructions"),
        (["paper", "--out", "/nowhere/x.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_told(
    answered: Trained, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(answered, *arguments) == 1
    assert told in capsys.readouterr().err.replace("\n", " ")
