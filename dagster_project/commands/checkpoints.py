"""Which checkpoint a command means: `CHECKPOINT=` is its id or the beginning of it, its name, or its folder.

Example: checkpoint_meant(lake, "9080d9"), or "paper", "paper/1", "warehouse/quickstart/checkpoints/paper/9080d98b8d4a".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError, unknown
from models_py.training.manifest import MANIFEST

_SHORTEST = 4  # characters of the beginning of an id
_RECORDED = """
select
    checkpoints.recipe,
    checkpoints.checkpoint_id,
    checkpoints.data_version,
    checkpoints.snapshot_id,
    checkpoints.manifest,
    current.name
from training.student_checkpoints as checkpoints
left join training.current_checkpoints as current using (checkpoint_id)
order by checkpoints.created_at, checkpoints.checkpoint_id
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that the lake has recorded. snapshot_id: holds its rows and all that selected them."""

    recipe: str
    checkpoint_id: str
    data_version: str
    snapshot_id: int
    manifest: Mapping[str, Any]
    name: str | None  # of a current one

    def folder(self, lake: Lake) -> Path:
        """Where it was published; it may have been removed."""
        return lake.warehouse / "checkpoints" / self.recipe / self.checkpoint_id


def checkpoint_meant(lake: Lake, wanted: str) -> Checkpoint:
    """The recorded checkpoint that is meant. Raises UserError for none, several, and one of another lake."""
    recorded = [
        Checkpoint(recipe, made, version, snapshot, json.loads(manifest), name)
        for recipe, made, version, snapshot, manifest, name in lake.read(_RECORDED).iter_rows()
    ]
    names = [one.name or f"{one.recipe} {one.checkpoint_id}" for one in recorded]
    if not recorded:
        raise UserError(f"{lake.warehouse} has no checkpoint yet: `make run` makes it.")
    if not wanted:
        raise UserError(f"CHECKPOINT says which, by its name, its id or its folder: {', '.join(names)}.")
    if (Path(wanted) / MANIFEST).is_file():
        return _of_folder(Path(wanted).resolve(), recorded, lake)
    if (Path(wanted)).is_dir():
        raise UserError(f"CHECKPOINT={wanted} is a folder without {MANIFEST}: no checkpoint.")
    found = [one for one in recorded if wanted == one.name]
    if not found and len(wanted) >= _SHORTEST:
        found = [one for one in recorded if one.checkpoint_id.startswith(wanted)]
    if len(found) > 1:
        raise UserError(f"CHECKPOINT={wanted} begins {', '.join(one.checkpoint_id for one in found)}: give more of it.")
    if not found:
        if any(one.checkpoint_id.startswith(wanted) for one in recorded):
            raise UserError(f"CHECKPOINT={wanted} is too short: give at least {_SHORTEST} characters of an id.")
        known = [*(one.name for one in recorded if one.name), *(one.checkpoint_id for one in recorded)]
        raise UserError(f"CHECKPOINT: {unknown('a checkpoint of this lake', wanted, known)}.")
    return found[0]


def _of_folder(folder: Path, recorded: list[Checkpoint], lake: Lake) -> Checkpoint:
    """The record of the checkpoint in that folder, which may be a copy that lies elsewhere."""
    found = next((one for one in recorded if one.checkpoint_id == folder.name), None)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} cannot be read ({error}).") from error
    found = next((one for one in recorded if one.manifest == manifest), found)
    if found is None:
        raise UserError(
            f"{folder} is no checkpoint that the lake at {lake.shown_catalog} has recorded. PROFILE=name picks the "
            "lake that it was made in."
        )
    if found.manifest != manifest:
        raise UserError(
            f"{folder / MANIFEST} is not the one that the lake recorded: it was edited, or is another lake's. "
            "`make run` sets a damaged checkpoint aside and trains it again."
        )
    return found
