"""PostgreSQL, where a team has the catalog of its lake: what else the team shares lies in the same database.

    postgres:dbname=lake host=db.example        # libpq's words, or its URI; the password from PGPASSWORD or ~/.pgpass

    with held_in_postgres(catalog, "scoring.student_scores") as lock:
        ...
        lock.check()      # before each commit of the work: that the lock is still ours

A lock is an advisory lock of the server, held by a session of its own: the server frees it when its holder dies, when
its machine is gone (within a minute, by keepalives) and when its connection breaks. The last may happen in the middle
of the work, with the holder none the wiser: hence `check`. Between a check and the commit that follows it lies no more
than the commit itself. A pooler that lends one session to many (PgBouncer's `transaction` mode) holds no locks; `check`
says so.

psycopg2 is of the lock group `team`, and imported where it is used.
"""

import contextlib
import hashlib
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from models_py.errors import UserError
from models_py.lock_file import Tell, Wait, run_pid, say

POSTGRES = "postgres:"

_PASSWORDS = re.compile(r"(password\s*=\s*)(?:'[^']*'|\S+)|(?<=://)([^:@/\s]*:)[^@/\s]+(?=@)", re.IGNORECASE)
_CONNECT_S = 30
_ANSWERS_S = 60.0  # a server that does not say within so long whether a lock is held counts as gone
_LOOK_S = 0.2  # how soon an interrupt is heard while a lock is waited for
# libpq's half of noticing that the other side is gone, and the server's. Roles may limit how long anything takes or
# idles: not a lock.
_KEEPALIVE = {
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "connect_timeout": _CONNECT_S,
}
_SETTINGS = """
select set_config(name, value, false)
from (values
    ('tcp_keepalives_idle', '20'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
    ('statement_timeout', '0'), ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0')
) as wanted (name, value)
inner join pg_settings using (name)
"""
_IS_OURS = (
    "locktype = 'advisory' and objsubid = 1 and ((classid::bigint << 32) | objid::bigint) = %(key)s "
    "and database = (select oid from pg_database where datname = current_database())"
)
HOLDER = f"""  -- of the lock `key`: for `session_of`
select application_name, client_addr::text
from pg_locks inner join pg_stat_activity using (pid)
where granted and {_IS_OURS}
"""
_STILL_HELD = f"select count(*) from pg_locks where granted and pid = pg_backend_pid() and {_IS_OURS}"
# Who holds it and since when, in the 63 bytes of a name that every user of the database may read.
_PROJECT = "reflection-lake"
_HOST_CHARS = 63 - len("reflection-lake 4194304@ 2026-11-27T11:30:44Z")
_TOOK = """
select set_config('application_name', %(who)s || ' '
    || to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), false)
"""
_NAME = re.compile(rf"{_PROJECT} (?P<pid>\d+)@(?P<host>\S*)( (?P<since>\S+))?")


_MAY_CREATE = """
select
    has_database_privilege(current_database(), 'CREATE'), current_user, current_database(),
    current_setting('server_version')
"""


class LostLockError(UserError):
    """The server gave a lock away while its holder was at work."""


def is_postgres(address: str | None) -> bool:
    """Whether a catalog's address is that of a PostgreSQL database."""
    return address is not None and address.startswith(POSTGRES)


def without_password(text: str) -> str:
    """A text, an address in it perhaps, with passwords masked."""
    return _PASSWORDS.sub(lambda found: f"{found[1] or found[2]}***", text)


def driver() -> Any:
    """The module psycopg2. Raises UserError where the lock group is not installed."""
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError as error:
        raise UserError(
            "The PostgreSQL driver is not installed, which a team's lake needs: `make setup WITH=team` installs it."
        ) from error
    return psycopg2


def connect(address: str, *, name: str = "", asynchronous: bool = False) -> Any:
    """A connection to the database at `address`. Raises UserError where there is none to be had."""
    psycopg2 = driver()
    name = name or f"{_PROJECT} {_this_process()}"
    try:
        connection = psycopg2.connect(
            address.removeprefix(POSTGRES), application_name=name, async_=asynchronous, **_KEEPALIVE
        )
        if asynchronous:
            _wait(connection, _CONNECT_S)
    except (psycopg2.Error, TimeoutError) as error:
        raise UserError(
            f"The PostgreSQL server at {without_password(address)} does not let us in: {first_line(error)}. Mend "
            "`lake.catalog` in the profile, or the server, or the password (PGPASSWORD or ~/.pgpass), and run again."
        ) from error
    return connection


def check_database(address: str) -> str:
    """The database's name and server, for people. Raises UserError where it cannot be used: it does not let us in, or
    we may make nothing in it.
    """
    with contextlib.closing(connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute(_MAY_CREATE)
        may_create, user, database, version = cursor.fetchone()
    if not may_create:
        raise UserError(
            f"lake.catalog: {user} may make no schemas in the database {database}, where the ledger and Dagster's "
            f"records get one each; its owner allows it: GRANT CREATE ON DATABASE {database} TO {user}"
        )
    return f"{database} on PostgreSQL {version}"


def first_line(error: Exception) -> str:
    """What went wrong, in a line that holds no password."""
    return without_password((str(error).strip().splitlines() or [type(error).__name__])[0])


def lock_key(name: str) -> int:
    """The number that PostgreSQL knows a lock by: one a name, in each database."""
    return int.from_bytes(hashlib.sha256(f"{_PROJECT} {name}".encode()).digest()[:8], "big", signed=True)


def session_of(name: str | None, address: str | None) -> tuple[str, str | None]:
    """Whose session that is, for people, and since when it holds its lock, where it says so."""
    found, where = _NAME.fullmatch(name or ""), f" ({address})" if address else ""
    if found is None:
        return f"{name or 'a session'}{where}", None
    return f"process {found['pid']} on {found['host']}{where}", found["since"]


@contextlib.contextmanager
def held_in_postgres(address: str, name: str, tell: Tell = say) -> Iterator["PostgresLock"]:
    """Hold the lock of that name in the database. Who waits is told for whom, as with lock_file.held."""
    lock = PostgresLock(address, name)
    try:
        lock.acquire(tell)
        yield lock
    finally:
        lock.close()


class PostgresLock:
    """One advisory lock with its session."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._address = address
        self._errors = driver()
        self._key = {"key": lock_key(name)}
        self._guard = threading.Lock()  # threads of one process may commit under one lock
        self._connection = connect(address, asynchronous=True)

    def acquire(self, tell: Tell) -> None:
        wait = Wait(tell)
        with self._reached():
            self._ask(_SETTINGS)
            while True:
                # The server itself gives up in time to tell, so that no snapshot is held open for hours.
                patience = f"{max(wait.tell_in_s, 0.1) * 1000:.0f}ms"
                self._ask("select set_config('lock_timeout', %(ms)s, false)", ms=patience)
                try:
                    self._ask("select pg_advisory_lock(%(key)s)", patience_s=None, **self._key)
                    break
                except self._errors.errors.LockNotAvailable:
                    wait.told(self._holder())
            self._ask(_TOOK, who=f"{_PROJECT} {_this_process()}")

    def try_to_acquire(self) -> str | None:
        """Take the lock where it is free; else who has it, for people."""
        with self._reached():
            self._ask(_SETTINGS)
            ((free,),) = self._ask("select pg_try_advisory_lock(%(key)s)", **self._key)
            if not free:
                return self._holder()
            self._ask(_TOOK, who=f"{_PROJECT} {_this_process()}")
        return None

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Raises UserError where the server refuses, is gone, or does not answer."""
        try:
            yield
        except (self._errors.Error, TimeoutError) as error:
            raise UserError(
                f"The lock {self.name} of {without_password(self._address)} cannot be had: {first_line(error)}. "
                "Run again when the server can be reached."
            ) from error

    def check(self) -> None:
        """Raise LostLockError where the server no longer has it as ours."""
        with self._guard:
            try:
                ((held,),) = self._ask(_STILL_HELD, patience_s=_ANSWERS_S, **self._key)
                why = "" if held else "the session that took it is not ours any more; is there a pooler between?"
            except (self._errors.Error, TimeoutError) as error:
                why = first_line(error)
        if why:
            raise LostLockError(
                f"The lock {self.name} of {without_password(self._address)} was lost in the middle of the work: {why}"
                ". Another machine may be at the same work since, so nothing more of it is committed here. Run again: "
                "what was committed is kept."
            )

    def close(self) -> None:
        """Give it back."""
        self._connection.close()

    def _holder(self) -> str:
        whom, since = next((session_of(*row) for row in self._ask(HOLDER, **self._key)), ("another session", None))
        since = since or "a time it did not write down"
        return f"{whom}, which has held the lock {self.name} of {without_password(self._address)} since {since}"

    def _ask(self, query: str, *, patience_s: float | None = _ANSWERS_S, **values: object) -> list[Sequence[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            _wait(self._connection, patience_s)
            return list(cursor.fetchall()) if cursor.description else []


def _wait(connection: Any, patience_s: float | None) -> None:
    """Until the server has answered; an interrupt is heard meanwhile. Raises TimeoutError, psycopg2.Error."""
    extensions = driver().extensions
    end = None if patience_s is None else time.monotonic() + patience_s
    while (state := connection.poll()) != extensions.POLL_OK:
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"no answer within {patience_s:.0f} s")
        reads = [connection.fileno()] if state == extensions.POLL_READ else []
        writes = [connection.fileno()] if state == extensions.POLL_WRITE else []
        select.select(reads, writes, [], _LOOK_S)


def _this_process() -> str:
    return f"{run_pid()}@{re.sub(r'[^!-~]', '?', socket.gethostname())[:_HOST_CHARS]}"
