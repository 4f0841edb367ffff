"""`make push`: what it says before it uploads anything, and what arrives at a hub on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.commands import push
from tests.dagster_project.commands.conftest import Told
from tests.support.hub import TOKEN, TakingHub, reached_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with reached_hub(monkeypatch) as hub:
        yield hub


def pushed(told: Told, *arguments: str, status: int = 0) -> str:
    assert push.main([*arguments, "--profile", str(told.profile.file)]) == status
    said = told.capture.readouterr()
    assert TOKEN not in said.out + said.err
    return said.err if status else said.out


def test_it_only_says_what_would_be_uploaded(told: Told, hub: TakingHub) -> None:
    said = pushed(told, "paper", "--format", "preference", "--repo", "me/pairs")
    assert "paper as preference: 3 rows" in said and "data/train.parquet  " in said and " bytes" in said
    assert "to the data set me/pairs on the hub, private where it is new" in said
    assert "Nothing was uploaded. CONFIRM=1 does it (a token is there)." in said
    assert hub.asked == []


def test_confirmed_it_arrives(told: Told, hub: TakingHub) -> None:
    said = pushed(told, "paper", "--files", "jsonl", "--repo", "me/pairs", "--confirm")
    assert "Uploaded: " in said and "/datasets/me/pairs" in said
    repo = hub.repos["me/pairs"]
    assert repo.private and repo.commits == ["paper as messages"]
    assert len(repo.files["data/train.jsonl"].splitlines()) == 2
    assert 'load_dataset("me/pairs", split="train")' in repo.files["README.md"].decode()
    info = json.loads(repo.files["dataset_info.json"])["paper"]
    assert info["hf_hub_url"] == "me/pairs" and "file_name" not in info
    pushed(told, "paper", "--repo", "me/pairs", "--confirm")
    assert "data/train.jsonl" not in repo.files and len(repo.commits) == 2


def test_without_a_token_it_says_so(
    told: Told, hub: TakingHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "(no token is there yet: set HF_TOKEN)" in pushed(told, "paper", "--repo", "me/pairs")
    assert "There is no token for the hub: set HF_TOKEN" in pushed(
        told, "paper", "--repo", "me/pairs", "--confirm", status=1
    )
    assert hub.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["paper"], "REPO is missing: where it goes on the hub, REPO=<owner>/<name>"),
        (["paper", "--repo", "pairs"], "REPO=pairs is no name of a repository (its owner is missing)"),
        (["papr", "--repo", "me/pairs"], "RECIPE: 'papr' is not a recipe of the profile (did you mean paper?)"),
    ],
)
def test_what_is_wrong_is_said(told: Told, hub: TakingHub, arguments: list[str], said: str) -> None:
    assert said in pushed(told, *arguments, status=1)
    assert hub.asked == []
