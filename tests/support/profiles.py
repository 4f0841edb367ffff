"""Profiles in a folder of their own: the bundled one, a smaller one of it, and whatever a test makes of these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dagster_project.root import PROJECT_ROOT

SEEDS = PROJECT_ROOT / "seeds"
# Enough to be accepted; no file that it names need be there.
SMALLEST: Mapping[str, Any] = {
    "warehouse": "house",
    "sources": [{"name": "mine", "path": "pairs.jsonl"}],
    "teachers": {"tape": {"engine": "recorded", "replies": "replies.jsonl"}},
    "students": {"toy": {"scratch": {}}},
    "recipes": {"first": {"policy": "paper", "teacher": "tape", "student": "toy"}},
}


def write_profile(folder: Path, profile: Mapping[str, Any] | str) -> Path:
    """`mine.yaml` in that folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mine.yaml"
    text = profile if isinstance(profile, str) else yaml.safe_dump(dict(profile), sort_keys=False)
    file.write_text(text, encoding="utf-8")
    return file


def bundled_text(name: str) -> str:
    """A bundled profile with its comments; the seeds where they are, the warehouse beside the file."""
    text = (PROJECT_ROOT / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.replace(f"warehouse/{name}", "warehouse").replace("seeds/", f"{SEEDS}/")


def toy_profile(folder: Path, **changes: object) -> Path:
    """profiles/toy.yaml in a folder of its own, some of its keys replaced."""
    return write_profile(folder, yaml.safe_load(bundled_text("toy")) | changes)


def small_toy(folder: Path, **changes: object) -> Path:
    """The same with a smaller toy, one epoch and two recipes."""
    profile = yaml.safe_load(bundled_text("toy"))
    scratch = {"texts": [str(SEEDS / "pairs.jsonl")], "vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6}
    profile["students"]["toy"] = {"scratch": {**scratch, "max_length": 1024}}
    profile["recipes"] = {name: profile["recipes"][name] for name in ("paper", "original")}
    profile["training"] |= {"epochs": 1, "max_length": 1024}
    return write_profile(folder, profile | changes)
