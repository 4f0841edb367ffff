"""Asking the teacher for what the ledger does not know yet.

Two threads: one takes replies from the teacher and commits each to the ledger the moment it is there, the caller's
reads them at its own pace. So nothing that arrived waits for a slow reader, and killed at any moment and called again
it goes on. However the caller leaves (an interrupt, an error), what is under way is waited for and committed first.

A request is sent only while the disk has room for its reply, which is set aside. Where the ledger cannot be written all
the same, nothing more is sent; replies are held until it can, at the end in a file elsewhere, and the run stops.

    requests ──> known to the ledger? ──yes──────────────────────────────────────────> caller
                       │ no                                                              ^
                       └──> Account.admits ─> Engine.ask ──> settle ─ ──> Ledger.record ──┘
"""

import contextlib
import queue
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread

from models_py.disk import Reserve
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.teacher.engines.base import Engine
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.money import Account
from models_py.teacher.replies_file import write_replies
from models_py.teacher.request import TeacherReply, TeacherRequest

_LOOKUP_ROWS = 1000
_LOOK_S = 0.5
_TELL_EVERY_S = 5.0  # while nothing comes but what is waited for, and nothing more is asked
_QUIET_S = 30.0  # nothing has come, and who is waited for is told
_PASSED_OVER = 1_000  # requests in a row that a budget has no room for
_HOLD_S = 60.0  # replies that the ledger does not take
# Bytes on the disk at most: pages of the ledger's indices, written twice, and what is JSON in a row.
_ROW_BYTES, _CHAR_BYTES, _TOKEN_BYTES = 48_000, 2, 16


def ask_missing(
    requests: Sequence[TeacherRequest],
    teacher: Engine,
    ledger: Ledger,
    account: Account | None = None,
    on_progress: OnProgress = silent,
) -> Iterator[tuple[int, TeacherReply]]:
    """Yields the place of each request with its reply: known ones first, then the others as they arrive.

    `requests` may make its items when they are asked for; each is made twice. A stored error is not known: it is asked
    again. The teacher is not called when nothing is missing. What it leaves unanswered is not yielded: where the budget
    ended it, `account.reached` says so. Raises ValueError when it answers what was not asked.
    """
    missing: dict[str, list[int]] = {}  # request id -> places; the same thing asked twice is asked once
    known_count = 0
    for start in range(0, len(requests), _LOOKUP_ROWS):
        places = range(start, min(start + _LOOKUP_ROWS, len(requests)))
        ids = [requests[place].request_id for place in places]
        known = ledger.replies(ids)
        for place, request_id in zip(places, ids, strict=True):
            reply = known.get(request_id)
            if reply is None or reply.error is not None:
                missing.setdefault(request_id, []).append(place)
            else:
                known_count += 1
                yield place, reply
    if not missing:
        return
    account = account or Account()
    total, done = len(requests) - known_count, 0
    known_note = f"{known_count:,} more from the ledger" if known_count else ""

    def tell(waits_for: str = "") -> None:
        notes = [account.spent.shown(), known_note, waits_for]
        on_progress(Progress(done, total, "replies", note=", ".join(filter(None, notes)), urgent=bool(waits_for)))

    for request_id, reply in _Asking(requests, missing, teacher, ledger, account).replies(tell):
        places_answered = missing.pop(request_id)
        done += len(places_answered)
        tell()
        for place in places_answered:
            yield place, reply


class _Asking:
    """The thread that asks and commits, and the queue to the caller."""

    def __init__(
        self,
        requests: Sequence[TeacherRequest],
        missing: Mapping[str, Sequence[int]],
        teacher: Engine,
        ledger: Ledger,
        account: Account,
    ) -> None:
        self._requests = requests
        self._to_ask = deque(places[0] for places in missing.values())
        self._under_way: dict[str, tuple[TeacherRequest, float]] = {}  # with when it was asked, monotonic
        self._came_at, self._quiet_s = time.monotonic(), _QUIET_S  # when something came; when silence is told
        self._teacher = teacher
        self._ledger = ledger
        self._account = account
        self._stop = Event()
        self._left = Event()  # the caller has
        self._tell_again_s = 0.0  # monotonic
        self._notes: deque[str] = deque()  # of the thread that asks, to be told by the caller's
        self._note = self._notes.append
        self._told = ""
        self._room = 0  # bytes that what is under way may need
        self._held: deque[tuple[TeacherRequest, TeacherReply]] = deque()
        self._unwritten: Exception | None = None  # why the ledger, or the room for it, was refused
        self._out: queue.SimpleQueue[tuple[str, TeacherReply] | BaseException | None] = queue.SimpleQueue()

    def replies(self, tell: Callable[[str], None]) -> Iterator[tuple[str, TeacherReply]]:
        """tell: called in this thread, with what is waited for where nothing comes."""
        thread = Thread(target=self._run, name="teacher", daemon=True)
        try:
            thread.start()
            while True:
                try:
                    item = self._out.get(timeout=_LOOK_S)
                except queue.Empty:
                    self._tell(tell)
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._left.set()
            self._stop.set()
            if thread.ident is not None:  # an interrupt may have come before it ran
                while thread.is_alive():
                    with contextlib.suppress(Exception):  # what cannot be told (a full disk) must not end the wait
                        self._tell(tell)
                    thread.join(_LOOK_S)

    def _tell(self, tell: Callable[[str], None]) -> None:
        """Tell for whom the ledger waits; what is waited for when it is new, or now and then while nothing comes."""
        while self._notes:
            tell(self._notes.popleft())
        if self._stop.is_set():
            words, is_due = self._waits_for(), time.monotonic() >= self._tell_again_s
        elif words := self._teacher.busy_with:
            is_due = words != self._told
        else:
            words = self._quiet()
            is_due = True
        if words and is_due:
            self._told, self._tell_again_s = words, time.monotonic() + _TELL_EVERY_S
            tell(words)

    def _quiet(self) -> str:
        """For whom one waits when nothing has come for a while, for twice as long, and so on."""
        now, asked_at = time.monotonic(), [at for _, at in [*self._under_way.values()]]
        if not asked_at or now - self._came_at < self._quiet_s:
            return ""
        self._quiet_s *= 2
        full = ", and the budget has no room beside them" if self._account.reached else ""
        return (
            f"nothing came for {now - self._came_at:.0f} s: {len(asked_at):,} calls under way, "
            f"the oldest for {now - min(asked_at):.0f} s{full}"
        )

    def _waits_for(self) -> str:
        if self._under_way:
            saved = f", {len(self._held):,} held in memory" if self._held else ""
            return f"waiting for {len(self._under_way):,} replies under way{saved}; a second interrupt loses them"
        if self._held:
            return f"holding {len(self._held):,} replies until {self._ledger.place.shown} can be written ({self._why})"
        return ""

    def _run(self) -> None:
        try:
            # A connection belongs to one thread.
            with Ledger(self._ledger.place, self._note) as ledger, Reserve(self._ledger.place.disk) as reserve:
                try:
                    self._ask_all(ledger, reserve)
                finally:
                    self._stop.set()
                    self._save_held(ledger, reserve)
        except BaseException as error:
            self._out.put(error)
        else:
            self._out.put(None)

    def _ask_all(self, ledger: Ledger, reserve: Reserve) -> None:
        """Ask until all is answered, or stopped, or the budget has no room for one request more.

        A budget is held against worst cases: when what was under way came cheaper, there may be room for another round.
        """
        before = -1
        while self._to_ask and len(self._to_ask) != before and not self._stop.is_set():
            before = len(self._to_ask)
            for answer in self._teacher.ask(self._admitted(reserve), self._stop):
                if answer.request_id not in self._under_way:
                    raise ValueError(f"{self._teacher.identity} answered {answer.request_id}, which is not open")
                request, _ = self._under_way.pop(answer.request_id)
                self._came_at, self._quiet_s = time.monotonic(), _QUIET_S
                self._room -= _room(request)
                self._held.append((request, self._account.settle(answer)))
                self._write_held(ledger, reserve)
            self._account.release()

    def _write_held(self, ledger: Ledger, reserve: Reserve) -> None:
        """Commit what is held. Where that cannot be, nothing more is asked, and the reserve is given up for it."""
        while self._held:
            request, reply = self._held[0]
            try:
                stored = ledger.record(request, reply)
            except ledger.errors as error:
                self._stop.set()
                self._unwritten = self._unwritten or error
                if not reserve.release():
                    return
                continue
            self._held.popleft()
            self._out.put((request.request_id, stored))

    def _save_held(self, ledger: Ledger, reserve: Reserve) -> None:
        """Have every reply written somewhere. Raises UserError where the ledger refused one, whatever became of it."""
        if self._unwritten is None:
            return
        rescued, end = None, time.monotonic() + _HOLD_S
        self._write_held(ledger, reserve)
        while self._held and rescued is None:
            left = self._left.wait(_LOOK_S)
            self._write_held(ledger, reserve)
            if left or time.monotonic() >= end:
                rescued = self._rescue()
            if left:
                break
        raise UserError(self._what_became(rescued))

    def _rescue(self) -> Path | None:
        """A file with what is held, where temporary files are; None where it cannot be written either."""
        rows = [LedgerRow.of(request, reply) for request, reply in self._held if reply.error is None]
        if not rows:
            return None
        folder = Path(tempfile.mkdtemp(prefix="reflection-lake-"))
        try:
            write_replies(folder / "replies.jsonl", rows)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return folder / "replies.jsonl"

    @property
    def _why(self) -> str:
        error = self._unwritten
        return (error.strerror if isinstance(error, OSError) else None) or str(error)

    def _what_became(self, rescued: Path | None) -> str:
        mend = self._ledger.mend
        said = f"{self._ledger.place.shown} cannot be written ({self._why}), so nothing more was asked. "
        if not self._held:
            return f"{said}All replies that were under way are saved. {mend} and run again."
        held = sum(reply.error is None for _, reply in self._held)
        if rescued is None:
            return f"{said}{held:,} replies could be written nowhere and are lost. {mend} and run again."
        return (
            f"{said}{held:,} replies that it did not take lie in {rescued}. {mend}, then "
            f"make import-replies FILE={rescued} and run again: otherwise they are paid for a second time."
        )

    def _admitted(self, reserve: Reserve) -> Iterator[TeacherRequest]:
        """What fits the budget. What does not by itself is passed over: one long pair does not keep the others out."""
        passed_over = 0
        while passed_over < min(len(self._to_ask), _PASSED_OVER) and not self._stop.is_set():
            request = self._requests[self._to_ask[0]]
            if not self._account.admits(request):
                if self._account.may_admit(request):
                    return
                self._to_ask.rotate(-1)
                passed_over += 1
                continue
            passed_over = 0
            self._room += _room(request)
            try:
                reserve.hold(self._room)
            except OSError as error:
                self._unwritten = error
                self._stop.set()
                return
            self._to_ask.popleft()
            self._under_way[request.request_id] = request, time.monotonic()
            yield request


def _room(request: TeacherRequest) -> int:
    """Bytes on the disk that a reply's row needs at most."""
    asked = sum(len(message.content) for message in request.messages)
    return _ROW_BYTES + _CHAR_BYTES * asked + _TOKEN_BYTES * request.sampling.max_tokens
