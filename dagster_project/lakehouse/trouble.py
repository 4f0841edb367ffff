"""What is wrong with a lake, in words: which file, and what to do about it.

if told := trouble.of(error, writing=True, data_files=...):     # an error of DuckDB
raise told from error
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.lakehouse.data_files import sqlite_damage
from dagster_project.lakehouse.locked import literal
from models_py.disk import disk_is_full, says_disk_is_full
from models_py.errors import UserError
from models_py.postgres import without_password
from models_py.s3 import KEYS

_CONFLICTS = ("database is locked", "conflict", "could not serialize", "failed to commit")
# What a flipped bit ends in, by exact class: what is wrong with a query has classes of its own.
_OF_FILES = {
    duckdb.Error,
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
    duckdb.ConversionException,
}
_NO_ROOM_TO_WAIT = "failed to offload"  # DuckDB leaves a tenth of a disk free
_OF_CATALOGS = ("malformed", "not a database", "Invalid unicode (byte sequence mismatch)")
_SHOWN = 5


class NoLakeError(UserError):
    """There is no lake yet, or no more than the beginning of one."""


class DataStoreError(UserError):
    """The object store of a lake's data did not do what was asked."""


class DamagedLakeError(UserError, duckdb.IOException):
    """A file of the lake is not what was written."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Of the lake with that catalog and data; the values are those of `Lake`."""

    warehouse: Path
    catalog: str
    data_path: str
    memory_limit: str | None

    @property
    def shown_catalog(self) -> str:
        """The catalog as people may see it: a password in it is masked."""
        return without_password(self.catalog)

    def of(self, error: duckdb.Error, *, writing: bool, data_files: Callable[[], Iterable[str]]) -> UserError | None:
        """The error in words; None where it is about the query itself, or a conflict.

        data_files: the paths of the lake's data files below its folder, asked for where they may be damaged.
        """
        return (
            self._damage(error, data_files) or self._full_disk(error, writing=writing) or self._outgrown_memory(error)
        )

    def no_lake(self) -> NoLakeError:
        return NoLakeError(f"There is no lake at {self.shown_catalog} yet. `make run` creates it.")

    def unwritable(self, path: Path, reason: str | None) -> UserError:
        return UserError(
            f"warehouse: {path} cannot be written ({reason}). Name a folder in the profile that this user may write, "
            "or mend its permissions."
        )

    def damaged(self, wrong: Sequence[str]) -> DamagedLakeError:
        """wrong: each file with what is wrong with it."""
        lines = "\n".join(f"  {one}" for one in wrong[:_SHOWN])
        more = f"\n  and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        return DamagedLakeError(
            f"The lake at {self.shown_catalog} is damaged:\n{lines}{more}\n"
            "Restore what is named from a backup. Without one, move catalog and data folder away and run again: "
            f"replies lie in {self.warehouse / 'teacher.sqlite'} and are not paid for again, checkpoints are found, "
            "scores are computed anew."
        )

    def not_attached(self, error: duckdb.Error, as_of: int | None) -> UserError:
        """Why the lake, or its snapshot `as_of`, cannot be opened."""
        text = without_password(str(error).splitlines()[0])
        if "creating a new DuckLake is explicitly disabled" in text:  # killed while it made the catalog
            return self.no_lake()
        if "unable to open database file" in text or "readonly database" in text:
            return self.unwritable(self.warehouse, "SQLite writes beside the catalog even to read it")
        if as_of is not None and ("snapshot" in text.lower() or as_of < 0):
            return UserError(
                f"The lake at {self.shown_catalog} has no snapshot {as_of}, or has it no more after `make compact`. "
                "List them with: select snapshot_id, snapshot_time, commit_message from lake.snapshots()"
            )
        return UserError(
            f"The lake at {self.shown_catalog} cannot be opened: {text}. If another version of DuckLake made it, name "
            "another `warehouse` in the profile; if the file is damaged, restore it from a backup."
        )

    def _damage(self, error: duckdb.Error, data_files: Callable[[], Iterable[str]]) -> UserError | None:
        """The error in words, where it comes from a file of the lake that is damaged, or from the object store."""
        if is_conflict(error):
            return None
        if refused := self._refused(error):
            return refused
        if any(words in str(error) for words in _OF_CATALOGS):
            return self.damaged([f"{self.shown_catalog}: {str(error).splitlines()[0]}"])
        if "://" in self.data_path or type(error) not in _OF_FILES:
            return None
        files = [Path(self.data_path) / path for path in data_files()]
        wrong = [f"{file}: {told}" for file in files if (told := _unreadable(file))]
        if not wrong and (told := sqlite_damage(Path(self.catalog))):
            wrong = [f"{self.shown_catalog}: {told}"]
        return self.damaged(wrong) if wrong else None

    def _refused(self, error: duckdb.Error) -> UserError | None:
        """The error in words, where it comes from the object store of the data."""
        text = str(error).splitlines()[0]
        if "://" not in self.data_path or not (isinstance(error, duckdb.HTTPException) or "error for HTTP" in text):
            return None
        if any(status in text for status in ("401", "403", "400")):
            lacking = [name for name in KEYS if not os.environ.get(name)]
            remedy = f"set {' and '.join(lacking)}" if lacking else f"look at {', '.join(KEYS)}, AWS_SESSION_TOKEN"
            remedy = f"It does not let us in: {remedy} (and AWS_REGION, AWS_ENDPOINT_URL where it is not Amazon's)"
        elif "404" in text:
            remedy = "There is no such bucket, or no such file in it: make the bucket, or mend `lake.data_path`"
        else:
            remedy = "Where it is not Amazon's, AWS_ENDPOINT_URL names it; see to it that it can be reached"
        return DataStoreError(f"The lake's data at {self.data_path} cannot be used: {text}. {remedy}, and run again.")

    def _full_disk(self, error: duckdb.Error, *, writing: bool) -> UserError | None:
        """The error in words, where a disk is full. Not every error says so that comes of writing rows, or of a query
        whose rows wait on the disk.
        """
        may_be_full = writing or isinstance(error, duckdb.OutOfMemoryException)
        if not (says_disk_is_full(error) or (may_be_full and disk_is_full(self.warehouse))):
            return None
        return UserError(
            f"The lake at {self.shown_catalog} could not be written: the disk of {self.data_path}, of the catalog or "
            f"of {self.warehouse} is full ({without_password(str(error).splitlines()[0])}). Make room and run again: "
            "what was committed is kept."
        )

    def _outgrown_memory(self, error: duckdb.Error) -> UserError | None:
        """The error in words, where a query needs more memory than it may take."""
        if not isinstance(error, duckdb.OutOfMemoryException):
            return None
        limit = self.memory_limit or "DuckDB's own, most of the machine's memory"
        said = f"DuckDB says: {str(error).splitlines()[0]}"
        if _NO_ROOM_TO_WAIT in str(error):
            return UserError(
                f"A query needs more memory than its limit ({limit}), and {self.warehouse}, where the rest is to wait, "
                f"has no room for it. Make room there, or raise `lake: {{memory_limit: ...}}` in the profile. {said}"
            )
        return UserError(
            f"A query needs more memory than its limit ({limit}) at once, though what can wait is written to "
            f"{self.warehouse}. Raise `lake: {{memory_limit: ...}}` in the profile, or let fewer pairs come together. "
            f"{said}"
        )


def is_conflict(error: duckdb.Error) -> bool:
    """Whether it may pass when the same is tried again."""
    return any(text in str(error).lower() for text in _CONFLICTS)


def _unreadable(file: Path) -> str | None:
    """Why DuckDB cannot read all of a Parquet file, None where it can."""
    if not file.exists():
        return "is missing"
    try:
        with duckdb.connect() as connection:
            connection.execute("set enable_progress_bar = false")
            connection.execute(f"select sum(hash(columns(*))) from read_parquet({literal(str(file))})").fetchall()
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None
