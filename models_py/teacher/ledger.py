"""The teacher's ledger: every reply is committed the moment it arrives and is never paid for twice.

One SQLite file (of a team a PostgreSQL database), one row a request, keyed by the hash of what was asked. A reply that
arrived is final: the first one stays. An error is not: its row is overwritten by the next attempt, and the reply that
at last arrives gets a new `seq`, so whoever mirrors rows after a `seq` sees it.

WAL with synchronous=NORMAL: a reply survives kill -9 of this process as soon as `record` returns, and costs no wait for
the disk. Only a power failure can lose replies, those since the last checkpoint (about 4 MB); the file stays whole.
WAL needs a local disk. Several processes may write; each waits for its turn. PostgreSQL keeps what it has committed as
its owner has set it up; that a lost connection is made anew may count a failed attempt twice, never a reply.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from models_py.errors import UserError
from models_py.lock_file import Tell, Wait, say
from models_py.teacher.ledger_store import Cursor, LedgerPlace, open_store
from models_py.teacher.money import CHARS_A_TOKEN, Price, Spent
from models_py.teacher.parser import encodable
from models_py.teacher.request import REQUESTS_OF, TeacherReply, TeacherRequest

SCHEMA_VERSION = 2

_BUSY_TIMEOUT_S = 60.0
_PAGE_ROWS = 1000

_SCHEMA = """
create table if not exists teacher_replies (
    request_id         text primary key,         -- sha256 of the payload
    seq                integer not null unique,  -- order in which final replies were committed
    teacher            text not null,            -- name in the profile that asked first
    identity           text not null,            -- engine, model and version that answered
    phase              text not null,
    content_id         text not null,            -- of the pair that was shown
    payload            text not null,            -- JSON: identity, phase, prompt hash, messages, sampling
    reply              text,                     -- raw text; null when nothing arrived
    finish_reason      text,
    prompt_tokens      integer,
    completion_tokens  integer,
    attempts           integer not null,         -- over all runs
    latency_s          {real},
    cost_usd           {real},                     -- null when the price is unknown
    error              text,                     -- null when a reply arrived
    created_at         text not null,            -- UTC, ISO 8601
    usage              text,                     -- JSON as the server reported it
    parse_attempt      integer not null default 0  -- unusable replies about the same pair before this request
) {strict}
"""

# Few replies are second tries, so this stays small and costs a first try nothing.
_INDEX = """
create index if not exists second_tries on teacher_replies (identity, phase, content_id)
where parse_attempt > 0 and error is null
"""

# What a ledger of an earlier version lacks.
_MIGRATIONS = {
    1: (
        "alter table teacher_replies add column usage text",
        "alter table teacher_replies add column parse_attempt integer not null default 0",
    ),
}

_KEY_COLUMNS = "teacher, identity, phase, content_id, payload, parse_attempt, created_at"
_REPLY_COLUMNS = (
    "request_id, reply, finish_reason, prompt_tokens, completion_tokens, attempts, latency_s, cost_usd, error, usage"
)

_RECORD = f"""
insert into teacher_replies
    (seq, {_KEY_COLUMNS}, {_REPLY_COLUMNS})
values ((select coalesce(max(seq), 0) + 1 from teacher_replies), {", ".join("?" * 17)})
on conflict (request_id) do update set
    seq = case when excluded.error is null then excluded.seq else teacher_replies.seq end,
    teacher = excluded.teacher,
    created_at = excluded.created_at,
    reply = excluded.reply,
    finish_reason = excluded.finish_reason,
    prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens,
    attempts = teacher_replies.attempts + excluded.attempts,
    latency_s = excluded.latency_s,
    cost_usd = excluded.cost_usd,
    error = excluded.error,
    usage = excluded.usage
where teacher_replies.error is not null
"""
# In its last three columns what nobody knows, at most: tokens that were not counted, and those in and out of replies
# without a cost. Materialized, or SQLite would look into a payload for each of them.
_SPENT = """
with replies as materialized (
    select
        coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) as tokens,
        cost_usd,
        case
            when prompt_tokens is null or completion_tokens is null then length(payload) / {chars_a_token}
            else prompt_tokens
        end as prompt_at_most,
        case
            when prompt_tokens is null or completion_tokens is null then {max_tokens}
            else completion_tokens
        end as completion_at_most
    from teacher_replies
    where teacher = ? and error is null
)

select
    count(*),
    coalesce(sum(tokens), 0),
    coalesce(sum(cost_usd), 0.0),
    count(*) - count(cost_usd),
    coalesce(sum(prompt_at_most + completion_at_most - tokens), 0),
    coalesce(sum(prompt_at_most) filter (where cost_usd is null), 0),
    coalesce(sum(completion_at_most) filter (where cost_usd is null), 0)
from replies
"""
_PERCENTILES = (50, 90, 99)
_DIGITS = 6  # of dollars and seconds


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row as mirrored to the lake; `created_at` is UTC, ISO 8601."""

    seq: int
    teacher: str
    identity: str
    phase: str
    content_id: str
    payload: str
    parse_attempt: int
    created_at: str
    reply: TeacherReply

    @classmethod
    def of(cls, request: TeacherRequest, reply: TeacherReply) -> "LedgerRow":
        """The row of a reply that has just come; the ledger gives it its `seq`."""
        return cls(
            seq=0,
            teacher=request.teacher,
            identity=request.identity,
            phase=request.phase,
            content_id=request.content_id,
            payload=request.stored,
            parse_attempt=request.parse_attempt,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            reply=reply,
        )


@dataclass(frozen=True, slots=True)
class RepliesSummary:
    """The replies of one phase in numbers. Sums are over those that reported a value, None (never 0) when none did.

    second_tries: replies asked for because an earlier one about the same pair could not be used. latencies_s: seconds
    of the last call of each reply that has one, ascending.
    """

    replies: int
    second_tries: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    replies_of_unknown_cost: int
    latencies_s: Sequence[float]

    def known(self) -> dict[str, int | float]:
        """Every number that is known, by name, latencies as percentiles (`latency_p50_s`)."""
        latencies = {f"latency_p{p}_s": percentile(self.latencies_s, p) for p in _PERCENTILES}
        numbers = {
            "replies": self.replies,
            "second_tries": self.second_tries,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": self.cost_usd,
            "replies_of_unknown_cost": self.replies_of_unknown_cost,
            **latencies,
        }
        return {name: round(number, _DIGITS) for name, number in numbers.items() if number is not None}


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The value below which `percent` of 100 lie, interpolated between neighbours as `quantile_cont` of SQL does."""
    if not ascending:
        return None
    place = (len(ascending) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)


class Ledger:
    """The ledger at a place, created when absent. Use it as a context manager, in one thread.

    A path alone is a file. Raises UserError when that is no ledger or was made by another version.
    """

    def __init__(self, place: LedgerPlace | Path, tell: Tell = say) -> None:
        self.place = place if isinstance(place, LedgerPlace) else LedgerPlace(place)
        self.tell = tell  # for whom it waits
        self._store = open_store(self.place)
        self.errors = self._store.errors  # what `record` raises where it cannot write
        self.mend = self._store.mend  # then
        try:
            for statement in self._store.opening:
                self._in_turn(statement)
            self._create()
        except self.errors as error:
            self.close()
            raise self._store.refusal(error, _BUSY_TIMEOUT_S) from error
        except UserError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and the file: the last one to leave folds the WAL back into it."""
        self._store.close()

    def replies(self, request_ids: Sequence[str]) -> dict[str, TeacherReply]:
        """What is known of these requests, by request id; failed attempts included (`error`)."""
        rows = self._store.execute(
            f"select {_REPLY_COLUMNS} from teacher_replies where request_id in {self._store.among}",
            [json.dumps(request_ids)],
        )
        return {row[0]: TeacherReply(*row) for row in rows}

    def record(self, request: TeacherRequest, reply: TeacherReply) -> TeacherReply:
        """Commits one reply and returns what the ledger holds now.

        That is an earlier reply when one is there already (asked by another process at the same time).
        """
        self._insert(LedgerRow.of(request, reply))
        return self.replies([request.request_id])[request.request_id]

    def all_since(self, seq: int = 0) -> Iterator[LedgerRow]:
        """Rows with a greater `seq`, in order, read page by page; a row that failed and later succeeded comes again."""
        while True:
            rows = self._rows("where seq > ? order by seq limit ?", seq, _PAGE_ROWS)
            yield from rows
            if len(rows) < _PAGE_ROWS:
                return
            seq = rows[-1].seq

    def row(self, request_id: str) -> LedgerRow | None:
        """The whole row of a request, None when it was never asked."""
        return next(iter(self._rows("where request_id = ?", request_id)), None)

    def answered(self, request_ids: Sequence[str]) -> list[LedgerRow]:
        """The whole rows of those of these requests to which a reply came, in the order in which they came."""
        ids = json.dumps(request_ids)
        which = f"where request_id in {self._store.among} and error is null order by seq"
        return self._rows(which, ids)

    def asked_again(self, identity: str, phase: str, content_ids: Sequence[str]) -> set[str]:
        """Of these pairs those with a reply to a second or later try, under any prompt."""
        rows = self._store.execute(
            "select distinct content_id from teacher_replies where identity = ? and phase = ? "
            f"and parse_attempt > 0 and error is null and content_id in {self._store.among}",
            [identity, phase, json.dumps(content_ids)],
        )
        return {content_id for (content_id,) in rows}

    def sample(self, identity: str, phase: str, count: int) -> list[LedgerRow]:
        """At most `count` replies of `identity` in a phase, under any prompt: a fair sample, since ids are hashes."""
        return self._rows(
            "where identity = ? and phase = ? and error is null order by request_id limit ?", identity, phase, count
        )

    def add(self, rows: Iterable[LedgerRow]) -> int:
        """Takes over replies of another ledger, in one transaction and in their order; returns how many are new.

        A reply that is here already stays. `seq` is given anew.
        """
        with self._together():
            return sum(self._insert(row).rowcount for row in rows)

    def spent(self, teacher: str, price: Price | None = None) -> Spent:
        """What the teacher of that name was paid so far, over all runs.

        price: what replies of unknown cost are taken to have cost, each at the worst case of its request where the
        server did not count its tokens.
        """
        query = _SPENT.format(chars_a_token=CHARS_A_TOKEN, max_tokens=self._store.max_tokens)
        requests, tokens, usd, unpriced, *at_most = self._store.execute(query, [teacher]).fetchone()
        assumed_tokens, prompt, completion = map(int, at_most)
        assumed_usd = price.usd(prompt, completion) if price else 0.0
        return Spent(requests, int(tokens), usd, unpriced, assumed_tokens, assumed_usd)

    def summary(self, phase: str, teachers: Sequence[str]) -> RepliesSummary:
        """What the teachers of these names replied in a phase of the run so far, over all runs."""
        whose = (
            f"from teacher_replies where phase in {self._store.among} "
            f"and teacher in {self._store.among} and error is null"
        )
        parameters = [json.dumps(REQUESTS_OF[phase]), json.dumps(teachers)]
        sums = self._store.execute(
            "select count(*), count(*) filter (where parse_attempt > 0), sum(prompt_tokens), sum(completion_tokens), "
            f"sum(cost_usd), count(*) - count(cost_usd) {whose}",
            parameters,
        ).fetchone()
        latencies = self._store.execute(
            f"select latency_s {whose} and latency_s is not null order by latency_s", parameters
        )
        fields = (*sums, [latency for (latency,) in latencies])
        return RepliesSummary(*fields)

    def _rows(self, which: str, *parameters: object) -> list[LedgerRow]:
        query = f"select seq, {_KEY_COLUMNS}, {_REPLY_COLUMNS} from teacher_replies {which}"
        found = self._store.execute(query, parameters)
        return [LedgerRow(*fields) for fields in ((*row[:8], TeacherReply(*row[8:])) for row in found)]

    def _insert(self, row: LedgerRow) -> Cursor:
        reply = row.reply
        values = [
            row.teacher,
            row.identity,
            row.phase,
            row.content_id,
            row.payload,
            row.parse_attempt,
            row.created_at,
            reply.request_id,
            None if reply.reply is None else self._store.text(encodable(reply.reply)),
            None if reply.finish_reason is None else self._store.text(encodable(reply.finish_reason)),
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.attempts,
            reply.latency_s,
            reply.cost_usd,
            None if reply.error is None else self._store.text(encodable(reply.error)),
            reply.usage,
        ]
        return self._in_turn(f"{self._store.turn} {_RECORD}", values)

    def _in_turn(self, statement: str, values: Sequence[object] = ()) -> Cursor:
        """Execute what waits for other writers, and tell where that takes long."""
        wait = Wait(self.tell)
        while True:
            try:
                return self._store.execute(statement, values)
            except self.errors as error:
                if not self._store.is_busy(error) or wait.waited_s > _BUSY_TIMEOUT_S:
                    raise
            if not wait.tell_in_s:
                wait.told(self._store.users())
            # SQLite itself does not wait to change a new file's mode, nor to recover a killed writer's.
            time.sleep(0.02)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """What is done within is committed as one, or not at all."""
        self._in_turn(self._store.begin)
        try:
            yield
        except BaseException:
            self._store.roll_back()
            raise
        self._store.execute("commit")

    def _create(self) -> None:
        if self.place.server is not None and self._store.version == SCHEMA_VERSION:
            return  # who may not make tables in a team's database may write replies
        with self._together():
            found = self._store.version
            if found not in (0, SCHEMA_VERSION, *_MIGRATIONS):
                raise UserError(
                    f"{self.place.shown}: a ledger of version {found}, this project reads version {SCHEMA_VERSION}. "
                    "Use the project's version that made it, or move the file aside."
                )
            for version in range(found, SCHEMA_VERSION) if found in _MIGRATIONS else ():
                for statement in _MIGRATIONS[version]:
                    self._store.execute(statement)
            if self._store.home:
                self._store.execute(self._store.home)
            self._store.execute(_SCHEMA.format(real=self._store.real, strict=self._store.strict))
            self._store.execute(_INDEX)
            self._store.version = SCHEMA_VERSION
