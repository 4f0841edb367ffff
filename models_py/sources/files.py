"""The files behind a path, a folder or a glob: what is read, what is left out, and what stops a run.

    find_files("data/", any_format=False)     # Found(files=(data/a.jsonl, data/more/b.csv), left_out=(data/README.md,))

A file that stands among the data and cannot be read is not passed over: the rest would be another set than the user
means. Left out is only what is never data: documents, programs, the papers of a data set (README, dataset_info.json),
hidden files, and what tools leave behind (._x, _SUCCESS, .ipynb_checkpoints).

A folder that `datasets.save_to_disk` wrote is read as its own papers say, so that a lost shard is noticed.
"""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from models_py.errors import UserError
from models_py.sources.formats import by_suffix, suffixes
from models_py.sources.opened import PACKED_SUFFIXES, pointer

_GLOB = re.compile(r"[*?\[]")
_PAPERS = re.compile(r"(readme|licen[sc]e|copying|notice|citation|changelog|authors|contributing)([-_. ].*)?", re.I)
_NEVER_DATA = frozenset(
    {
        *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"),
        *("_success", "_metadata", "_common_metadata", "thumbs.db", "desktop.ini"),
    }
)
_NEVER_DATA_SUFFIXES = frozenset({".md", ".rst", ".py", ".ipynb", ".sh", ".lock", ".crc", ".md5", ".sha256", ".sha1"})
_NEVER_DATA_FOLDERS = frozenset({"__macosx", "__pycache__"})
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)


@dataclass(slots=True)
class Found:
    """What a pattern holds. `problems`: files that can neither be read nor left out, each with the reason."""

    files: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_files(pattern: str, *, any_format: bool) -> Found:
    """The files of a path, a folder or a glob, each folder sorted. any_format: read also what no suffix tells."""
    path, found = Path(pattern), Found()
    if path.is_dir():
        _walk(path, found, any_format, set())
    elif _GLOB.search(pattern) and not path.exists():
        anchor = Path(path.anchor)
        for match in sorted(anchor.glob(str(path.relative_to(anchor)))):
            if match.is_dir():
                if _is_data_folder(match):
                    _walk(match, found, any_format, set())
            else:
                _sort_out(match, found, any_format)
    else:
        found.files.append(path)
    return found


def check_readable(path: Path) -> str | None:
    """Why a file cannot be opened and read to an end; None where it can. Opens no pipe and no device."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")
            return f"is {kind}, not a file that ends; write its rows to a file"
        if not os.access(path, os.R_OK):
            return "Permission denied; make it readable"
        what = pointer(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, FileNotFoundError):
            return f"is a broken link to {path.readlink()}" if path.is_symlink() else "not found"
        return getattr(error, "strerror", None) or str(error)
    return f"is {what}" if what else None


def _walk(folder: Path, found: Found, any_format: bool, seen: set[Path]) -> None:
    real = folder.resolve()
    if real in seen:  # a link to a folder above it
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found.problems.append(f"{folder}: {error.strerror}; make it readable")
        return
    names = {entry.name for entry in entries}
    if {"state.json", "dataset_info.json"} <= names:
        _saved_dataset(folder, entries, found)
        return
    if "dataset_dict.json" in names:
        splits = [entry.name for entry in entries if entry.is_dir() and _is_data_folder(entry)]
        if len(splits) > 1:
            found.problems.append(f"{folder} holds the splits {', '.join(splits)}; name one: {folder / splits[-1]}")
            return
    for entry in entries:
        if not entry.is_dir():
            _sort_out(entry, found, any_format)
        elif _is_data_folder(entry):
            _walk(entry, found, any_format, seen)
        else:
            found.left_out.append(entry)


def _saved_dataset(folder: Path, entries: list[Path], found: Found) -> None:
    """The shards that its state.json names; other Arrow files are caches of what was once made of them."""
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        names = [str(Path(shard["filename"]).name) for shard in state["_data_files"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        found.problems.append(f"{folder / 'state.json'} cannot be read ({error}); save the data set again")
        return
    shards = [folder / name for name in names]
    found.problems += [
        f"{shard} is missing, and {folder / 'state.json'} names it" for shard in shards if not shard.exists()
    ]
    found.files += shards
    found.left_out += [entry for entry in entries if entry not in shards]


def _sort_out(file: Path, found: Found, any_format: bool) -> None:
    if _is_never_data(file):
        found.left_out.append(file)
    elif problem := check_readable(file):
        found.problems.append(f"{file} {problem}" if problem.startswith("is ") else f"{file}: {problem}")
    elif any_format or by_suffix(file) is not None:
        found.files.append(file)
    else:
        found.problems.append(f"{file} ends in none of {suffixes()}; convert it or move it away")


def _is_data_folder(folder: Path) -> bool:
    return not folder.name.startswith(".") and folder.name.lower() not in _NEVER_DATA_FOLDERS


def _is_never_data(file: Path) -> bool:
    name = file.name.lower()
    if name.startswith(".") or name in _NEVER_DATA or file.suffix.lower() in _NEVER_DATA_SUFFIXES:
        return True
    return _PAPERS.fullmatch(file.name) is not None and by_suffix(file) is None


def refuse_problems(key: str, problems: list[str], shown: int = 10) -> None:
    """Raises one UserError that names each of these files, a line each."""
    if problems:
        more = [f"and {len(problems) - shown} more files"] if len(problems) > shown else []
        said = "\n".join(f"  {problem}" for problem in [*problems[:shown], *more])
        raise UserError(
            f"{key}: among its files are some that cannot be read\n{said}\n  Mend them, or name the others."
        )


def packings() -> str:
    """All packings, for messages to people."""
    return ", ".join(PACKED_SUFFIXES)
