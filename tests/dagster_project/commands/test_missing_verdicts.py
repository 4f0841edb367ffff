"""`make estimate` and `make check` count judges in: what they would still be asked, and what they lack."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dagster_project.commands import teacher
from dagster_project.commands.check import findings
from dagster_project.commands.missing_verdicts import missing_verdicts, verdicts_wanted
from dagster_project.profile.load import load_profile
from models_py.evaluation.judge import judge_all, open_judge
from models_py.teacher.ledger import Ledger
from tests.support.servers import ChatServer, completion
from tests.support.trained import INSTRUCTION_SET, MADE_BY_0_1, Trained, answer_by_hand

GPT = {"engine": "openai", "model": "gpt-4.1", "api_key_env": "NO_SUCH_KEY", "sampling": {"max_tokens": 512}}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = Trained(tmp_path_factory.mktemp("trained") / "mine")
    answer_by_hand(trained)
    return trained


@pytest.fixture
def trained(answered: Trained, tmp_path: Path) -> Trained:
    return answered.copy(tmp_path / "mine")


def counted(trained: Trained, judge: dict[str, Any], **evaluation: object) -> tuple[int, int]:
    """Verdicts that are wanted, and that are missing."""
    trained.configure(**{**INSTRUCTION_SET, "judges": {"gpt": judge}, **evaluation})
    (spec,) = trained.profile.judge_specs()
    with Ledger(trained.profile.ledger_path) as ledger:
        (phase,) = missing_verdicts(open_judge(spec), verdicts_wanted(trained.profile), ledger).phases
    return phase.wanted, phase.missing


def test_what_is_there_is_known_to_the_letter(trained: Trained) -> None:
    # Two checkpoints and their base differ in two of three answers; of the second one both checkpoints say the same.
    assert counted(trained, GPT) == (6, 6)
    wanted = verdicts_wanted(trained.profile)
    assert (len(wanted.known), wanted.to_come) == (8, 0)


def test_what_was_answered_is_not_missing(trained: Trained) -> None:
    with ChatServer(answer=lambda body, headers: (200, completion("8 7"))) as server:
        judge = {**GPT, "base_url": server.url, "api_key_env": None}
        counted(trained, judge)
        (spec,) = trained.profile.judge_specs()
        with Ledger(trained.profile.ledger_path) as ledger:
            opened = open_judge(spec)
            list(judge_all(verdicts_wanted(trained.profile).known[:4], opened, ledger))
        wanted, missing = counted(trained, judge)
    assert wanted == 6
    assert 2 <= missing <= 3  # four of eight, two of which may be the same


def test_answers_to_come_are_counted_as_many_as_the_profile_makes(trained: Trained) -> None:
    wanted, missing = counted(trained, GPT, generation={"max_tokens": 99}, opponents=["base", "paper"])
    # Nobody has answered so yet: both checkpoints meet the base, and `half` meets `paper`, on three instructions.
    assert wanted == missing == 3 * 3 * 2


def test_a_lake_of_before_there_were_evaluations_has_all_to_come(tmp_path: Path) -> None:
    shutil.copytree(MADE_BY_0_1, tmp_path / "old")
    file = tmp_path / "old" / "profile.yaml"
    profile = {**json.loads(file.read_text()), "evaluation": {"judges": {"gpt": GPT}}}
    file.write_text(json.dumps(profile))
    wanted = verdicts_wanted(load_profile(file))
    assert (wanted.known, wanted.to_come) == ([], 2 * 2 * 40)  # two recipes and their base, the bundled instructions


def test_the_terminal_shows_judges_beside_teachers(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    counted(trained, {**GPT, "budget": {"max_requests": 3}})
    assert teacher.main(["estimate", "--profile", str(trained.profile.file)]) == 0
    said = capsys.readouterr().out
    judge = said[said.index("evaluation.judges.gpt") :]
    assert "verdict" in judge and "0 of 6" in judge and "both" not in judge
    assert "evaluation.judges.gpt.budget.max_requests 3 would stop it after about" in " ".join(judge.split())


def test_a_check_names_what_an_evaluation_lacks(trained: Trained) -> None:
    (trained.folder / "broken.jsonl").write_text(json.dumps({"title": "x"}) + "\n" + json.dumps({"title": "y"}) + "\n")
    trained.configure(
        instructions=[{"name": "set", "path": "set.jsonl"}, {"name": "broken", "path": "broken.jsonl"}],
        annotations=[{"name": "gone", "path": "gone.json"}],
        judges={"gpt": GPT, "mine": {**GPT, "prompts": {"verdict": "gone.jinja"}}},
    )
    found = {finding.told: finding.verdict for finding in findings(trained.profile.file)}
    assert found["evaluation.instructions.set: 3 instructions"] == "ok"
    problems = "\n".join(told for told, verdict in found.items() if verdict == "problem")
    for told in (
        "evaluation.instructions.broken.path: ",
        "evaluation.annotations.gone.path: ",
        "evaluation.judges.gpt.api_key_env: the environment variable NO_SUCH_KEY is not set",
        "evaluation.judges.mine.prompts.verdict: cannot read ",
    ):
        assert told in problems
