"""Disks that are full: how much is free, how errors say so, and room that is set aside before it is needed.

    with Reserve(folder) as reserve:
        reserve.hold(200_000)       # raises OSError (no space) while nothing depends on it yet
        ...                         # the disk fills up
        reserve.release()           # now there is room for what must not be lost

The room is a file without a name: it is free again as soon as this process ends, however it ends. What it cannot do:
hold room against a limit of single files (ulimit -f), or keep others from taking what was released.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# As the system, SQLite and quotas say it, in errors of Python, DuckDB, safetensors and tokenizers.
_SAID = ("no space left on device", "disk is full", "os error 28", "disk quota exceeded", "os error 122")
_STEP = 1 << 20  # bytes
_MOST = 64 << 20
_LEAST = 128 << 10


def says_disk_is_full(error: BaseException | str) -> bool:
    """Whether an error, or its text, tells of a disk without room."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    text = str(error).lower()
    return any(words in text for words in _SAID)


def disk_is_full(folder: Path) -> bool:
    """Whether there is no room to speak of: SQLite calls that a disk I/O error, too, even of one who reads."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < _LEAST
    return False


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there. Raises OSError where a file is in the way."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return folder
        if folder.exists() or folder.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(folder))
    return Path(path.anchor)


def free_bytes(path: Path) -> int:
    """What is free on the disk that a folder lies on, or would lie on. Raises OSError as `nearest_folder` does."""
    return shutil.disk_usage(nearest_folder(path)).free


class Reserve:
    """Room on the disk of a folder; none where there is no folder. Use it as a context manager."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size = 0
        self._released = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def hold(self, size: int) -> None:
        """Have at least so many bytes, up to 64 MiB. Raises OSError where the disk has no room for them.

        A file system that can set nothing aside is taken as it is.
        """
        wanted = min(-(-size // _STEP) * _STEP, _MOST)
        if self._folder is None or self._released or wanted <= self._size:
            return
        try:
            self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by `release`)
            _allocate(self._file.fileno(), wanted)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
        self._size = wanted

    def release(self) -> bool:
        """Give the room back, for good; whether there was any."""
        file, self._file, self._released = self._file, None, True
        if file:
            file.close()
        return file is not None


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    there = os.fstat(descriptor).st_size  # macOS
    os.pwrite(descriptor, b"\0" * (size - there), there)
