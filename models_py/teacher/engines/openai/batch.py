"""The engine `openai_batch`: files and batches of OpenAI-compatible servers. Half the price, an answer within a day.

    requests ──> in a stored batch? ──yes─────────────────────────────────────> poll ──> result files ──> replies
                    │ no                                                          ^
                    └──> input file ──> upload ──> store a token ──> create ──────┘

What was created is never created again: its requests are stored (`batches.py`) before the call, its id after it, and
a run that finds the first without the second looks through the server's batches. A stop leaves open batches to the
server; the next run asks for the same requests and goes on polling.

A result file may arrive cut, or be written to its end only later: one that ends within a line, or lacks lines which
the server counts, is looked at again before what it does not answer is asked, and paid for, anew.

A batch that fails because too many tokens are enqueued already is created again when another one has ended. Requests
that the server refuses for a field that only second tries have go into a new batch, without it.
"""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

import aiohttp

from models_py.errors import UserError
from models_py.teacher.engines.base import Engine, profile_key
from models_py.teacher.engines.openai.batch_files import (
    ENDPOINT,
    InputFile,
    batch_errors,
    ends_within_a_line,
    errors_by_line,
    input_files,
    lacks_room,
    message_of,
    read_failure,
    read_result,
    requests_done,
    result_lines,
    status_of,
)
from models_py.teacher.engines.openai.batch_store import Batch, Batches
from models_py.teacher.engines.openai.body import Bodies, chat_body
from models_py.teacher.engines.openai.chat import Completion
from models_py.teacher.engines.openai.pacing import CoolDown, backoff, wait
from models_py.teacher.engines.openai.server import Answered, Broken, Busy, Outcome, Rejected, Server, read_key
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.request import TeacherReply, TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import OpenAIBatchSettings  # which opens the engines

_LOG = logging.getLogger(__name__)

_TOKEN = "reflection_token"  # the key in a batch's metadata
_PAGE_BATCHES = "100"
_SETTLE_S = 10.0  # until a batch that was just created is surely listed
_LOOKS_AGAIN = 3  # at result files that lack lines
_GIVE_UP_S = 1800.0  # what cannot be looked at for so long is left to the next run
_LOG_EVERY_S = 60.0
_LOOK_S = 0.1  # how often a call under way looks whether it shall stop

_T = TypeVar("_T")


class OpenAIBatchEngine(Engine):
    """The model `settings.model` behind a server's batch endpoints.

    ledger: the place that remembers what is open; without one nothing can be asked. Raises UserError when the key's
    variable is not set, on `ask`.
    """

    def __init__(self, name: str, settings: "OpenAIBatchSettings", ledger: LedgerPlace | None) -> None:
        self.name = name
        self.settings = settings
        self.ledger = ledger
        self._bodies = Bodies(name, settings)

    @property
    def identity(self) -> str:
        """The model's name, as of the engine `openai`: a reply that was paid for through either counts for both."""
        return self.settings.model

    def check_ready(self) -> None:
        """Raises UserError when the key's variable is not set."""
        read_key(self.name, self.settings)

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Takes all requests, then yields replies batch by batch as they end; latency is unknown (None)."""
        if self.ledger is None:
            raise ValueError("openai_batch needs the ledger's place to remember its batches")
        owner = {"teacher": self.name, "identity": self.identity, "base_url": self.settings.base_url}
        with Batches(self.ledger, **owner) as store, _Calls(self.name, self.settings, stop) as calls:
            session = _Session(self.name, self.settings, self._bodies, store, calls)
            try:
                yield from session.replies(requests)
            except _Stopped:
                session.log_stop()


class _Stopped(Exception):
    """`stop` was set while something was waited for."""


class _Calls:
    """Calls to the server, one at a time, repeated as often as good manners allow; the caller waits."""

    def __init__(self, name: str, settings: "OpenAIBatchSettings", stop: Event) -> None:
        self._attempts = settings.attempts
        self._stop = stop
        self._cool_down = CoolDown()
        self.server = Server(name, settings, connections=1)

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._runner.run(self.server.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self.server.__aexit__())
        self._runner.close()

    def once(self, call: Callable[[], Coroutine[Any, Any, _T | Busy]]) -> _T | Broken:
        """One outcome, whether the run shall stop or not. 429 is none: it is waited out."""
        while isinstance(outcome := self._runner.run(call()), Busy):
            self._cool_down.begin(outcome.seconds)
            if self._cool_down.lasts_s > _GIVE_UP_S:
                return Broken(f"nothing but 429 (too many requests) for {_GIVE_UP_S / 60:.0f} minutes")
            self._runner.run(self._cool_down.over(self._stop))
            self.go_on()
        self._cool_down.end()
        return outcome

    def repeated(self, call: Callable[[], Coroutine[Any, Any, _T | Busy]]) -> _T | Broken:
        """The same; Broken only after as many `attempts`. A call under way is given up when the run shall stop."""
        failures = 0
        while isinstance(outcome := self.once(lambda: self._unless_stopped(call())), Broken):
            failures += 1
            if failures >= self._attempts:
                break
            self.back_off(failures, outcome)
        return outcome

    async def _unless_stopped(self, call: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.create_task(call)
        try:
            while not task.done():
                self.go_on()
                await asyncio.wait([task], timeout=_LOOK_S)
            return task.result()
        finally:
            task.cancel()

    def back_off(self, failures: int, broken: Broken) -> None:
        self.pause(max(backoff(failures), broken.seconds or 0.0))

    def pause(self, seconds: float) -> None:
        """Waits. Raises _Stopped as soon as the run shall stop."""
        self._runner.run(wait(seconds, self._stop))
        self.go_on()

    def go_on(self) -> None:
        """Raises _Stopped when the run shall stop."""
        if self._stop.is_set():
            raise _Stopped


@dataclass(slots=True, eq=False)
class _Watched:
    """A batch of which this run wants replies. `asked`: by this run; requests of others may lie in it, too."""

    batch: Batch
    without: frozenset[str] = frozenset()  # fields that its second tries were asked without
    asked: set[str] = field(default_factory=set)
    left: dict[str, TeacherRequest] = field(default_factory=dict)  # of the asked ones those without a reply, in order
    done: int = 0  # requests, as the server counts
    out_of_sight_since: float | None = None  # monotonic seconds
    looks_again: int = 0  # at its result files
    was_alone: bool = False  # nothing else was open when it was created again

    def rest(self) -> list[TeacherRequest]:
        """What is left, once: it is up to the caller to reply."""
        rest, self.left = list(self.left.values()), {}
        return rest


@dataclass(slots=True)
class _Results:
    """What was seen of a batch's result files."""

    lines: int = 0
    is_cut: bool = False
    unread: str = ""  # why one of them cannot be had

    def lack(self, state: Mapping[str, Any]) -> str:
        """What they have too little of, in words: lines that the server counts, or the end of the last one."""
        if not self.unread and self.lines < requests_done(state):
            return f"its result files hold {self.lines:,} of the {requests_done(state):,} lines it counts"
        return "a result file ends within a line" if self.is_cut else ""


class _Session:
    """One `ask`: from requests to batches, from batches to replies."""

    def __init__(
        self, name: str, settings: "OpenAIBatchSettings", bodies: Bodies, store: Batches, calls: _Calls
    ) -> None:
        self._name = name
        self._settings = settings
        self._bodies = bodies
        self._store = store
        self._calls = calls
        self._server = calls.server
        self._open: dict[Batch, _Watched] = {}
        self._waiting: list[tuple[_Watched, str]] = []  # for room at the server; with the ids of their input files
        self._taken = False  # some batch
        self._again: list[TeacherRequest] = []  # without a field that was refused
        self._refused: list[tuple[TeacherRequest, Rejected]] = []
        self._logged_at = -_LOG_EVERY_S

    def replies(self, requests: Iterable[TeacherRequest]) -> Iterator[TeacherReply]:
        yield from self._submit_all(self._in_no_batch(requests))
        yield from self._poll()

    def log_stop(self) -> None:
        count = len(self._open) + len(self._waiting)
        _LOG.info("%s: stopped; the next run goes on with %d open batches", profile_key(self._name), count)

    # --- from requests to batches

    def _submit_all(self, requests: Iterable[TeacherRequest]) -> Iterator[TeacherReply]:
        """One batch after the other; the replies are to what is in none."""
        refused: list[tuple[list[TeacherRequest], str]] = []
        for input_file in input_files(self._settings, self._bodies, requests):
            self._calls.go_on()
            without = self._bodies.refused
            outcome = self._submit(input_file)
            if isinstance(outcome, Batch):
                self._watch(outcome, input_file.requests, without)
            elif isinstance(outcome, Rejected):
                refused.append((input_file.requests, outcome.reason))
            else:
                yield from self._failed(input_file.requests, f"the batch was not created: {outcome.reason}")
        if refused and not self._taken:
            raise UserError(
                f"{profile_key(self._name)}: {self._settings.asked_at} takes no batch ({refused[0][1]}). Correct "
                "the teacher in the profile; a server without files and batches needs `engine: openai`."
            )
        for refused_requests, reason in refused:
            yield from self._failed(refused_requests, f"the batch was refused: {reason}")

    def _in_no_batch(self, requests: Iterable[TeacherRequest]) -> Iterator[TeacherRequest]:
        """The requests that lie in no batch; the batches of the others are watched from here on."""
        holding = {request_id: batch for batch in self._store.stored() for request_id in batch.lines}
        for request in requests:
            batch = holding.get(request.request_id)
            if batch and batch.batch_id is None and batch not in self._open and self._find(batch) is False:
                self._store.forget(batch)
                holding = {request_id: other for request_id, other in holding.items() if other is not batch}
                batch = None
            if batch:
                self._watch(batch, [request])
            else:
                yield request

    def _watch(self, batch: Batch, requests: Iterable[TeacherRequest], without: frozenset[str] = frozenset()) -> None:
        self._taken = True
        watched = self._open.setdefault(batch, _Watched(batch, without))
        watched.left.update((request.request_id, request) for request in requests)
        watched.asked.update(watched.left)

    def _submit(self, input_file: InputFile) -> Batch | Broken | Rejected:
        uploaded: Answered | Broken | Rejected = self._calls.repeated(lambda: self._upload(input_file.file))
        if not isinstance(uploaded, Answered):
            return uploaded
        file_id = uploaded.body.get("id")
        if not isinstance(file_id, str):
            return Broken(self._server.said(f"an upload was answered without an id: {message_of(uploaded.body)}"))
        return self._create(self._store.begin([one.request_id for one in input_file.requests]), file_id)

    async def _upload(self, file: IO[bytes]) -> Outcome:
        file.seek(0)
        with os.fdopen(os.dup(file.fileno()), "rb") as copy:  # whoever sends a file closes it
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", copy, filename="requests.jsonl", content_type="application/jsonl")
            return await self._server.upload("files", form)

    def _create(self, batch: Batch, file_id: str) -> Batch | Broken | Rejected:
        """Creates a stored batch, once: when the answer leaves it open, the server's batches are looked through.

        Broken: it may or may not be there, so it stays stored and the next run looks again.
        """
        body = {
            "input_file_id": file_id,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {_TOKEN: batch.token, "teacher": self._name},
        }
        failures = 0
        while True:
            outcome: Answered | Broken | Rejected = self._calls.once(lambda: self._server.post("batches", body))
            if isinstance(outcome, Rejected):
                self._store.forget(batch)
                return outcome
            if isinstance(outcome, Answered):
                if isinstance(batch_id := outcome.body.get("id"), str):
                    self._created(batch, batch_id)
                    return batch
                outcome = Broken(self._server.said(f"answered without an id: {message_of(outcome.body)}"))
            found = self._find(batch)
            if found is True:
                return batch
            failures += 1
            if isinstance(found, Broken) or failures >= self._settings.attempts:
                return outcome
            self._calls.back_off(failures, outcome)

    def _created(self, batch: Batch, batch_id: str) -> None:
        self._store.created(batch, batch_id)
        _LOG.info("%s: %s is open, %s requests", profile_key(self._name), batch_id, f"{len(batch.lines):,}")

    def _find(self, batch: Batch) -> bool | Broken:
        """Whether the server has a batch with this token; then its id is stored. Broken: nobody can tell now."""
        for seconds in (0.0, _SETTLE_S):
            self._calls.pause(seconds)
            found = self._listed(batch.token)
            if isinstance(found, Broken):
                return found
            if found is not None:
                self._created(batch, found)
                return True
        return False

    def _listed(self, token: str) -> str | Broken | None:
        """The id of the batch with that token among all of the server's."""
        params = {"limit": _PAGE_BATCHES}
        while True:
            page = self._get("batches", params)
            if isinstance(page, Broken):
                return page
            if isinstance(page, Rejected):
                _LOG.warning("%s: batches cannot be listed: %s", profile_key(self._name), page.reason)
                return None
            data = page.body.get("data")
            listed = [one for one in data if isinstance(one, Mapping)] if isinstance(data, list) else []
            for one in listed:
                metadata = one.get("metadata")
                if isinstance(metadata, Mapping) and metadata.get(_TOKEN) == token:
                    return str(one["id"])
            last = str(listed[-1].get("id")) if listed else None
            if last is None or not page.body.get("has_more") or last == params.get("after"):
                return None
            params = {"limit": _PAGE_BATCHES, "after": last}

    # --- from batches to replies

    def _poll(self) -> Iterator[TeacherReply]:
        while self._open or self._waiting:
            before = len(self._open) + len(self._waiting)
            for watched in list(self._open.values()):
                self._calls.go_on()
                yield from self._look(watched)
            ended = before - len(self._open) - len(self._waiting)
            for _ in range(max(ended, not self._open)):
                yield from self._create_next()
            again, self._again = self._again, []
            yield from self._submit_all(again)
            if self._open:
                self._log_progress()
                self._calls.pause(self._settings.poll_s)

    def _look(self, watched: _Watched) -> Iterator[TeacherReply]:
        """The batch's replies, if it has ended."""
        state = self._state(watched.batch)
        if isinstance(state, Rejected):
            yield from self._failed(watched.rest(), state.reason)
            self._settle(watched)
        elif isinstance(state, Broken):
            yield from self._out_of_sight(watched, state.reason)
        elif (status := status_of(state.body)) is None:
            told = self._server.said(f"its status {state.body.get('status')!r} is not known here")
            yield from self._out_of_sight(watched, told)
        elif status == "open":
            watched.done = requests_done(state.body)
            watched.out_of_sight_since = None
        elif status == "failed" and lacks_room(state.body) and not watched.was_alone:
            self._wait_for_room(watched, state.body)
        else:
            yield from self._end(watched, state.body)

    def _state(self, batch: Batch) -> Answered | Broken | Rejected:
        """What the server says of the batch; Rejected: there is none."""
        if batch.batch_id is None:
            found = self._find(batch)
            if isinstance(found, Broken):
                return found
            if not found:
                return Rejected(f"{batch.name} was never created")
        state = self._get(f"batches/{batch.batch_id}")
        if isinstance(state, Rejected):
            self._calls.pause(_SETTLE_S)
            state = self._get(f"batches/{batch.batch_id}")
        return Rejected(f"{batch.name} is gone: {state.reason}") if isinstance(state, Rejected) else state

    def _end(self, watched: _Watched, state: Mapping[str, Any]) -> Iterator[TeacherReply]:
        """Every reply of a batch that has ended; for what has none, the reason."""
        _LOG.info("%s: %s is over: %s", profile_key(self._name), watched.batch.name, status_of(state))
        results = _Results()
        for name in ("output_file_id", "error_file_id"):
            if not state.get(name):
                continue
            with tempfile.TemporaryFile() as file:
                outcome = self._download(f"files/{state[name]}/content", file)
                if isinstance(outcome, Broken):
                    yield from self._out_of_sight(watched, f"{name}: {outcome.reason}")
                    return
                if isinstance(outcome, Rejected):
                    results.unread = f"{name} of {watched.batch.name} cannot be read: {outcome.reason}"
                    continue
                file.seek(0)
                yield from self._read(file, watched, results)
        if watched.left and (lack := results.lack(state)) and watched.looks_again < _LOOKS_AGAIN:
            watched.looks_again += 1
            _LOG.warning("%s: %s is looked at again: %s", profile_key(self._name), watched.batch.name, lack)
            return
        yield from self._without_a_line(watched, state, results)
        self._settle(watched)
        for request, rejected in self._refused:
            self._bodies.check(request, rejected)

    def _without_a_line(self, watched: _Watched, state: Mapping[str, Any], results: _Results) -> Iterator[TeacherReply]:
        """Replies to requests of an ended batch that no result file speaks of."""
        reasons = self._reason(watched.batch, state), results.lack(state)
        own, common = errors_by_line(state), results.unread or "; ".join(filter(None, reasons))
        rest = watched.rest()
        for request in rest:
            if error := own.get(watched.batch.lines[request.request_id]):
                sent = self._sent(request, watched)
                self._is_refused(request, read_failure(error, sent, self._server.said(message_of(error))), sent)
        for request in rest:
            if status_of(state) == "failed" and self._bodies.left_out(request) - watched.without:
                self._again.append(request)  # a server may name a few of the lines that made it refuse them all
                continue
            line = watched.batch.lines[request.request_id]
            reason = f"{common}; line {line}, this request: {message_of(own[line])}" if line in own else common
            yield TeacherReply(request.request_id, error=self._server.said(reason))

    def _sent(self, request: TeacherRequest, watched: _Watched) -> set[str]:
        """The fields of the request as it lies in the batch."""
        return chat_body(self._settings, request).keys() - watched.without

    def _is_refused(self, request: TeacherRequest, read: object, sent: Collection[str]) -> bool:
        """Whether the request is refused for a field that it can do without; one that it cannot is remembered."""
        if not isinstance(read, Rejected) or read.parameter is None:
            return False
        if self._bodies.go_on_without(request, read, sent):
            return True
        self._refused.append((request, read))
        return False

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answered | Broken | Rejected:
        return self._calls.repeated(lambda: self._server.get(path, params))

    def _download(self, path: str, file: IO[bytes]) -> int | Broken | Rejected:
        return self._calls.repeated(lambda: self._server.download(path, file))

    def _read(self, file: IO[bytes], watched: _Watched, results: _Results) -> Iterator[TeacherReply]:
        """The replies in a result file to what is left; the first one to each."""
        unreadable = unknown = 0
        line = None
        for line in result_lines(file):
            results.lines += 1
            if line is None:
                unreadable += 1
                continue
            request_id, row = line
            if request_id in watched.left:
                request = watched.left.pop(request_id)
                sent = self._sent(request, watched)
                read = read_result(self._server.without_key(row), sent, self._server.said)
                if self._is_refused(request, read, sent):
                    self._again.append(request)
                elif isinstance(read, Completion):
                    yield read.reply(request_id, attempts=1, latency_s=None)
                elif isinstance(read, Rejected):
                    yield self._bodies.rejected_reply(request, read)
                else:
                    yield TeacherReply(request_id, error=read.reason)
            elif request_id not in watched.batch.lines:
                unknown += 1
        if unreadable or unknown:
            _LOG.warning(
                "%s: left out of %s: %d lines that cannot be read, %d of unknown requests",
                profile_key(self._name),
                watched.batch.name,
                unreadable,
                unknown,
            )
        results.is_cut = results.is_cut or (line is None and ends_within_a_line(file))

    def _reason(self, batch: Batch, state: Mapping[str, Any]) -> str:
        """Why requests of an ended batch have no line in its result files."""
        status, errors = status_of(state), batch_errors(state)
        if status == "completed":
            return f"{batch.name} completed without a line about this request"
        if status != "failed":
            return f"{batch.name} {status} before there was a line about this request"
        remedy = "Lower batch_requests. " if lacks_room(state) else ""
        return f"{remedy}{batch.name} failed: {message_of(errors[0]) if errors else 'the server gave no reason'}"

    def _out_of_sight(self, watched: _Watched, reason: str) -> Iterator[TeacherReply]:
        """The batch cannot be looked at: after a time it is left to the next run."""
        _LOG.warning("%s: %s cannot be looked at: %s", profile_key(self._name), watched.batch.name, reason)
        now = time.monotonic()
        if watched.out_of_sight_since is None:
            watched.out_of_sight_since = now
        if now - watched.out_of_sight_since >= _GIVE_UP_S:
            del self._open[watched.batch]
            yield from self._failed(watched.rest(), f"{watched.batch.name} stays open, out of sight: {reason}")

    def _settle(self, watched: _Watched) -> None:
        """Every reply was delivered."""
        del self._open[watched.batch]
        self._store.delivered(watched.batch, watched.asked)

    def _failed(self, requests: Iterable[TeacherRequest], reason: str) -> Iterator[TeacherReply]:
        _LOG.warning("%s: %s", profile_key(self._name), reason)
        for request in requests:
            yield TeacherReply(request.request_id, error=reason)

    # --- batches that wait for room

    def _wait_for_room(self, watched: _Watched, state: Mapping[str, Any]) -> None:
        del self._open[watched.batch]
        self._waiting.append((watched, str(state.get("input_file_id"))))
        _LOG.info("%s: %s waits until less is enqueued", profile_key(self._name), watched.batch.name)

    def _create_next(self) -> Iterator[TeacherReply]:
        if not self._waiting:
            return
        watched, file_id = self._waiting.pop(0)
        watched.was_alone = not self._open
        self._store.renew(watched.batch)
        outcome = self._create(watched.batch, file_id)
        if isinstance(outcome, Batch):
            self._open[watched.batch] = watched
        else:
            yield from self._failed(watched.rest(), f"the batch was not created again: {outcome.reason}")

    def _log_progress(self) -> None:
        now = time.monotonic()
        if now - self._logged_at < _LOG_EVERY_S:
            return
        self._logged_at = now
        done = sum(watched.done for watched in self._open.values())
        total = sum(len(watched.batch.lines) for watched in self._open.values())
        waiting = f"; {len(self._waiting)} more wait until less is enqueued" if self._waiting else ""
        words = f"{len(self._open)} batches open, {done:,} of their {total:,} requests done{waiting}"
        _LOG.info("%s: %s", profile_key(self._name), words)
