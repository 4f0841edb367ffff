"""The engine `openai`: chat completions of any OpenAI-compatible server, many at once, each answer as it comes.

A few workers share one session. Each takes a request only when it may send it: after the cool-down, when the requests
and then the tokens of the minute allow. So when a run is stopped, what was taken is what is under way.

    cool-down over? -> a request of the minute -> next(requests) -> its tokens of the minute -> call -> reply
                                                                                                ^  |
                                                 Broken: `attempts` times; Busy: as often as it is └──┘
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from models_py.errors import UserError
from models_py.teacher.manners import CoolDown, TokenBucket, backoff, wait
from models_py.teacher.money import prompt_tokens_at_most
from models_py.teacher.request import Teacher, TeacherReply, TeacherRequest
from models_py.teacher.server import Answered, Broken, Busy, Rejected, Server
from models_py.teacher.spec import OpenAISettings

_GIVE_UP_S = 1800.0  # nothing but 429 for so long: somebody should look


class OpenAITeacher(Teacher):
    """The model `settings.model` behind a server. Raises UserError when the key's variable is not set, on `ask`."""

    def __init__(self, name: str, settings: OpenAISettings) -> None:
        self.name = name
        self.settings = settings

    @property
    def identity(self) -> str:
        """The model's name: whichever server or engine answers for it, a reply that was paid for counts."""
        return self.settings.model

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Yields replies as they finish. The calls are made while the caller waits for the next one."""
        with asyncio.Runner() as runner:
            session = _Session(self.name, self.settings, iter(requests), stop)
            try:
                runner.run(session.begin())
                while (reply := runner.run(session.next())) is not None:
                    yield reply
            finally:
                runner.run(session.end())


class _Session:
    """The workers of one `ask` and the queue their replies come through."""

    def __init__(self, name: str, settings: OpenAISettings, requests: Iterator[TeacherRequest], stop: Event) -> None:
        self._name = name
        self._settings = settings
        self._requests = requests
        self._stop = stop
        self._server = Server(name, settings, settings.concurrency)
        self._cool_down = CoolDown()
        self._requests_left = TokenBucket(settings.requests_per_minute)
        self._tokens_left = TokenBucket(settings.tokens_per_minute)

    async def begin(self) -> None:
        self._ready: asyncio.Queue[TeacherReply | None] = asyncio.Queue()
        await self._server.__aenter__()
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.concurrency)]
        self._all = asyncio.create_task(self._finish())

    async def next(self) -> TeacherReply | None:
        """The next reply; None when there are no more. Raises what ended the run, after what was under way."""
        reply = await self._ready.get()
        if reply is None:
            await self._all
        return reply

    async def end(self) -> None:
        for task in (*self._workers, self._all):
            task.cancel()
        await asyncio.gather(*self._workers, self._all, return_exceptions=True)
        await self._server.__aexit__()

    async def _finish(self) -> None:
        try:
            results = await asyncio.gather(*self._workers, return_exceptions=True)
        finally:
            self._ready.put_nowait(None)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _work(self) -> None:
        try:
            while await self._may_take():
                request = next(self._requests, None)
                if request is None:
                    return
                reply = await self._answer(request)
                if reply is not None:
                    self._ready.put_nowait(reply)
        except BaseException:
            self._stop.set()  # the others finish what they have under way
            raise

    async def _may_take(self) -> bool:
        return await self._cool_down.over(self._stop) and await self._requests_left.take(1, self._stop)

    async def _answer(self, request: TeacherRequest) -> TeacherReply | None:
        """The reply to one request, None when it was stopped before there was one."""
        body = chat_body(self._settings.model, request)
        tokens = prompt_tokens_at_most(request) + request.sampling.max_tokens
        calls, failures = 0, 0
        if not await self._tokens_left.take(tokens, self._stop):
            return None
        while True:
            calls += 1
            started = time.monotonic()
            outcome = await self._server.post("chat/completions", body)
            latency = time.monotonic() - started
            read = read_completion(outcome.body) if isinstance(outcome, Answered) else outcome
            match read:
                case Completion():
                    self._cool_down.end()
                    self._give_back(tokens, read)
                    return read.reply(request.request_id, attempts=calls, latency_s=latency)
                case Rejected(reason):
                    return TeacherReply(request.request_id, attempts=calls, latency_s=latency, error=reason)
                case Busy(seconds):
                    self._cool_down.begin(seconds)
                    if self._cool_down.lasts_s > _GIVE_UP_S:
                        raise UserError(
                            f"teachers.{self._name}: {self._settings.base_url} has answered 429 (too many requests) "
                            f"for {_GIVE_UP_S / 60:.0f} minutes. Lower requests_per_minute, tokens_per_minute or "
                            "concurrency and run again: replies that came are kept."
                        )
                    if not await self._cool_down.over(self._stop):
                        return None
                case Broken(reason, seconds):
                    failures += 1
                    if failures >= self._settings.attempts:
                        error = self._server.said(reason)
                        return TeacherReply(request.request_id, attempts=calls, latency_s=latency, error=error)
                    if not await wait(max(backoff(failures), seconds or 0.0), self._stop):
                        return None

    def _give_back(self, tokens: int, completion: "Completion") -> None:
        used = (completion.prompt_tokens, completion.completion_tokens)
        if used[0] is not None and used[1] is not None:
            self._tokens_left.give_back(max(0, tokens - used[0] - used[1]))


def chat_body(model: str, request: TeacherRequest) -> dict[str, Any]:
    """The body of a chat completion request."""
    sampling = request.sampling.payload()
    extra = sampling.pop("extra_body", {})
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return {"model": model, "messages": messages, **sampling, **extra}


@dataclass(frozen=True, slots=True)
class Completion:
    """What a chat completion says, as far as this project needs it."""

    text: str
    finish_reason: str | None
    usage: Mapping[str, Any] | None

    @property
    def prompt_tokens(self) -> int | None:
        return self._count("prompt_tokens")

    @property
    def completion_tokens(self) -> int | None:
        return self._count("completion_tokens")

    def _count(self, name: str) -> int | None:
        value = (self.usage or {}).get(name)
        return value if type(value) is int and value >= 0 else None

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
    """A chat completion's first choice; Broken when the body is none. Content that is null is an empty text."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Broken(f"a body without choices[0].message: {json.dumps(body)[:200]}")
    if isinstance(content, list):  # parts, as some servers send them
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if isinstance(refusal, str) and refusal and not content:
        content, finish_reason = refusal, "content_filter"
    if not isinstance(content, str | None):
        return Broken(f"a message whose content is no text: {json.dumps(content)[:200]}")
    usage = body.get("usage")
    return Completion(
        content or "",
        finish_reason if isinstance(finish_reason, str) else None,
        usage if isinstance(usage, Mapping) else None,
    )
