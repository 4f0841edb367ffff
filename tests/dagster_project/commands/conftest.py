"""A lake of four pairs under two recipes, for the commands that let its rows out."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from dagster_project.commands import export
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.conversation import Context, Message
from tests.sql.story import Story, Text, freeze
from tests.support.profiles import SMALLEST, write_profile

BEFORE = Context("Be brief.", (Message("user", "Hi"), Message("assistant", "Hello")))
TWO_SOURCES = [
    {"name": "s", "path": "pairs.jsonl", "license": "CC BY 4.0"},
    {"name": "t", "path": "more.jsonl"},
]


@dataclass
class Told:
    profile: Profile
    capture: pytest.CaptureFixture[str]

    @property
    def lake(self) -> Lake:
        return open_lake(self.profile)

    def export(self, *arguments: str, out: str = "out", status: int = 0) -> str:
        """What `make export` says; the folder is beside the profile."""
        folder = str(self.profile.root / out)
        assert export.main([*arguments, "--profile", str(self.profile.file), "--out", folder]) == status
        said = self.capture.readouterr()
        return said.err if status else said.out

    def rows(self, out: str = "out", name: str | None = None) -> list[dict[str, Any]]:
        """The rows as `datasets` loads them."""
        folder = self.profile.root / out
        loaded: list[dict[str, Any]] = load_dataset(
            str(folder), name, split="train", cache_dir=str(self.profile.root / "cache")
        ).to_list()
        return loaded

    def card(self, out: str = "out") -> tuple[dict[str, Any], str]:
        """Front matter and text."""
        _, front, text = (self.profile.root / out / "README.md").read_text("utf-8").split("---\n", 2)
        return yaml.safe_load(front), text


def story(lake: Lake) -> Story:
    """Four pairs under two recipes; one ends a conversation, one has an input, one is of another source."""
    story = Story(lake)
    story.recipe("paper", "paper")
    story.recipe("raw", "original")
    story.pair("a", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.6, r_ifd=0.9), both=Text(ifd=0.7, r_ifd=0.3))
    story.pair("b", Text(ifd=0.4, r_ifd=0.4), "refused", response=Text(r_ifd=0.6))
    story.rows["raw.raw_pairs"][-1] |= {"input": "in b"}
    story.pair("c", Text(ifd=0.3, r_ifd=0.8), "refused", response=Text(r_ifd=0.6))
    story.rows["raw.raw_pairs"][-1] |= {"system": BEFORE.system, "history": BEFORE.history_json}
    story.pair("d", Text(ifd=0.2, r_ifd=None), "refused", response="refused")
    story.rows["raw.raw_pairs"][-1] |= {"source": "t"}
    return story


def profile_in(folder: Path, warehouse: Path) -> Profile:
    """A profile whose lake is a copy of that one."""
    common = {"teacher": "gpt", "student": "toy", "seed": 1}
    parts = {
        "teachers": {"gpt": {"engine": "recorded", "replies": "replies.jsonl"}},
        "recipes": {"paper": {"policy": "paper", **common}, "raw": {"policy": "original", **common}},
        "sources": TWO_SOURCES,
    }
    profile = load_profile(write_profile(folder, {**SMALLEST, **parts}))
    shutil.copytree(warehouse, profile.warehouse)
    return profile


@pytest.fixture
def untold(tmp_path: Path, empty_warehouse: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """The profile with an empty lake."""
    return Told(profile_in(tmp_path, empty_warehouse), capsys)


@pytest.fixture(scope="session")
def told_warehouse(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    profile = profile_in(tmp_path_factory.mktemp("told"), empty_warehouse)
    freeze(story(open_lake(profile)).tell(), "v1")
    return profile.warehouse


@pytest.fixture
def told(tmp_path: Path, told_warehouse: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """The profile with the story's lake, to be read only."""
    return Told(profile_in(tmp_path, told_warehouse), capsys)
