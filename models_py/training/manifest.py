"""`manifest.json`: what a checkpoint was made of and what came out, inside its folder.

Example (shortened): {"recipe": "paper_gated", "data_version": "9f3c...", "snapshot_id": 41, "rows": 46,
"student": {"name": "toy", "fingerprint": "77a0..."}, "settings": {"epochs": 3.0}, "loss_before": 5.1,
"loss_after": 3.2}

A folder is a checkpoint if and only if it holds this file. It counts the rows and fingerprints them; the rows
themselves stay in training.training_pairs, under the same recipe and data version. It also holds the hash of every
other file beside it and one of itself (`seal`), so that `damage` tells whether the checkpoint is still what was
published. Nothing here imports torch.
"""

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from models_py.content import FileHashes, file_sha256, fingerprint
from models_py.errors import UserError
from models_py.student.shards import named_bytes
from models_py.training.settings import TrainingSettings

MANIFEST = "manifest.json"
_SEAL = "seal"
_WORSE = 1e-3  # a loss may rise by that share of itself: weights are rounded where the base is stored in bfloat16
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


def sealed(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a manifest with the hashes of all files in the folder and its own, for `damage` to compare."""
    files = {name: file_sha256(folder / name) for name in sorted(_files(folder)) if name != MANIFEST}
    whole = {**content, "files": files}
    return {**whole, _SEAL: fingerprint(whole)}


def damage(folder: Path, *, recorded: Mapping[str, Any] | None = None, hashes: FileHashes | None = None) -> str | None:
    """Why the checkpoint at `folder` is not what was published, in words; None where it is, or where nothing is.

    recorded: the manifest as the lake has it; it stands for the seal that manifests of 0.1 lack. hashes: remembers
    those of files that have not changed since. Of a checkpoint of 0.1 the files' hashes are not known: their JSON and
    the length of their weights are looked at.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        return ", ".join(_wrong(folder, recorded, hashes or FileHashes())) or None
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"


def _wrong(folder: Path, recorded: Mapping[str, Any] | None, hashes: FileHashes) -> Iterator[str]:
    path = folder / MANIFEST
    if not path.is_file():
        yield f"{MANIFEST} is missing"
        return
    try:
        content = Manifest.of(json.loads(path.read_text(encoding="utf-8"))).content
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{MANIFEST} cannot be read ({type(error).__name__}: {error})"
        return
    if _SEAL not in content:
        if recorded not in (None, content):
            yield f"{MANIFEST} is not the one that the lake recorded"
        yield from _broken(folder)
    elif content[_SEAL] != fingerprint({name: value for name, value in content.items() if name != _SEAL}):
        yield f"{MANIFEST} was edited"
    else:
        yield from _changed(folder, content["files"], hashes)


def _files(folder: Path) -> Iterator[str]:
    """All files below the folder, as relative paths."""
    for root, _, names in os.walk(folder):
        yield from (str((Path(root) / name).relative_to(folder)) for name in names)


def _changed(folder: Path, files: Mapping[str, str], hashes: FileHashes) -> Iterator[str]:
    for name, published in files.items():
        file = folder / name
        if not file.is_file():
            yield f"{name} is missing"
        elif hashes.of(file) != published:
            yield f"{name} is not what was published: cut or edited"


def _broken(folder: Path) -> Iterator[str]:
    """What shows without hashes: files that every checkpoint has are missing, JSON or weights are cut.

    A manifest of which nothing else was kept stands as a record.
    """
    if set(_files(folder)) == {MANIFEST}:
        return
    weights = sorted(folder.glob("*.safetensors"))
    for name in ("config.json", "tokenizer_config.json", *(() if weights else ("model.safetensors",))):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            yield f"{file.name} is no JSON: cut or edited"
    for file in weights:
        if not _is_whole(file):
            yield f"{file.name} is cut"


def _is_whole(weights: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        return weights.stat().st_size == named_bytes(weights)
    except ValueError:
        return False


def require_better(loss_before: float, loss_after: float, *, recipe: str, learning_rate: float) -> None:
    """Raise UserError where training left the model worse on the very rows it was trained on, or with no number."""
    if math.isfinite(loss_after) and loss_after <= loss_before * (1 + _WORSE):
        return
    raise UserError(
        f"Recipe {recipe}: training diverged: the loss is {loss_after:,.3f} on the rows it was trained on, and was "
        f"{loss_before:,.3f} before. Such a model is not kept as a result. Lower training.learning_rate (now "
        f"{learning_rate:g}), or raise training.warmup_ratio or training.batch_size, in the profile."
    )


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
