"""`manifest.json`: what a checkpoint was made of and what came out, inside its folder.

Example (shortened): {"recipe": "paper_gated", "data_version": "9f3c...", "snapshot_id": 41, "rows": 46,
"student": {"name": "toy", "fingerprint": "77a0..."}, "settings": {"epochs": 3.0}, "loss_before": 5.1,
"loss_after": 3.2}

A folder is a checkpoint if and only if it holds this file. It counts the rows and fingerprints them; the rows
themselves stay in training.training_pairs, under the same recipe and data version.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.training.settings import TrainingResult

MANIFEST = "manifest.json"
_PACKAGES = ("torch", "transformers", "tokenizers", "trl", "accelerate", "datasets", "safetensors")


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `manifest` as readable JSON."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the checkpoint at `folder`; None when nothing (or an empty folder) is there.

    Raises UserError for a folder that holds something else, or whose manifest cannot be read.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is in the way: no checkpoint, for it has no {MANIFEST}. Move or remove it.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result_of(manifest, folder)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}). Remove {folder} to train it anew.") from error
    return manifest


def published_checkpoint(folder: Path) -> TrainingResult | None:
    """The result stored in the checkpoint at `folder`, or None when there is none yet. Never imports torch."""
    manifest = read_manifest(folder)
    return None if manifest is None else result_of(manifest, folder)


def result_of(manifest: Mapping[str, Any], folder: Path) -> TrainingResult:
    """The `TrainingResult` that a manifest records."""
    return TrainingResult(
        path=folder,
        loss_before=float(manifest["loss_before"]),
        loss_after=float(manifest["loss_after"]),
        steps=int(manifest["steps"]),
        trained_rows=int(manifest["rows"]),
        dropped=[(str(pair_id), str(reason)) for pair_id, reason in manifest["dropped"]],
        seconds=float(manifest["seconds"]),
    )


def check_same_origin(found: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError when the checkpoint found was made from something else than what is asked for now.

    Compared are recipe, data version, student and settings, each as far as both sides record it.
    """
    for key in ("recipe", "data_version", "student", "settings"):
        if key not in found or key not in asked:
            continue
        old, new = found[key], asked[key]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if key == "student":  # its name and folder may change, its identity not
                old, new = old.get("fingerprint"), new.get("fingerprint")
            else:
                shared = old.keys() & new.keys()
                old, new = {k: old[k] for k in sorted(shared)}, {k: new[k] for k in sorted(shared)}
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
