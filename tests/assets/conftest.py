"""Three pairs, a recorded teacher and a student that is only files: enough to run every asset without a model."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.lake import Lake, open_lake
from dagster_project.profile import Profile, load_profile
from models_py.content import content_id

CAT, DOG, OWL = ("Describe a cat.", "", "Soft."), ("Describe a dog.", "", "Loyal."), ("Describe an owl.", "", "Wise.")
NEW_CAT = ("Describe a cat in five words.", "", "Soft, quiet, proud, quick, warm.")
BETTER_DOG = "Loyal, loud and always hungry."


def rewrite(instruction: str, output: str) -> str:
    return f"Too vague.\n\n[New Instruction]\n{instruction}\n[End]\n\n[New Answer]\n{output}\n[End]"


def better(output: str) -> str:
    return f"Too short.\n\n[Better Answer]\n{output}\n[End]"


REPLIES = {
    ("instruction_reflection", CAT): rewrite(NEW_CAT[0], NEW_CAT[2]),
    ("instruction_reflection", DOG): "I would rather not.",
    ("response_reflection", DOG): better(BETTER_DOG),
}


@dataclass
class Flow:
    """A profile with its lake; `run` calls one asset's function, as Dagster would."""

    folder: Path
    profile: Profile = field(init=False)
    lake: Lake = field(init=False)
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def __post_init__(self) -> None:
        if not (self.folder / "pairs.jsonl").exists():
            self.pairs(CAT, DOG, OWL)
            self.replies(REPLIES)
            student = self.folder / "student"
            student.mkdir()
            for name in ("config.json", "tokenizer.json", "model.safetensors"):
                (student / name).write_text("{}", encoding="utf-8")
        self.configure()

    def copy(self, folder: Path) -> "Flow":
        """The same flow as far as it has run, in another folder: quicker than running it again."""
        return Flow(shutil.copytree(self.folder, folder, dirs_exist_ok=True))

    def configure(self, **recipe: object) -> None:
        """Write the profile; `recipe` cuts the recipe `paper`."""
        common = {"teacher": "recorded", "student": "toy"}
        profile = {
            "warehouse": "warehouse",
            "sources": [{"name": "mine", "path": "pairs.jsonl"}],
            "teachers": {"recorded": {"engine": "recorded", "replies": "replies.jsonl"}},
            "students": {"toy": {"model": str(self.folder / "student"), "max_length": 64}},
            "recipes": {"paper": {"policy": "paper", **common, **recipe}, "original": {"policy": "original", **common}},
            "max_bad_fraction": 0.25,
        }
        file = self.folder / "profile.yaml"
        file.write_text(json.dumps(profile), encoding="utf-8")  # JSON is YAML
        self.profile = load_profile(file)
        self.lake = open_lake(self.profile)

    def pairs(self, *rows: tuple[str, str, str], broken: int = 0) -> None:
        lines = [json.dumps(dict(zip(("instruction", "input", "output"), row, strict=True))) for row in rows]
        (self.folder / "pairs.jsonl").write_text("\n".join([*lines, *["{"] * broken]) + "\n", encoding="utf-8")

    def replies(self, replies: Mapping[tuple[str, tuple[str, str, str]], str]) -> None:
        lines = [
            json.dumps({"phase": phase, "content_id": content_id(*pair), "reply": reply, "finish_reason": "stop"})
            for (phase, pair), reply in replies.items()
        ]
        (self.folder / "replies.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, asset: dg.AssetsDefinition) -> Any:
        context = dg.build_asset_context(instance=self.instance)
        return asset(
            context, lake=self.lake, **({"profile": self.profile} if "profile" in asset.required_resource_keys else {})
        )


@pytest.fixture(scope="session")
def new_flow(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """A flow of which nothing has run, to be copied."""
    folder = tmp_path_factory.mktemp("flow")
    shutil.copytree(empty_warehouse, folder / "warehouse")
    return Flow(folder)


@pytest.fixture
def flow(new_flow: Flow, tmp_path: Path) -> Flow:
    return new_flow.copy(tmp_path)


def version(result: dg.MaterializeResult) -> str:
    assert result.data_version is not None
    return result.data_version.value
