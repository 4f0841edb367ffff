"""Published folders where many machines find them: below a folder that all of them mount, or in an object store.

    share(checkpoint, "s3://bucket/checkpoints/paper/3f0a9c1d77e2", last="manifest.json")
    fetch("s3://bucket/checkpoints/paper/3f0a9c1d77e2", checkpoint, last="manifest.json", wrong=damage)

`last` is the file that makes the folder whole: it is written after all others, and where it is absent there is nothing.
What is fetched is looked at before it is published here; a copy that is not what it says counts as none. pyarrow's file
systems do the copying; keys are those of the environment (s3.py).
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models_py.disk import nearest_folder
from models_py.errors import UserError
from models_py.publish import published_folder
from models_py.s3 import KEYS, ObjectStore

_S3 = "s3://"


def share(folder: Path, address: str, *, last: str) -> bool:
    """Copy a published folder there, unless the same is there already; whether it was copied. Raises UserError."""
    files, place = _opened(address)
    try:
        if _is_there(files, f"{place}/{last}"):
            with files.open_input_stream(f"{place}/{last}") as there:
                if there.read() == (folder / last).read_bytes():
                    return False
        names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        for name in sorted(names, key=lambda name: str(name) == last):
            _copy(_local(), str(folder / name), files, f"{place}/{name}")
    except OSError as error:
        raise _refused(address, "written", error) from error
    return True


def fetch(address: str, target: Path, *, last: str, wrong: Callable[[Path], str | None]) -> str | None:
    """Publish a copy of what is there at `target`; why not, in words, None where it is done. Raises UserError.

    wrong: what is wrong with a folder; such a copy is dropped.
    """
    files, place = _opened(address)
    try:
        if not _is_there(files, f"{place}/{last}"):
            return f"{address} holds no {last}"
        with published_folder(target) as partial:
            for file in _below(files, place):
                _copy(files, file, _local(), str(partial / Path(file).relative_to(place)))
            if told := wrong(partial):
                raise _WrongError(told)
    except _WrongError as error:
        return f"{address}: {error}"
    except OSError as error:
        raise _refused(address, "read", error) from error
    return None


def check_place(address: str, key: str) -> None:
    """Raise UserError where nothing can be written there, naming the profile's key. Leaves no file there."""
    if not address.startswith(_S3):
        above = nearest_folder(Path(address))
        if not os.access(above, os.W_OK | os.X_OK):
            raise UserError(f"{key}: {above} cannot be written; name another folder, or mend its permissions")
        return
    try:
        files, place = _opened(address)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    trial = f"{place.rstrip('/')}/trial-{uuid.uuid4()}"
    try:
        with files.open_output_stream(trial) as written:
            written.write(b"reflection-lake looks whether it may write here")
        files.delete_file(trial)
    except OSError as error:
        raise UserError(
            f"{key}: {address} cannot be written: {str(error).splitlines()[0]}. Mend it or the key"
        ) from error


class _WrongError(Exception):
    """A copy is not what it says."""


def _opened(address: str) -> tuple[Any, str]:
    """A file system, and the path in it."""
    if not address.startswith(_S3):
        return _local(), address
    store = ObjectStore.of_environment()
    if store is None:
        raise UserError(f"{address} cannot be reached without a key: set {' and '.join(KEYS)}")
    return store.filesystem(), address.removeprefix(_S3)


def _local() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


def _is_there(files: Any, path: str) -> bool:
    return bool(files.get_file_info(path).is_file)


def _below(files: Any, place: str) -> list[str]:
    from pyarrow.fs import FileSelector

    return [one.path for one in files.get_file_info(FileSelector(place, recursive=True)) if one.is_file]


def _copy(of: Any, source: str, to: Any, target: str) -> None:
    from pyarrow.fs import copy_files

    if to.type_name == "local":  # in an object store there are no folders
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    copy_files(source, target, of, to)


def _refused(address: str, what: str, error: OSError) -> UserError:
    said = str(error).splitlines()[0]
    return UserError(f"{address} cannot be {what}: {said}. Mend the place or `lake.checkpoints`, and run again.")
