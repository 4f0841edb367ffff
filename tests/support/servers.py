"""OpenAI-compatible servers for tests, on loopback and in a thread: real HTTP, no model.

`ChatServer` answers chat completions as a test says, and misbehaves on purpose; its HTTP is written by hand so that it
can break off in the middle of a body. (Batches have a server of their own, batch_server.py.)

    with ChatServer(answer=lambda body, headers: (200, completion("Yes."))) as server:   # what it says
    with ChatServer(every("500", "good")) as server:                                     # how it behaves
    with ChatServer(mixed(seed=1)) as server: ...            server.url, server.calls
    python -m tests.support.servers --seed 1                 # a process: prints its URL, GET /calls counts

Every request body has a plan, the plays of `PLAYS` that its calls get one after the other; the last one is repeated for
ever. `mixed(seed)` draws plans from the seed and the body alone, so they do not depend on the order of arrival:

    503, reset, 429, good          what comes before the ending is used up, also by a client that is killed meanwhile
    good | null | length | 422     the ending is the body's for good

Without an `answer`, replies are made from the body, in the tags of models_py/teacher/parser.py.
"""

import argparse
import asyncio
import json
import math
import random
import socket
import ssl
import struct
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from threading import Event, Thread
from typing import Any, Self

TRANSIENT = (
    *("429", "429 seconds", "429 date", "408", "409", "500", "502", "503", "503 seconds", "504"),
    *("hang", "reset", "short", "closed"),
    *("html", "invalid json", "truncated json", "nested json", "no choices", "error in 200"),
)
ENDINGS = ("null", "empty", "length", "content_filter", "10 MB", "drip", "400", "413", "422")

Plan = Sequence[str]
PlanOf = Callable[[str], Plan]
Answer = Callable[[dict[str, Any], Mapping[str, str]], tuple[int, Any] | tuple[int, Any, Mapping[str, str]]]
"""A request's body and headers, by their names in lower case -> status, body and perhaps headers.

May block: it has its own thread. A body that is text is sent as it is, any other as JSON.
"""


def every(*plays: str) -> PlanOf:
    """The same plan for all."""
    return lambda body_id: plays


def mixed(
    seed: int,
    *,
    good: float = 0.9,
    most: int = 3,
    faults: Sequence[str] = TRANSIENT,
    endings: Sequence[str] = ENDINGS,
) -> PlanOf:
    """Up to `most` of the faults, then a good answer for a share of the bodies, for the others one of the endings."""

    def plan(body_id: str) -> Plan:
        chance = random.Random(f"{seed} {body_id}")
        before = chance.choices(faults, k=max(0, chance.randint(-most, most)))
        return *before, "good" if chance.random() < good else chance.choice(endings)

    return plan


@dataclass(slots=True)
class Call:
    """One call: its body, what it got, whether all of it was sent. Seconds are time.monotonic's."""

    body_id: str
    play: str
    authorization: str | None
    arrived_s: float
    sent_s: float | None = None


class Served(ABC):
    """A server's life: inside `with` it serves at `url`."""

    url: str

    def __enter__(self) -> Self:
        ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self.serve(lambda _: ready.set())), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join()

    async def serve(self, announce: Callable[[str], object]) -> None:
        """Serves until the `with` is left; `announce` gets the URL."""
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        async with self.listening() as port:
            self.url = f"http://127.0.0.1:{port}/v1"
            announce(self.url)
            await self._left.wait()

    @abstractmethod
    def listening(self) -> AbstractAsyncContextManager[int]:
        """Listens on a free port of loopback, which is what it gives."""


@dataclass
class ChatServer(Served):
    """Serves chat completions.

    answer: what a play `good` says, and with which status. latency_s: how long an answer takes, at least and at most,
    drawn by body. retry_after_s: what Retry-After says. hold_from: this call and all that come later get no answer
    until `release`. tls: speaks HTTPS with it. paths: of the calls, with what stands behind a `?`.
    """

    plan_of: PlanOf = field(default_factory=lambda: every("good"))
    latency_s: tuple[float, float] = (0.0, 0.0)
    retry_after_s: float = 1.0
    hold_from: float = math.inf
    answer: Answer | None = None
    tls: ssl.SSLContext | None = None
    calls: list[Call] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        self._gate = asyncio.Event()
        self._gate.set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self.tls)
        yield server.sockets[0].getsockname()[1]
        server.close()

    def release(self) -> None:
        """Answers what is held."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def counts(self) -> dict[str, int]:
        """Calls by body id."""
        return Counter(call.body_id for call in self.calls)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                await self._exchange(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _exchange(self, head: "_Head", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(int(head.headers.get("content-length", 0)))
        if head.method == "GET":
            _write(writer, 200, json.dumps({"calls": self.counts(), "most_under_way": self.most_under_way}).encode())
            return
        self.paths.append(head.path)
        asked = json.loads(body)
        id_ = body_id(asked)
        plan = self.plan_of(id_)
        play = plan[min(self._counts[id_], len(plan) - 1)]
        self._counts[id_] += 1
        call = Call(id_, play, head.headers.get("authorization"), time.monotonic())
        self.calls.append(call)
        if len(self.calls) == self.hold_from:
            self._gate.clear()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(random.Random(id_).uniform(*self.latency_s))
            await self._gate.wait()
            await PLAYS[play](_Turn(self, call, asked, head.headers, reader, writer))
            call.sent_s = time.monotonic()
        finally:
            self.under_way -= 1


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    path: str
    headers: Mapping[str, str]


async def _head(reader: asyncio.StreamReader) -> _Head | None:
    """The next request's head, None when the client has left."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split()
    return _Head(method, path, headers)


def body_id(body: dict[str, Any]) -> str:
    """The sha256 hex digest of a request's body, whatever the order of its keys."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a play needs to answer one call."""

    server: ChatServer
    call: Call
    asked: dict[str, Any]
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def completion(self, **changes: Any) -> bytes:
        """The body of a good answer, its first choice changed."""
        text = changes.pop("content", reply_text(self.asked))
        tokens = sum(len(message["content"]) for message in self.asked["messages"]) // 4
        usage = changes.pop("usage", {"prompt_tokens": tokens, "completion_tokens": len(text or "") // 4})
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **changes}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def completion(text: str, *, finish_reason: str = "stop", tokens: tuple[int, int] = (100, 50)) -> dict[str, Any]:
    """The body of a chat completion; `tokens` of prompt and completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage}


def reply_text(asked: dict[str, Any]) -> str:
    """The reply to a request's body, in the tags that it asks for."""
    mark = body_id(asked)[:12]
    if "[New Instruction]" in json.dumps(asked["messages"]):
        return f"Vague {mark}.\n\n[New Instruction] Name sea {mark}. [End]\n[New Answer] It is {mark}. [End]"
    return f"Short {mark}.\n\n[Better Answer] The full answer is {mark}. [End]"


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, **headers: str) -> None:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body)


Play = Callable[[_Turn], Awaitable[None]]


def _answer(status: int, body: Callable[[_Turn], bytes], retry_after: Callable[[float], str] | None = None) -> Play:
    async def play(turn: _Turn) -> None:
        headers = {"Retry_After": retry_after(turn.server.retry_after_s)} if retry_after else {}
        _write(turn.writer, status, body(turn), **headers)

    return play


def _error(code: str) -> Callable[[_Turn], bytes]:
    """An error that echoes the key, as careless servers do, and is long, as OpenAI's are."""

    def body(turn: _Turn) -> bytes:
        message = f"{turn.call.authorization}: " + "please read the documentation of this error. " * 8
        return json.dumps({"error": {"message": message, "type": code, "code": code}}).encode()

    return body


def _choice(**changes: Any) -> Play:
    return _answer(200, lambda turn: turn.completion(**changes))


async def _good(turn: _Turn) -> None:
    if not turn.server.answer:
        _write(turn.writer, 200, turn.completion())
        return
    status, said, *more = await asyncio.to_thread(turn.server.answer, turn.asked, turn.headers)
    body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    _write(turn.writer, status, body, **(more[0] if more else {}))


async def _hang(turn: _Turn) -> None:
    await turn.reader.read()  # until the client has had enough
    raise ConnectionResetError


async def _reset(turn: _Turn) -> None:
    """Half a body, then RST."""
    body = turn.completion()
    _write(turn.writer, 200, body[: len(body) // 2], Content_Length=str(len(body)))
    await turn.writer.drain()
    await asyncio.sleep(0.005)
    connection = turn.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError


async def _short(turn: _Turn) -> None:
    """Half a body, then an orderly end."""
    body = turn.completion()
    _write(turn.writer, 200, body[: len(body) // 2], Content_Length=str(len(body)))
    turn.writer.close()
    raise ConnectionResetError


async def _closed(turn: _Turn) -> None:
    raise ConnectionResetError


async def _drip(turn: _Turn) -> None:
    body = turn.completion()
    _write(turn.writer, 200, b"", Content_Length=str(len(body)))
    for start in range(0, len(body), 50):
        turn.writer.write(body[start : start + 50])
        await asyncio.sleep(0.005)


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def _html(turn: _Turn) -> bytes:
    return f"<html><body>Gateway. Authorization: {turn.call.authorization}</body></html>".encode()


_ODD_USAGE = {"prompt_tokens": 1 << 80, "completion_tokens": True, "share": float("nan")}

PLAYS: dict[str, Play] = {
    "good": _good,
    "null": _choice(content=None),
    "empty": _choice(content=""),
    "length": _choice(finish_reason="length"),
    "content_filter": _choice(content=None, finish_reason="content_filter"),
    "10 MB": _answer(200, lambda turn: turn.completion(padding="x" * 10_000_000)),
    "drip": _drip,
    "no usage": _answer(200, lambda turn: turn.completion(usage={})),
    "odd fields": _answer(200, lambda turn: turn.completion(usage=_ODD_USAGE, finish_reason="\ud800")),
    "408": _answer(408, _error("request_timeout")),
    "409": _answer(409, _error("conflict")),
    "429": _answer(429, _error("rate_limit_exceeded")),
    "429 seconds": _answer(429, _error("rate_limit_exceeded"), lambda seconds: f"{seconds:g}"),
    "429 date": _answer(429, _error("rate_limit_exceeded"), _date),
    "500": _answer(500, _error("server_error")),
    "502": _answer(502, _html),
    "503": _answer(503, _error("overloaded")),
    "503 seconds": _answer(503, _error("overloaded"), lambda seconds: f"{seconds:g}"),
    "504": _answer(504, _html),
    "hang": _hang,
    "reset": _reset,
    "short": _short,
    "closed": _closed,
    "html": _answer(200, _html),
    "invalid json": _answer(200, lambda turn: b"{'choices': []}"),
    "truncated json": _answer(200, lambda turn: turn.completion()[:-20]),
    "nested json": _answer(200, lambda turn: b"[" * 100_000),
    "no choices": _answer(200, lambda turn: json.dumps({"id": "x" * 150, "key": turn.call.authorization}).encode()),
    "error in 200": _answer(200, _error("server_error")),
    "400": _answer(400, _error("context_length_exceeded")),
    "404": _answer(404, _error("model_not_found")),
    "413": _answer(413, _error("request_too_large")),
    "422": _answer(422, _error("unprocessable")),
    "401": _answer(401, _error("invalid_api_key")),
    "403": _answer(403, _error("forbidden")),
    "no credit": _answer(429, _error("insufficient_quota")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--good", type=float, default=1.0, help="share of bodies that end well")
    parser.add_argument("--faults", type=int, default=0, help="at most so many before the ending")
    parser.add_argument("--latency-ms", type=float, nargs=2, default=(0.0, 0.0), metavar=("LEAST", "MOST"))
    arguments = parser.parse_args()
    least, most = arguments.latency_ms
    server = ChatServer(mixed(arguments.seed, good=arguments.good, most=arguments.faults), (least / 1000, most / 1000))
    asyncio.run(server.serve(lambda url: print(url, flush=True)))  # noqa: T201 - whoever started it reads it


if __name__ == "__main__":
    main()
