"""The models of evaluation.models, ready to be loaded: what every asset of the group begins with."""

from dataclasses import replace
from pathlib import Path

from assets.profile.students import current_base
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.schema import Profile
from models_py.content import FileHashes
from models_py.errors import UserError
from models_py.evaluation.model import EvaluatedModel
from models_py.training.manifest import damage

TABLE = "evaluation.models"


def evaluated_models(lake: Lake, profile: Profile) -> list[EvaluatedModel]:
    """Checkpoints in the order of their names, then the base students.

    A checkpoint chats as its base does: with that template, cut at that length. Raises UserError where there is none,
    and for one that is not what was published.
    """
    rows = lake.read(f"select model, kind, name, student, path from {TABLE} order by kind = 'base', name")
    if rows.is_empty():
        raise UserError(f"{lake.warehouse} has no current checkpoint to evaluate: `make run` makes it.")
    bases = {name: current_base(lake, profile, name) for name in rows["student"].unique(maintain_order=True)}
    hashes = FileHashes(profile.file_hashes)
    found = []
    for model, kind, name, student, path in rows.iter_rows():
        base = bases[student]
        if path is not None:
            folder = _sound(lake.warehouse / path, hashes)
            base = replace(base, name=name, model=str(folder), revision=None, fingerprint=model)
        found.append(EvaluatedModel(model, kind, name, base))
    hashes.save()
    return found


def _sound(folder: Path, hashes: FileHashes) -> Path:
    wrong = damage(folder, hashes=hashes) if folder.is_dir() else "the folder is gone"
    if wrong:
        raise UserError(f"The checkpoint {folder} is damaged: {wrong}. `make run` makes it again.")
    return folder
