"""Small disks that a test can fill."""

import contextlib
import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

_BLOCK = 4096


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own, mounted on the folder. Skips the test, and says so, where the user may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no disk was filled: there is no `mount` here")
    if mounted.returncode:
        pytest.skip(f"no disk was filled: this user may not mount one ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        left = subprocess.run(["umount", "--lazy", str(folder)], check=False)
        if left.returncode:
            warnings.warn(f"{folder} is still mounted", stacklevel=2)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """A file that takes all room there is, but for `leave` bytes; remove it to have room again. May be called again."""
    file = folder / "filler"
    with file.open("ab", buffering=0) as filler:
        while os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > leave + _BLOCK:
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave
            with contextlib.suppress(OSError):
                filler.write(b"x" * min(free, 1 << 20))
        if not leave:
            with contextlib.suppress(OSError):
                while filler.write(b"x" * 512):
                    pass
    return file
