"""Three pairs, a recorded teacher and a student that is only files: enough to run every asset without a model."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest

from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.raw.raw_pairs import raw_pairs
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.content import content_id
from tests.support.profiles import SMALLEST, write_profile
from tests.support.servers import ChatServer, completion

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

NOTHING: Mapping[str, Any] = MappingProxyType({})


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

    def configure(self, parts: Mapping[str, Any] = NOTHING, **recipe: object) -> None:
        """Write the profile; `parts` replaces keys of it, `recipe` cuts the recipe `paper`."""
        teachers = parts.get("teachers", {"recorded": {"engine": "recorded", "replies": "replies.jsonl"}})
        common = {"teacher": next(iter(teachers)), "student": "toy"}
        profile = {
            **SMALLEST,
            "warehouse": "warehouse",
            "teachers": teachers,
            "students": {"toy": {"model": str(self.folder / "student"), "max_length": 64}},
            "recipes": {"paper": {"policy": "paper", **common, **recipe}, "original": {"policy": "original", **common}},
            "max_bad_fraction": 0.25,
            **parts,
        }
        self.profile = load_profile(write_profile(self.folder, profile))
        self.lake = open_lake(self.profile)

    def sound_student(self, weights: str = "{}") -> None:
        """Make the student one that `base_students` takes: of a known architecture, its file of weights whole."""
        (self.folder / "student" / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        (self.folder / "student" / "model.safetensors").write_bytes(
            (2).to_bytes(8, "little") + b"{}" + weights.encode()
        )

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


@dataclass
class Gpt:
    """A teacher behind a real server: `say` makes a completion of a prompt, `asked` holds the prompts."""

    say: Callable[[str], dict[str, Any]] = lambda _: completion(rewrite("Describe it at night.", "Dark."))
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def __call__(self, body: dict[str, Any], _: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][-1]["content"]
        self.asked.append(prompt)
        return 200, self.say(prompt)

    def teaches(self, flow: Flow, parts: Mapping[str, Any] = NOTHING, **settings: object) -> None:
        """Make it the profile's only teacher, `gpt`, with further `parts` of the profile."""
        teacher = {"engine": "openai", "model": "small", "base_url": self.url, "api_key_env": None, **settings}
        flow.configure({"teachers": {"gpt": teacher}, **parts})
        flow.run(teachers)


@pytest.fixture
def gpt() -> Iterator[Gpt]:
    gpt = Gpt()
    with ChatServer(answer=gpt) as server:
        gpt.url = server.url
        yield gpt


@pytest.fixture(scope="session")
def with_pairs(new_flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """A flow whose profile and pairs are in the lake, to be copied."""
    flow = new_flow.copy(tmp_path_factory.mktemp("pairs"))
    list(flow.run(raw_pairs))
    for asset in (recipes, students, teachers):
        flow.run(asset)
    return flow


@pytest.fixture
def ready(with_pairs: Flow, tmp_path: Path) -> Flow:
    return with_pairs.copy(tmp_path)


def version(result: dg.MaterializeResult[None]) -> str:
    assert result.data_version is not None
    return result.data_version.value
