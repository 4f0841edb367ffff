"""Asking the teacher for what the ledger does not know yet.

Two threads: one takes replies from the teacher and commits each to the ledger the moment it is there, the caller's
reads them at its own pace. So nothing that arrived waits for a slow reader, and killed at any moment and called again
it goes on. However the caller leaves (an interrupt, an error), what is under way is waited for and committed first.

    requests ──> known to the ledger? ──yes──────────────────────────────────────────> caller
                       │ no                                                              ^
                       └──> Account.admits ─> Engine.ask ──> settle ─ ──> Ledger.record ──┘
"""

import queue
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Thread

from models_py.progress import OnProgress, Progress, silent
from models_py.teacher.engines.base import Engine
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import Account
from models_py.teacher.request import TeacherReply, TeacherRequest

_LOOKUP_ROWS = 1000


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
    for request_id, reply in _Asking(requests, missing, teacher, ledger, account).replies():
        places_answered = missing.pop(request_id)
        done += len(places_answered)
        on_progress(Progress(done, total, "replies", note=", ".join(filter(None, [account.spent.shown(), known_note]))))
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
        self._under_way: dict[str, TeacherRequest] = {}
        self._teacher = teacher
        self._ledger = ledger
        self._account = account
        self._stop = Event()
        self._out: queue.SimpleQueue[tuple[str, TeacherReply] | BaseException | None] = queue.SimpleQueue()

    def replies(self) -> Iterator[tuple[str, TeacherReply]]:
        thread = Thread(target=self._run, name="teacher", daemon=True)
        try:
            thread.start()
            while (item := self._out.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._stop.set()
            if thread.ident is not None:  # an interrupt may have come before it ran
                thread.join()

    def _run(self) -> None:
        try:
            with Ledger(self._ledger.path) as ledger:  # a connection belongs to one thread
                self._ask_all(ledger)
        except BaseException as error:
            self._out.put(error)
        else:
            self._out.put(None)

    def _ask_all(self, ledger: Ledger) -> None:
        """Ask until all is answered, or stopped, or the budget has no room for one request more.

        A budget is held against worst cases: when what was under way came cheaper, there may be room for another round.
        """
        before = -1
        while self._to_ask and len(self._to_ask) != before and not self._stop.is_set():
            before = len(self._to_ask)
            for answer in self._teacher.ask(self._admitted(), self._stop):
                request = self._under_way.pop(answer.request_id, None)
                if request is None:
                    raise ValueError(f"{self._teacher.identity} answered {answer.request_id}, which is not open")
                self._out.put((request.request_id, ledger.record(request, self._account.settle(answer))))
            self._account.release()

    def _admitted(self) -> Iterator[TeacherRequest]:
        while self._to_ask and not self._stop.is_set():
            request = self._requests[self._to_ask[0]]
            if not self._account.admits(request):
                return
            self._to_ask.popleft()
            self._under_way[request.request_id] = request
            yield request
