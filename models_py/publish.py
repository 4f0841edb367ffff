"""Folders and files that appear whole or not at all.

What is written goes into a hidden partial beside its target, is flushed to the disk and renamed at the end: whoever
finds the target finds a finished one, also after `kill -9` or a power cut. Example, while a checkpoint is trained:

    checkpoints/paper_gated/.3f0a9c1d77e2.partial-4711-9f3c52aa/model.safetensors

The writer holds a lock on its partial (`flock`, freed by the kernel when the process dies). So the next writer can tell
a killed one's leftover, which it removes, from the work of a process that still lives, which it leaves alone.
It relies on rename and flock of one local (or NFSv4) file system; object stores are not covered.
"""

import contextlib
import fcntl
import glob
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on a clean exit it becomes `target`, on an exception it is removed.

    When another process published `target` in the meantime, its folder stays and this one is dropped: both were made
    from the same inputs. A `target` that exists as an empty folder is replaced. The parent, made when missing, holds
    what is published and nothing else: of every target there, what dead processes left goes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with _partial(target, Path.mkdir) as partial:
        yield partial
        _sync(partial)
        try:
            partial.rename(target)
        except OSError:
            if not (target.is_dir() and any(target.iterdir())):
                raise
        _sync_folder(target.parent)


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """As `published_folder`, but the folder that was there gives way: it stays whole until the new one is.

    The parent, made when missing, may be anybody's folder: of what dead processes left there, only that of the same
    target goes. Who looks finds the old folder or the new one, but for the moment between two renames.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, target.name)
    with _partial(target, Path.mkdir) as partial:
        yield partial
        _sync(partial)
        with _partial(target, Path.mkdir) as old:
            if target.exists():
                target.rename(old)
            partial.rename(target)
        _sync_folder(target.parent)


@contextlib.contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Yield the path of an empty file to write; on a clean exit it replaces `target`, on an exception it is removed.

    Of several writers the last one stays. The parent may be anybody's folder and must exist: of what dead processes
    left there, only that of the same target goes.
    """
    remove_leftovers(target.parent, target.name)
    with _partial(target, Path.touch) as partial:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)


def set_aside(target: Path) -> Path:
    """Rename a published folder or file that is not to be used, so that its place is free; the new path, beside it."""
    for number in itertools.count(1):
        aside = target.with_name(f"{target.name}.damaged-{number}")
        if not aside.exists():
            break
    target.rename(aside)
    _sync_folder(target.parent)
    return aside


def remove_leftovers(folder: Path, target: str | None = None) -> list[Path]:
    """Remove the partials of dead processes in `folder`, of any target or of the one named, and say which."""
    removed = []
    for leftover in sorted(folder.glob(f".{glob.escape(target) if target else '*'}.partial-*")):
        lock = _lock(leftover)
        if lock is None:
            continue
        _remove(leftover)
        os.close(lock)
        removed.append(leftover)
    return removed


@contextlib.contextmanager
def _partial(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new, locked partial of `target`, gone at the end unless it was renamed."""
    while True:
        partial = target.parent / f".{target.name}.partial-{os.getpid()}-{secrets.token_hex(4)}"
        make(partial)
        lock = _lock(partial)
        if lock is not None and partial.exists():
            break
        if lock is not None:  # another process took it for a leftover before it was locked
            os.close(lock)
    try:
        yield partial
    finally:
        _remove(partial)
        os.close(lock)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def _lock(partial: Path) -> int | None:
    """The descriptor that holds the lock of a folder or file, or None while another process holds it."""
    try:
        descriptor = os.open(partial, os.O_RDONLY)
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
