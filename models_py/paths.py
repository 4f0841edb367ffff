"""Where relative paths of a profile start: one folder, whichever part of the profile holds them."""

import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from models_py.errors import UserError

T = TypeVar("T")


def absolute(path: str | Path, root: Path, key: str = "") -> Path:
    """`path` seen from `root`, without `..`. `key` names it in the UserError for a home that nobody has."""
    try:
        return Path(os.path.normpath(root / Path(path).expanduser()))
    except RuntimeError as error:
        raise UserError(f"{key}: {path} cannot be resolved; write the folder's path".removeprefix(": ")) from error


def model_at(model: str, root: Path, key: str) -> str:
    """The absolute path where `model` is a folder or a file, or is written like one; a hub id or package as it is."""
    if model.startswith("package:"):
        return model
    if model.lower().endswith(".gguf"):
        return str(absolute(model, root, key))
    folder = absolute(model, root, key)
    return str(folder) if model.startswith(("/", ".", "~")) or os.path.isdir(folder) else model  # noqa: PTH112 (False, not an error, for names no file can have)


def is_hub_id(model: str) -> bool:
    """Whether what `model_at` gives is looked for on the hub: it is no path and no package's file."""
    return not model.startswith(("/", "package:"))


def with_absolute_paths(settings: T, root: Path, key: str = "") -> T:
    """The dataclass with every Path absolute: in its fields, in tuples there, in dataclasses it holds."""

    def moved(value: Any, key: str) -> Any:
        if isinstance(value, Path):
            return absolute(value, root, key)
        if isinstance(value, tuple):
            return tuple(moved(one, key) for one in value)
        return with_absolute_paths(value, root, f"{key}.") if is_dataclass(value) else value

    return replace(
        settings,  # type: ignore[type-var]
        **{field.name: moved(getattr(settings, field.name), f"{key}{field.name}") for field in fields(settings)},  # type: ignore[arg-type]
    )
