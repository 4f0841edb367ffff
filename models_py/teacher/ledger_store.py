"""Where a ledger's rows lie: a SQLite file, or of a team the PostgreSQL database that has the catalog of its lake.

    LedgerPlace(warehouse / "teacher.sqlite")                               # a file of this machine
    LedgerPlace(warehouse / "teacher.sqlite", "postgres:dbname=lake")       # a team's; the file does not exist

ledger.py says the SQL. It is the same for both but for what a store says of itself: a list as a parameter, a value in
JSON, two words of a schema, how writers take turns. A statement's parameters are `?`. What one store cannot hold it
does not lose the row for: PostgreSQL has no NUL in a text, so that becomes U+FFFD, as half a surrogate pair in both.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from models_py.disk import disk_is_full, says_disk_is_full
from models_py.errors import UserError
from models_py.lock_file import FIRST_S, users_of
from models_py.postgres import HOLDER, connect, driver, first_line, lock_key, session_of, without_password

_REPLACEMENT = "\ufffd"
_SCHEMA = "reflection_lake"
_TURN = "teacher_replies"  # the lock of whoever writes


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """Where a ledger lies. path: its file; beside it engines keep files of this machine. server: a team's database."""

    path: Path
    server: str | None = None

    @property
    def shown(self) -> str:
        """For people."""
        return str(self.path) if self.server is None else f"the ledger in {without_password(self.server)}"

    @property
    def disk(self) -> Path | None:
        """A folder on the disk that a ledger's file grows on; None where that is another machine's."""
        return self.path.parent if self.server is None else None

    def exists(self) -> bool:
        """Whether there is a ledger; looking makes none."""
        if self.server is None:
            return self.path.exists()
        with contextlib.closing(PostgresStore(self)) as store:
            return store.has_table(_TURN)


class LedgerError(UserError):
    """The database of a ledger did not do what was asked."""


class Cursor(Protocol):
    """What sqlite3 and psycopg2 have in common."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class SqliteStore:
    """A ledger's file, made when absent."""

    among: ClassVar[str] = "(select value from json_each(?))"  # the values of a JSON array
    max_tokens: ClassVar[str] = "json_extract(payload, '$.sampling.max_tokens')"  # of a request
    real: ClassVar[str] = "real"
    strict: ClassVar[str] = "strict"
    number: ClassVar[str] = "rowid"  # of a row among those of its table, in the order in which they came
    numbered: ClassVar[str] = ""  # before a table's columns, where it needs one for that
    home: ClassVar[str] = ""  # what has to be made before the tables
    opening: ClassVar[tuple[str, ...]] = ("pragma journal_mode = wal", "pragma synchronous = normal")
    begin: ClassVar[str] = "begin immediate"
    turn: ClassVar[str] = ""  # before a statement that writes
    errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)
    mend: ClassVar[str] = "Make room on its disk"

    def __init__(self, place: LedgerPlace) -> None:
        self.path = place.path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # isolation_level=None: every statement is its own transaction, committed when it returns.
        self._connection = sqlite3.connect(self.path, timeout=FIRST_S, isolation_level=None)

    def execute(self, statement: str, values: Sequence[object] = ()) -> Cursor:
        return self._connection.execute(statement, values)

    def roll_back(self) -> None:
        self._connection.execute("rollback")

    def close(self) -> None:
        self._connection.close()

    def has_table(self, name: str) -> bool:
        query = "select count(*) from sqlite_schema where type = 'table' and name = ?"
        return bool(self._connection.execute(query, [name]).fetchone() != (0,))

    def text(self, text: str) -> str:
        """What can be stored of a text."""
        return text

    @property
    def version(self) -> int:
        """Of its schema, 0 where there is none."""
        (version,) = self._connection.execute("pragma user_version").fetchone()
        return int(version)

    @version.setter
    def version(self, version: int) -> None:
        self._connection.execute(f"pragma user_version = {version}")

    def sync_each_commit(self) -> None:
        """From here on not even a power failure loses what was committed."""
        self._connection.execute("pragma synchronous = full")

    def is_busy(self, error: Exception) -> bool:
        """Whether somebody else is writing."""
        return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY

    def users(self) -> str:
        """Who that may be, and what of it they have."""
        with_it = (self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))
        return f"{users_of(self.path, *with_it)}, which has {self.path} locked"

    def refusal(self, error: Exception, waited_s: float) -> UserError:
        """Why it cannot be opened."""
        if self.is_busy(error):
            return UserError(
                f"{self.path}: {self.users().partition(', which')[0]} keeps the teacher's ledger locked, for more than "
                f"{waited_s:.0f} s. End it, or wait for it, and run again."
            )
        if says_disk_is_full(error) or disk_is_full(self.path.parent):
            return UserError(
                f"{self.path}: the teacher's ledger cannot be opened for writing ({error}). Make room on its disk and "
                "run again; the replies in it are kept."
            )
        return UserError(
            f"{self.path}: cannot be used as the teacher's ledger ({error}). "
            "Move the file aside or name another `warehouse` in the profile."
        )


class PostgresStore:
    """A ledger in a database, in a schema of its own. A connection that broke is made anew."""

    among: ClassVar[str] = "(select json_array_elements_text(?))"
    max_tokens: ClassVar[str] = "(payload::json -> 'sampling' ->> 'max_tokens')::integer"
    real: ClassVar[str] = "double precision"
    strict: ClassVar[str] = ""
    number: ClassVar[str] = "number"
    numbered: ClassVar[str] = "number bigint generated always as identity,"
    home: ClassVar[str] = f"create schema if not exists {_SCHEMA}"
    opening: ClassVar[tuple[str, ...]] = ()
    # Writers take turns, so that rows become visible in the order of their `seq`.
    turn: ClassVar[str] = f"select pg_advisory_xact_lock({lock_key(_TURN)});"
    begin: ClassVar[str] = f"begin; {turn}"
    errors: ClassVar[tuple[type[Exception], ...]] = (LedgerError,)
    mend: ClassVar[str] = "See to its server"

    def __init__(self, place: LedgerPlace) -> None:
        assert place.server is not None
        self._place, self._server = place, place.server
        self._errors = driver()
        self._connection = _connected(self._server)

    def execute(self, statement: str, values: Any = ()) -> Cursor:
        """One message to the server, which is one transaction where none has begun.

        Where the connection proves to be broken and no transaction is lost with it, it is sent once more.
        """
        if self._connection.closed:
            self._connection = _connected(self._server)
        may_repeat = self._connection.info.transaction_status == self._errors.extensions.TRANSACTION_STATUS_IDLE
        try:
            return self._sent(statement, values)
        except self._errors.Error as error:
            if not (self._connection.closed and may_repeat):
                raise self._told(error) from error
        self._connection = _connected(self._server)
        try:
            return self._sent(statement, values)
        except self._errors.Error as error:
            raise self._told(error) from error

    def roll_back(self) -> None:
        if not self._connection.closed:
            self.execute("rollback")

    def close(self) -> None:
        self._connection.close()

    def has_table(self, name: str) -> bool:
        (found,) = self.execute("select to_regclass(?) is not null", [f"{_SCHEMA}.{name}"]).fetchone()
        return bool(found)

    def text(self, text: str) -> str:
        return text.replace("\0", _REPLACEMENT)

    @property
    def version(self) -> int:
        if not self.has_table("ledger_version"):
            return 0
        (version,) = self.execute("select version from ledger_version").fetchone()
        return int(version)

    @version.setter
    def version(self, version: int) -> None:
        self.execute("create table if not exists ledger_version (version integer not null)")
        self.execute("delete from ledger_version")
        self.execute("insert into ledger_version values (?)", [version])

    def sync_each_commit(self) -> None:
        """The server does, unless its owner has told it otherwise."""

    def is_busy(self, error: Exception) -> bool:
        return isinstance(error.__cause__, self._errors.errors.LockNotAvailable)

    def users(self) -> str:
        found = [session_of(*row)[0] for row in self.execute(HOLDER, {"key": lock_key(_TURN)})]
        return f"{' or '.join(found) or 'another session'}, which writes to {self._place.shown}"

    def refusal(self, error: Exception, waited_s: float) -> UserError:
        return UserError(
            f"{error} Where its schema {_SCHEMA} is not there yet, a user who may create one in the database has to "
            "run first."
        )

    def _sent(self, statement: str, values: Any) -> Cursor:
        cursor: Any = self._connection.cursor()
        cursor.execute(statement.replace("?", "%s"), values or None)
        found: Cursor = cursor
        return found

    def _told(self, error: Exception) -> LedgerError:
        return LedgerError(f"The teacher's ledger in {without_password(self._server)}: {first_line(error)}.")


Store = SqliteStore | PostgresStore


def open_store(place: LedgerPlace) -> Store:
    """The store at that place."""
    return SqliteStore(place) if place.server is None else PostgresStore(place)


def _connected(server: str) -> Any:
    try:
        connection = connect(server)
    except UserError as error:
        raise LedgerError(str(error)) from error
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"set search_path = {_SCHEMA}; set lock_timeout = '{FIRST_S * 1000:.0f}ms'")
    return connection
