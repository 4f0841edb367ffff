"""The engine `openai`: chat completions of any OpenAI-compatible server, many at once, each answer as it comes.

A few workers share one session. Each takes one request after the other and has it answered. Every call, a repeated one
too, is made only when it may be: after the cool-down, when the requests and tokens of the minute allow.

    next(requests) ─> may be sent? ─> call ─> reply
                           ^            │
                           └────────────┘ Broken: `attempts` times; Busy: as often as it is
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from models_py.errors import UserError
from models_py.teacher.engines.base import Engine, profile_key
from models_py.teacher.engines.openai.address import COMPLETIONS
from models_py.teacher.engines.openai.body import Bodies
from models_py.teacher.engines.openai.pacing import CoolDown, TokenBucket, backoff, wait
from models_py.teacher.engines.openai.server import (
    Answered,
    Broken,
    Busy,
    Rejected,
    Server,
    read_key,
)
from models_py.teacher.money import prompt_tokens_at_most
from models_py.teacher.request import TeacherReply, TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import OpenAISettings  # which opens the engines

_HOPELESS = 100  # requests in a row that failed: the server is down
_GIVE_UP_S = 1800.0  # nothing but 429 for so long, or told to wait longer: somebody should look


class OpenAIEngine(Engine):
    """The model `settings.model` behind a server. Raises UserError when the key's variable is not set, on `ask`."""

    def __init__(self, name: str, settings: "OpenAISettings") -> None:
        self.name = name
        self.settings = settings
        self._bodies = Bodies(name, settings)

    @property
    def identity(self) -> str:
        """The model's name: whichever server or engine answers for it, a reply that was paid for counts."""
        return self.settings.model

    def check_ready(self) -> None:
        """Raises UserError when the key's variable is not set."""
        read_key(self.name, self.settings)

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Yields replies as they finish. The calls are made while the caller waits for the next one."""
        with asyncio.Runner() as runner:
            session = _Session(self.name, self.settings, self._bodies, iter(requests), stop)
            try:
                runner.run(session.begin())
                while replies := runner.run(session.next()):
                    yield from replies  # nothing more is read or sent before the caller has them all
            finally:
                runner.run(session.end())


class _Session:
    """The workers of one `ask` and the replies they have in hand, at most one each."""

    def __init__(
        self,
        name: str,
        settings: "OpenAISettings",
        bodies: Bodies,
        requests: Iterator[TeacherRequest],
        stop: Event,
    ) -> None:
        self._name = name
        self._settings = settings
        self._bodies = bodies
        self._requests = requests
        self._stop = stop
        self._server = Server(name, settings, settings.concurrency)
        self._cool_down = CoolDown()
        self._requests_left = TokenBucket(settings.requests_per_minute)
        self._tokens_left = TokenBucket(settings.tokens_per_minute)
        self._failures = 0  # in a row
        self._answered = False
        self._came: list[TeacherReply] = []
        self._news = asyncio.Event()

    async def begin(self) -> None:
        await self._server.__aenter__()
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.concurrency)]
        self._all = asyncio.create_task(self._finish())
        self._all.add_done_callback(lambda _: self._news.set())

    async def next(self) -> list[TeacherReply]:
        """The replies that have come; none when there are no more. Raises what ended the run, after them."""
        while not self._came and not self._all.done():
            self._news.clear()
            await self._news.wait()
        if not self._came:
            await self._all
        came, self._came = self._came, []
        return came

    async def end(self) -> None:
        for task in (*self._workers, self._all):
            task.cancel()
        await asyncio.gather(*self._workers, self._all, return_exceptions=True)
        await self._server.__aexit__()

    async def _finish(self) -> None:
        for error in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    async def _work(self) -> None:
        try:
            while not self._stop.is_set() and (request := next(self._requests, None)) is not None:
                reply = await self._answer(request)
                if reply is not None:
                    self._came.append(reply)
                    self._news.set()
        except BaseException:
            self._stop.set()  # the others finish what they have under way
            raise

    async def _may_send(self, tokens: int) -> bool:
        """Waits until a call may be made; False: stopped."""
        stop = self._stop
        while await self._cool_down.over(stop):
            if not (await self._requests_left.take(1, stop) and await self._tokens_left.take(tokens, stop)):
                return False
            if not self._cool_down.is_on:
                return True
            # It began while this call waited for its turn: it gives the turn back and queues anew.
            self._requests_left.give_back(1)
            self._tokens_left.give_back(tokens)
        return False

    async def _answer(self, request: TeacherRequest) -> TeacherReply | None:
        """The reply to one request, None when it was stopped before there was one."""
        tokens = prompt_tokens_at_most(request) + request.sampling.max_tokens
        calls, failures = 0, 0
        while await self._may_send(tokens):
            sent = self._bodies.of(request)
            calls += 1
            started = time.monotonic()
            outcome = await self._server.post(COMPLETIONS, sent)
            latency = time.monotonic() - started
            read = read_completion(outcome.body) if isinstance(outcome, Answered) else outcome
            match read:
                case Completion():
                    self._cool_down.end()
                    self._failures, self._answered = 0, True
                    self._give_back(tokens, read)
                    return read.reply(request.request_id, attempts=calls, latency_s=latency)
                case Rejected() if self._bodies.go_on_without(request, read, sent):
                    pass
                case Rejected():
                    self._bodies.check(request, read)
                    self._failures = 0 if self._answered or read.filtered else self._failures + 1
                    self._check_hope(read.reason)
                    return self._bodies.rejected_reply(request, read, attempts=calls, latency_s=latency)
                case Busy(seconds):
                    self._cool_down.begin(seconds)
                    self._check_patience(seconds or 0.0)
                case Broken(reason, seconds):
                    failures += 1
                    if failures >= self._settings.attempts or (seconds or 0.0) > _GIVE_UP_S:
                        error = self._server.said(reason)
                        self._failures += 1
                        self._check_hope(error, unreachable=read.unreachable)
                        return TeacherReply(request.request_id, attempts=calls, latency_s=latency, error=error)
                    await wait(max(backoff(failures), seconds or 0.0), self._stop)
        return None

    def _check_hope(self, reason: str, *, unreachable: bool = False) -> None:
        where = f"{profile_key(self._name)}: {self._settings.asked_at}"
        if unreachable and not self._answered:
            raise UserError(
                f"{where} cannot be reached ({reason}). See that the server runs and that "
                f"{profile_key(self._name)}.base_url is right, then run again."
            )
        if self._failures >= _HOPELESS:
            which = f"the last {_HOPELESS}" if self._answered else f"the first {_HOPELESS}"
            raise UserError(
                f"{where} answered none of {which} requests ({reason}). See that it runs, and that base_url and model "
                "are right. Replies that came are kept."
            )

    def _check_patience(self, asked_s: float) -> None:
        waits_s = max(self._cool_down.lasts_s, asked_s)
        if waits_s > _GIVE_UP_S:
            what = "asks to wait" if waits_s == asked_s else "has answered nothing else for"
            raise UserError(
                f"{profile_key(self._name)}: {self._settings.asked_at} answers 429 (too many requests) and {what} "
                f"{waits_s / 60:.0f} minutes. Lower requests_per_minute, tokens_per_minute or concurrency and run "
                "again: replies that came are kept."
            )

    def _give_back(self, tokens: int, completion: "Completion") -> None:
        used = (completion.prompt_tokens, completion.completion_tokens)
        if used[0] is not None and used[1] is not None:
            self._tokens_left.give_back(max(0, tokens - used[0] - used[1]))


@dataclass(frozen=True, slots=True)
class Completion:
    """What a chat completion says, as far as this project needs it."""

    text: str
    finish_reason: str | None
    usage: Mapping[str, Any] | None

    @property
    def prompt_tokens(self) -> int | None:
        """As reported; 0 is no count, since no prompt is empty."""
        return self._count("prompt_tokens") or None

    @property
    def completion_tokens(self) -> int | None:
        """As reported, with the tokens of reasoning that some servers count in the total alone."""
        prompt, completion, total = (self._count(f"{name}_tokens") for name in ("prompt", "completion", "total"))
        if prompt and total and total > prompt + (completion or 0):
            return total - prompt
        return None if completion == 0 and self.text.strip() else completion

    def _count(self, name: str) -> int | None:
        value = (self.usage or {}).get(name)
        return value if type(value) is int and 0 <= value < 1 << 63 else None  # what a database holds

    def reply(self, request_id: str, *, attempts: int, latency_s: float | None) -> TeacherReply:
        return TeacherReply(
            request_id,
            reply=self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            attempts=attempts,
            latency_s=latency_s,
            usage=json.dumps(self.usage) if self.usage else None,
        )


def read_completion(body: Mapping[str, Any]) -> Completion | Broken:
    """A chat completion's first choice; Broken when the body is none. Content that is null is an empty text.

    The reason quotes all the server said: `Server.said` takes the key out and shortens it.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Broken(f"a body without choices[0].message: {json.dumps(body)}")
    if isinstance(content, list):  # parts, as some servers send them; those of reasoning are no reply
        content = "".join(map(_part_text, content))
    if isinstance(refusal, str) and refusal and not content:
        content, finish_reason = refusal, "content_filter"
    if not isinstance(content, str | None):
        return Broken(f"a message whose content is no text: {json.dumps(content)}")
    usage = body.get("usage")
    return Completion(
        content or "",
        finish_reason if isinstance(finish_reason, str) else None,
        usage if isinstance(usage, Mapping) else None,
    )


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    is_text = isinstance(part, Mapping) and part.get("type", "text") in ("text", "output_text")
    text = part.get("text") if is_text and isinstance(part, Mapping) else None
    return text if isinstance(text, str) else ""
