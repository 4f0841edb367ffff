"""DuckDB instances with a lake attached, kept for the next operation.

Loading an extension costs a tenth of a second (its signature is checked), attaching a lake half of that (all its
definitions are read), both more than most queries here. Between transactions DuckLake 1.5.5 neither locks a SQLite
catalog nor keeps it open, of a PostgreSQL server it keeps idle sessions, and each transaction sees what others have
committed: an attached lake is in nobody's way.
"""

import importlib.util
import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.lakehouse.locked import literal
from models_py.errors import UserError
from models_py.s3 import ObjectStore

_KEPT = 3  # idle instances: one that reads, one that writes, one that reads beside them
# Its number is written in, not bound: to bind a value DuckDB imports pandas first, which takes longer than the query.
_SNAPSHOTS = "select snapshot_id, snapshot_time from lake.snapshots() where snapshot_id >= {} order by snapshot_id"


_SPILL = "spill"  # what folders are called to which is written what does not fit into memory
_FORGOTTEN_S = 7 * 24 * 3600.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Setting:
    """How an instance is made: what it can read, and its limit.

    memory_limit: as DuckDB writes it, of what its tables and queries hold; None leaves it to DuckDB.
    """

    extensions: tuple[str, ...]
    memory_limit: str | None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What an operation wants attached as `lake`.

    stays: whether it may stay attached afterwards. catalog: its file, None: a server has it. folder: where what does
    not fit into memory is written; on a disk, which a system's folder for temporary files may not be. store: where its
    data are, if the environment names one.
    """

    setting: Setting
    statement: str
    stays: bool
    catalog: Path | None
    folder: Path
    store: ObjectStore | None = None


class Instance:
    """A DuckDB instance for one caller at a time, with a lake attached and in use."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        limit = {"memory_limit": setting.memory_limit} if setting.memory_limit else {}
        self.connection = duckdb.connect(config={"autoinstall_known_extensions": "false", **limit})
        self.connection.execute("set enable_progress_bar = false")  # it would go to standard output, among the rows
        for extension in setting.extensions:
            load_extension(self.connection, extension)
        self.memory: dict[str, Any] = {}  # what its user has learned of the lake that is attached
        self._attachment: Attachment | None = None
        self._spill: Path | None = None  # made by DuckDB when it is needed, removed at the end
        self._file: object = None  # the catalog's, as it was after the last use
        self._snapshot: tuple[int, datetime] | None = None  # the latest that was seen, with its time

    def attach(self, wanted: Attachment) -> None:
        self.memory.clear()
        self.spill_to(wanted.folder)
        if wanted.store is not None:
            _name_store(self.connection, wanted.store)
        self.connection.execute(wanted.statement)
        self.connection.execute("use lake")
        self._attachment, self._file, self._snapshot = wanted, None, None

    def spill_to(self, folder: Path) -> None:
        """Have what does not fit into memory written below that folder. Raises duckdb.Error once that was done."""
        if self._spill is None or self._spill.parent != folder:
            # One an instance: two that wrote to one folder would take each other's files.
            self._spill = _own(folder)
            self.connection.execute(f"set temp_directory = {literal(str(self._spill))}")

    def has(self, wanted: Attachment) -> bool:
        """Whether it may be used as it is."""
        return wanted.stays and self._attachment == wanted and self._goes_on(wanted.catalog)

    def _goes_on(self, catalog: Path | None) -> bool:
        """Whether the catalog still holds what was seen last: another one may have been made or restored there.

        Of a server's that is also whether it answers.
        """
        file = _file(catalog) if catalog else None
        if catalog and file == self._file:
            return True
        known = self._snapshot
        try:
            snapshots = self.connection.execute(_SNAPSHOTS.format(known[0] if known else 0)).fetchall()
        except duckdb.Error:
            return False
        if not snapshots or (known and snapshots[0] != known):
            return False
        self._file, self._snapshot = file, snapshots[-1]
        return True

    def detach(self) -> bool:
        """False where it cannot be, for its catalog is gone, or where it has spilled and so can serve no other lake."""
        try:
            if self._attachment:
                self.connection.execute("use memory")
                self.connection.execute("detach lake")
                self._attachment = None
        except duckdb.Error:
            return False
        return self._spill is None or not self._spill.exists()

    def give_back(self) -> None:
        """For the next caller. Raises nothing: what was done with it is done. After an error call `close` instead."""
        self.connection.execute("select 1")  # ends a result that was not read to its end, and its transaction
        attached = self._attachment
        if self._goes_on(attached.catalog) if attached and attached.stays else self.detach():
            with _lock:
                _idle.append(self)
        else:
            self.close()

    def close(self) -> None:
        self.connection.close()


_idle: list[Instance] = []  # the longest unused first
_lock = threading.Lock()


def borrow(wanted: Attachment) -> Instance:
    """An instance with the lake attached. Raises duckdb.Error where it cannot be."""
    with _lock:
        fitting = [one for one in _idle if one.setting == wanted.setting]
        attached = next((one for one in reversed(fitting) if one.has(wanted)), None)
        instance = attached or (fitting[0] if len(fitting) >= _KEPT else None)
        if instance:
            _idle.remove(instance)
    if attached:
        return attached
    if instance and not instance.detach():
        instance.close()
        instance = None
    instance = instance or Instance(wanted.setting)
    try:
        instance.attach(wanted)
    except BaseException:
        instance.close()
        raise
    return instance


@contextmanager
def spill_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder below that one for work that does not fit into memory, removed when it is done."""
    own = _own(folder)
    own.mkdir(parents=True)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _own(folder: Path) -> Path:
    """A name that nobody else takes and `remove_spilled` knows; machines may share the folder."""
    return folder / f"{_SPILL}-{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"


def remove_spilled(folder: Path) -> None:
    """Remove what killed processes of this machine had written there, and what no machine has used of late."""
    found = [*folder.glob(f"{_SPILL}-*-*")]
    if not found:
        return
    import psutil

    for left in found:
        *host, pid, _ = left.name.removeprefix(f"{_SPILL}-").rsplit("-", 2)
        is_ours = host == [socket.gethostname()] and pid.isdecimal()
        if not psutil.pid_exists(int(pid)) if is_ours else _age_s(left) > _FORGOTTEN_S:
            shutil.rmtree(left, ignore_errors=True)


def _age_s(folder: Path) -> float:
    """Since a file came to the folder or left it."""
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _name_store(connection: duckdb.DuckDBPyConnection, store: ObjectStore) -> None:
    """Have DuckDB ask that store, in its memory only. A secret of the user's own that names a prefix goes before."""
    said = ", ".join("{} '{}'".format(name, value.replace("'", "''")) for name, value in store.duckdb_options.items())
    try:
        connection.execute(f"create or replace temporary secret of_environment (type s3, {said})")
    except duckdb.Error:  # its text may show the statement
        raise UserError("DuckDB does not accept the AWS_... variables of the environment as a key for S3.") from None


def _file(catalog: Path) -> tuple[int, ...] | None:
    try:
        stat = catalog.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def load_extension(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    """Load a signed extension from its installed wheel; from the network only where the wheel is absent."""
    file = extension_file(extension)
    if file is None:
        connection.execute(f"INSTALL {extension}")
        connection.execute(f"LOAD {extension}")
        return
    path = str(file).replace("'", "''")
    connection.execute(f"LOAD '{path}'")
    if extension == "httpfs":  # it has just put the environment's key where duckdb_settings() shows it to any query
        for setting in ("s3_access_key_id", "s3_secret_access_key", "s3_session_token"):
            connection.execute(f"set {setting} = ''")


def extension_file(extension: str) -> Path | None:
    """Where its wheel has it, None where the wheel is absent. Raises UserError for a wheel of another DuckDB."""
    spec = importlib.util.find_spec(f"duckdb_extension_{extension}")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "extensions"
    file = next(folder.glob(f"v{duckdb.__version__}/*.duckdb_extension"), None)
    if file is None:
        raise UserError(
            f"{folder} holds no {extension} extension for duckdb {duckdb.__version__}. "
            f"Install duckdb-extension-{extension.replace('_', '-')}=={duckdb.__version__}."
        )
    return file
