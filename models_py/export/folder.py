"""The folder of an export: whole or not at all, and known again.

    with export_folder(Path("out")) as folder:
        ...                             # data files, README.md
        seal(folder, {"recipe": "paper"})

`.export.json` names its files with their hashes. A folder that holds just these gives way to the next export; one with
anything else in it, or with a file that somebody edited, is nobody's to remove.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models_py.content import file_sha256
from models_py.disk import says_disk_is_full
from models_py.errors import UserError
from models_py.publish import replaced_folder

MARK = ".export.json"
_SHOWN = 5


@contextmanager
def export_folder(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` at the end. Raises UserError where that holds what no export wrote."""
    check_place(target)
    try:
        with replaced_folder(target.absolute()) as folder:
            yield folder
    except OSError as error:
        full = "; make room on its disk" if says_disk_is_full(error) else "; name another folder"
        raise UserError(f"OUT={target} cannot be written ({error.strerror or error}){full}") from error


def check_place(target: Path) -> None:
    """Raise UserError where an export to that folder would remove what no export wrote."""
    try:
        if not target.exists() and not target.is_symlink():
            return
        if target.is_symlink() or not target.is_dir():
            raise UserError(
                f"OUT={target} is no folder of its own; name one that is not there yet, or an earlier export"
            )
        found = set(files_of(target))
        sealed = _sealed(target)
    except OSError as error:
        raise UserError(f"OUT={target} cannot be read ({error.strerror}); name another folder") from error
    if not found and not any(target.iterdir()):
        return
    foreign = sorted(found - {*sealed, MARK}) if sealed else sorted(found) or ["empty folders"]
    if foreign:
        shown = ", ".join(foreign[:_SHOWN]) + (", ..." if len(foreign) > _SHOWN else "")
        raise UserError(f"OUT={target} holds what no export wrote: {shown}. Name another folder, or move that away.")
    edited = sorted(name for name in sealed if name in found and file_sha256(target / name) != sealed[name])
    if edited:
        raise UserError(
            f"OUT={target}: {', '.join(edited)} is not what the export wrote. Name another folder, or move it away."
        )


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the mark of an export: what it is, and the hashes of all files in the folder."""
    files = {name: file_sha256(folder / name) for name in sorted(files_of(folder))}
    text = json.dumps({**facts, "files": files}, indent=2, ensure_ascii=False)
    (folder / MARK).write_text(text + "\n", encoding="utf-8")


def files_of(folder: Path) -> list[str]:
    """All files below the folder, as relative paths, sorted."""
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted(file.relative_to(folder).as_posix() for file in found)


def _sealed(folder: Path) -> dict[str, str]:
    """The files of an earlier export with their hashes, none where the folder is no export."""
    try:
        files = json.loads((folder / MARK).read_text("utf-8"))["files"]
        return {str(name): str(digest) for name, digest in files.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):  # somebody's own file of that name
        return {}
