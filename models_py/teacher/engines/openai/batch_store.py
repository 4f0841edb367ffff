"""Which requests lie in which batch at a server, kept in the ledger's file, so that no run pays for them again.

    teacher_batches            token 5f0c..., batch_id batch_abc (null until the server's answer is stored)
    teacher_batch_requests     token 5f0c..., request_id 9f2c..., line 17

A batch is stored before it is created. Its random token also goes to the server with it: a run that finds a token
without a batch id can look whether the batch exists. A request leaves the tables when its reply is in the ledger, a
batch with its last request; so what nobody asks for now (fewer pairs this time) is still there when it is asked for.

The two tables are made when they are absent and are no part of the ledger's version: whoever reads replies needs no
batches.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace

_SCHEMA = (
    """
create table if not exists teacher_batches ({numbered}
    token       text primary key,  -- random; in the batch's metadata at the server, too
    teacher     text not null,     -- name in the profile
    identity    text not null,     -- the model
    base_url    text not null,     -- the server
    batch_id    text,              -- as the server named it; null until its answer is stored
    created_at  text not null      -- UTC, ISO 8601
) {strict}
""",
    """
create table if not exists teacher_batch_requests (
    token       text not null,     -- of the batch
    request_id  text not null,     -- of the ledger
    line        integer not null,  -- of the batch's input file, from 1
    primary key (token, request_id)
) {strict}
""",
)


@dataclass(slots=True, eq=False)
class Batch:
    """One stored batch. `lines`: the requests it still owes and their lines in its input file, from 1."""

    token: str
    batch_id: str | None
    lines: dict[str, int]

    @property
    def name(self) -> str:
        """For people."""
        return self.batch_id or f"batch {self.token[:8]}"


class Batches(Ledger):
    """The batches of one teacher at one server. Use it as the ledger: a context manager, in one thread."""

    def __init__(self, place: LedgerPlace | Path, *, teacher: str, identity: str, base_url: str) -> None:
        super().__init__(place)
        self._store.sync_each_commit()  # few commits, each worth a whole batch
        self._owner = (teacher, identity, base_url)
        if not self._store.has_table("teacher_batch_requests"):
            with self._together():
                for table in _SCHEMA:
                    self._store.execute(table.format(strict=self._store.strict, numbered=self._store.numbered))

    def stored(self) -> list[Batch]:
        """Every batch that still owes a request, oldest first."""
        batches: dict[str, Batch] = {}
        rows = self._store.execute(
            "select token, batch_id, request_id, line from teacher_batches join teacher_batch_requests using (token) "
            "where (teacher, identity, base_url) = (?, ?, ?) "
            f"order by teacher_batches.{self._store.number}, line",
            self._owner,
        )
        for token, batch_id, request_id, line in rows:
            batches.setdefault(token, Batch(token, batch_id, {})).lines[request_id] = line
        return list(batches.values())

    def begin(self, request_ids: Sequence[str]) -> Batch:
        """Stores a batch that is about to be created, its requests in the order of its input file."""
        lines = {request_id: line for line, request_id in enumerate(request_ids, start=1)}
        batch = Batch(secrets.token_hex(16), None, lines)
        with self._together():
            self._store.execute(
                "insert into teacher_batches (token, teacher, identity, base_url, created_at) values (?, ?, ?, ?, ?)",
                [batch.token, *self._owner, datetime.now(UTC).isoformat(timespec="microseconds")],
            )
            for request_id, line in lines.items():
                self._store.execute(
                    "insert into teacher_batch_requests (token, request_id, line) values (?, ?, ?)",
                    [batch.token, request_id, line],
                )
        return batch

    def created(self, batch: Batch, batch_id: str) -> None:
        """The server has the batch."""
        batch.batch_id = batch_id
        self._store.execute("update teacher_batches set batch_id = ? where token = ?", [batch_id, batch.token])

    def renew(self, batch: Batch) -> None:
        """The batch is about to be created once more, as another one."""
        token = secrets.token_hex(16)
        with self._together():
            self._store.execute(
                "update teacher_batches set token = ?, batch_id = null where token = ?", [token, batch.token]
            )
            self._store.execute("update teacher_batch_requests set token = ? where token = ?", [token, batch.token])
        batch.token, batch.batch_id = token, None

    def delivered(self, batch: Batch, request_ids: Iterable[str]) -> None:
        """The batch no longer owes these requests, nor those that the ledger has replies to."""
        with self._together():
            self._store.execute(
                "delete from teacher_batch_requests where token = ? and ("
                f"request_id in {self._store.among} "
                "or request_id in (select request_id from teacher_replies where error is null))",
                [batch.token, json.dumps(list(request_ids))],
            )
            self._store.execute(
                "delete from teacher_batches where token = ? "
                "and token not in (select token from teacher_batch_requests)",
                [batch.token],
            )

    def forget(self, batch: Batch) -> None:
        """There is no such batch at the server."""
        self.delivered(batch, batch.lines)
