"""`manifest.json`: what a checkpoint was made of and what came out, inside its folder.

Example (shortened): {"recipe": "paper_gated", "data_version": "9f3c...", "snapshot_id": 41, "rows": 46,
"student": {"name": "toy", "fingerprint": "77a0..."}, "settings": {"epochs": 3.0}, "loss_before": 5.1,
"loss_after": 3.2}

A folder is a checkpoint if and only if it holds this file. It counts the rows and fingerprints them; the rows
themselves stay in training.training_pairs, under the same recipe and data version. Nothing here imports torch.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from models_py.content import fingerprint
from models_py.errors import UserError
from models_py.training.settings import TrainingSettings

MANIFEST = "manifest.json"
_PACKAGES = ("torch", "transformers", "tokenizers", "trl", "accelerate", "datasets", "safetensors")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What came out of a training; `content` is all that the file says.

    Losses are mean nats a target token, on the same rows (see `fine_tune`). rows: those that were trained on.
    dropped: (pair_id, reason) of the others.
    """

    loss_before: float
    loss_after: float
    steps: int
    rows: int
    seconds: float
    dropped: tuple[tuple[str, str], ...]
    content: Mapping[str, Any]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what no training wrote."""
        return cls(
            loss_before=float(content["loss_before"]),
            loss_after=float(content["loss_after"]),
            steps=int(content["steps"]),
            rows=int(content["rows"]),
            seconds=float(content["seconds"]),
            dropped=tuple((str(pair_id), str(reason)) for pair_id, reason in content["dropped"]),
            content=content,
        )


def checkpoint_id(recipe: str, data_version: str, student_fingerprint: str, settings: TrainingSettings) -> str:
    """Which checkpoint it is: 12 hex digits over all that decides its weights."""
    return fingerprint(recipe, data_version, student_fingerprint, settings.hashed)[:12]


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest as readable JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the checkpoint at `folder`; None when nothing (or an empty folder) is there.

    Raises UserError for a folder that holds something else, or whose manifest cannot be read.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is in the way: no checkpoint, for it has no {MANIFEST}. Move or remove it.")
    try:
        return Manifest.of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}). Remove {folder} to train it anew.") from error


def check_same_origin(found: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError when the checkpoint found was made from something else than what is asked for now.

    Compared are recipe, data version, student and settings, each if both sides record it.
    """
    for key in ("recipe", "data_version", "student", "settings"):
        if key not in found or key not in asked:
            continue
        old, new = found[key], asked[key]
        if key == "student":  # its name and folder may change, its identity not
            old, new = old.get("fingerprint"), new.get("fingerprint")
        if old != new:
            raise UserError(
                f"{folder} holds a checkpoint of another {key} ({old}, asked for: {new}). "
                "Give each its own folder, or remove this one, then run again."
            )


def package_versions() -> dict[str, str]:
    """The versions of what shapes a checkpoint."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
