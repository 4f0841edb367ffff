"""The profiles that people start from: each is loaded and checked, and told alike by `make profiles` and the README."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dagster_project.commands import profiles as command
from dagster_project.commands.check import findings
from dagster_project.commands.profiles import listed, needs, readme_table
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile, profile_files
from dagster_project.profile.schema import Profile
from models_py.errors import UserError
from models_py.teacher.money import Price
from models_py.teacher.spec import OpenAISettings
from models_py.training.settings import TrainingSettings
from tests.conftest import PROJECT
from tests.support.profiles import SMALLEST, write_profile
from tests.support.values import as_a

FILES = profile_files()
STARTED_FROM = {
    *("minimal", "openai", "one_gpu", "alpaca_llama2_7b", "wizardlm_7b_top2percent"),
    *("thresholds", "pairings", "recycled_ratio", "local"),
}


def load(name: str) -> Profile:
    return load_profile(name, policies())


def test_all_are_there() -> None:
    assert {file.stem for file in FILES} >= STARTED_FROM | {"quickstart"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_loaded_and_checked(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its keys and servers there and no network nothing is wrong but this machine's disk; the hub is not seen."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dagster_project.commands.check.unreached", lambda url, wait_s: None)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "seeds").symlink_to(PROJECT / "seeds")
    copy = Path(shutil.copy(file, tmp_path / "profiles"))
    for settings in load_profile(copy, policies()).teachers.values():
        if name := getattr(settings, "api_key_env", None):
            monkeypatch.setenv(name, "sk-test")
    found = list(findings(copy, port=0))
    problems = [finding.told for finding in found if finding.verdict == "problem"]
    assert [told for told in problems if " needs about " not in told] == []
    unchecked = [finding.told for finding in found if finding.verdict == "not checked"]
    assert all("the hub" in told or "which cannot be reached" in told for told in unchecked), unchecked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profiles", "seeds"]
    assert re.fullmatch(r"\S.{20,130}\S", listed(file).is_for)


def test_the_least_is_ten_lines() -> None:
    assert len((PROJECT / "profiles" / "minimal.yaml").read_text().splitlines()) == 10


@pytest.mark.parametrize("name", ["alpaca_llama2_7b", "wizardlm_7b_top2percent"])
def test_the_papers_numbers_are_the_papers(name: str) -> None:
    profile = load(name)
    assert profile.training == TrainingSettings(device_batch_size=4, gradient_checkpointing=True)
    settings = profile.training
    assert (settings.epochs, settings.learning_rate, settings.batch_size) == (3, 2e-5, 128)
    assert (settings.warmup_ratio, settings.weight_decay, settings.max_length) == (0.03, 0, 2048)
    (teacher,) = profile.teacher_specs()
    sampling = as_a(OpenAISettings, teacher.settings).sampling
    assert (teacher.settings.model_name, teacher.price) == ("gpt-3.5-turbo", Price(0.5, 1.5))
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0, 1, 2048)


def test_the_top_2_percent_of_the_selected_rows_are_926() -> None:
    """floor(2 % of the 46,325 rows that the paper kept), by the rule of pair_decisions.sql."""
    fraction = load("wizardlm_7b_top2percent").recipes["top_2_percent"].top_fraction
    assert fraction is not None and int(46_325 * fraction) == 926


def test_what_the_experiments_vary() -> None:
    cuts = [recipe.ifd_below for recipe in load("thresholds").recipes.values()]
    assert sorted(cut for cut in cuts if cut) == [0.5, 0.65, 0.8]
    assert sorted(recipe.mix for recipe in load("recycled_ratio").recipes.values()) == [0, 0, 0.25, 0.5, 0.75]
    pairings = {(recipe.teacher, recipe.student) for recipe in load("pairings").recipes.values()}
    assert len(pairings) == len(load("pairings").recipes) >= 2


# --- what they are told to need


def changed(tmp_path: Path, **changes: Any) -> list[str]:
    return list(needs(load_profile(write_profile(tmp_path, {**SMALLEST, **changes}))))


HERE = {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:8000/v1", "api_key_env": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"teachers": {"tape": {"engine": "openai", "model": "m"}}}, ["network", "OPENAI_API_KEY"]),
        ({"teachers": {"tape": HERE}}, ["http://127.0.0.1:8000/v1"]),
        ({"teachers": {"tape": HERE | {"base_url": "http://localhost:11434/v1"}}}, ["http://localhost:11434/v1"]),
        ({"teachers": {"tape": HERE | {"base_url": "http://10.1.2.3/v1"}}}, ["network"]),
        ({"teachers": {"tape": {"engine": "vllm", "model": "some/model"}}}, ["network"]),
        ({"sources": [{"name": "mine", "path": "hf://datasets/a/b"}]}, ["network"]),
        ({"students": {"toy": {"model": "Qwen/Qwen3-0.6B-Base"}}}, ["network", "a GPU with more than 10 GB"]),
        ({"students": {"toy": {"model": "HuggingFaceTB/SmolLM2-135M"}}}, ["network"]),
        ({"students": {"toy": {"model": "./Llama-2-7b-hf"}}}, ["a GPU with more than 112 GB"]),
        ({"students": {"toy": {"model": "package:a/tiny-1.1b-chat.gguf"}}}, ["a GPU with more than 18 GB"]),
        ({"students": {"toy": {"model": "./phi3b-notes"}}}, []),
    ],
)
def test_what_a_profile_needs_is_read_from_it(tmp_path: Path, changes: dict[str, Any], expected: list[str]) -> None:
    assert changed(tmp_path, **changes) == expected


# --- where they are told


def test_make_profiles_lists_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main() == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["PROFILE=", *(file.stem for file in FILES)]


def test_one_that_is_broken_is_told_and_the_others_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write_profile(tmp_path / "good", "# For tests.\n" + "warehouse: a\n"), write_profile(tmp_path / "b", {})
    good.write_text("# Enough to be accepted, and no more.\n" + write_profile(tmp_path / "c", SMALLEST).read_text())
    monkeypatch.setattr(command, "profile_files", lambda: [good, bad])
    assert command.main() == 1
    said = capsys.readouterr()
    assert "Enough to be accepted" in said.out and "things to correct" in said.err
    with pytest.raises(UserError, match="does not begin with a line `# what it is for`"):
        listed(tmp_path / "c" / "mine.yaml")


def test_the_table_of_the_readme_is_current() -> None:
    """Of what belongs to the project: somebody's own profiles are in no table."""
    shown = re.search(r"(?m)^\| profile \|.*\n\|---.*\n(?:\| `.*\n)+", (PROJECT / "README.md").read_text())
    tracked = subprocess.run(["git", "ls-files", "profiles"], cwd=PROJECT, capture_output=True, text=True, check=False)
    theirs = {file.stem for file in FILES} - {Path(name).stem for name in tracked.stdout.split()}
    lines = readme_table().splitlines(keepends=True)
    ours = [line for line in lines if tracked.returncode or line.split("`")[1:2] not in [[name] for name in theirs]]
    assert shown is not None and shown[0] == "".join(ours), "put this into the README:\n" + "".join(ours)
