"""Folders that appear whole or not at all.

A checkpoint is written into a hidden folder beside its target and renamed at the end: whoever finds the target finds a
finished one, also after `kill -9` or a power cut. Example, while `checkpoints/paper_gated` is being trained:

    checkpoints/.paper_gated.partial-4711-9f3c52aa/model.safetensors

The writer holds a lock on its hidden folder (`flock`, freed by the kernel when the process dies). So the next run can
tell a killed run's leftover, which it removes, from the work of a process that still lives, which it leaves alone.
It relies on rename and flock of one local (or NFSv4) file system; object stores are not covered.
"""

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on a clean exit it becomes `target`, on an exception it is removed.

    When another process published `target` in the meantime, its folder stays and this one is dropped: both were made
    from the same inputs. A `target` that exists as an empty folder is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    partial = target.parent / f".{target.name}.partial-{os.getpid()}-{secrets.token_hex(4)}"
    partial.mkdir()
    lock = _lock(partial)
    try:
        yield partial
        _sync(partial)
        try:
            partial.rename(target)
        except OSError:
            if not (target.is_dir() and any(target.iterdir())):
                raise
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(target: Path) -> list[Path]:
    """Remove the partial folders of dead processes beside `target` and say which."""
    removed = []
    for leftover in sorted(target.parent.glob(f".{glob.escape(target.name)}.partial-*")):
        lock = _lock(leftover)
        if lock is None:
            continue
        shutil.rmtree(leftover, ignore_errors=True)
        os.close(lock)
        removed.append(leftover)
    return removed


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the folder's lock, or None while another process holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # its writer has just renamed it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sync(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk, so that the rename cannot overtake the data.

    All files get the access rights a plain `open` gives (safetensors writes for the owner alone).
    """
    mode = folder.stat().st_mode & 0o666
    for root, _, names in os.walk(folder):
        for name in names:
            with (Path(root) / name).open("rb") as file:
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
