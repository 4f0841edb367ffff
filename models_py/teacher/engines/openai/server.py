"""One OpenAI-compatible server: address, key, and what each of its answers means for the one who asked.

    Answered   200 and a JSON object
    Busy       429: everybody waits, nobody's attempts are used up
    Broken     5xx, 408, 409, a timeout, a lost connection, a body that is no JSON object: worth another try
    Rejected   any other 4xx: this request will never succeed
    UserError  401, 403, a 429 that says the account is out of credit: no request will

The key is read from an environment variable when a session begins. It goes into one header and nowhere else: what a
server says of an error is stripped of it before anybody can store or print it.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from models_py.errors import UserError
from models_py.teacher.engines.openai.pacing import retry_after

if TYPE_CHECKING:
    from models_py.teacher.spec import ServerSettings  # which opens the engines

_LONGEST_BODY = 64 << 20  # bytes; what is longer is no chat completion
_LONGEST_TRANSFER_S = 3600.0  # of a file; a call's `timeout_s` then bounds the silence between bytes
_SAID_CHARS = 300
_OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_TRY_AGAIN = {408, 409, 425}


@dataclass(frozen=True, slots=True)
class Answered:
    """The body, a JSON object."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Busy:
    """Too many requests. seconds: as Retry-After said, None when it did not."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Broken:
    """Nothing usable came. seconds: as Retry-After said."""

    reason: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server will not answer this request."""

    reason: str


Outcome = Answered | Busy | Broken | Rejected


class Server:
    """Calls of one teacher to its server; an async context manager, to be entered where the calls are made.

    Raises UserError, naming the variable, when the key is not there.
    """

    def __init__(self, teacher: str, settings: "ServerSettings", connections: int) -> None:
        self._teacher = teacher
        self._settings = settings
        self._connections = connections
        self._key = read_key(teacher, settings)

    async def __aenter__(self) -> "Server":
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
            proxy=_proxy(self._settings.base_url),
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> Outcome:
        """The outcome of one POST. Raises UserError when no request can succeed."""
        return await self._call("POST", path, headers={"Content-Type": "application/json"}, data=_encoded(body))

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Outcome:
        """The outcome of one GET."""
        return await self._call("GET", path, params=params or {})

    async def upload(self, path: str, form: aiohttp.FormData) -> Outcome:
        """The outcome of a POST that carries a file; it may last as long as bytes flow."""
        return await self._call("POST", path, data=form, timeout=self._transfer)

    async def download(self, path: str, file: IO[bytes]) -> int | Busy | Broken | Rejected:
        """Fills `file` with the body of one GET, of whatever length, as long as bytes flow; how many bytes it has."""
        file.seek(0)
        file.truncate()
        outcome = await self._fetch("GET", path, into=file, timeout=self._transfer)
        return file.tell() if isinstance(outcome, bytes) else outcome

    async def _call(self, method: str, path: str, **arguments: Any) -> Outcome:
        outcome = await self._fetch(method, path, **arguments)
        if not isinstance(outcome, bytes):
            return outcome
        try:
            body = json.loads(outcome)
        except (ValueError, RecursionError):  # the latter: brackets nested too deep
            return Broken(f"status 200 with a body that is no JSON: {self.said(outcome)}")
        if not isinstance(body, dict):
            return Broken(f"status 200 with a body that is no JSON object: {self.said(outcome)}")
        return Answered(body)

    @property
    def _transfer(self) -> aiohttp.ClientTimeout:
        silence = self._settings.timeout_s
        return aiohttp.ClientTimeout(total=_LONGEST_TRANSFER_S, sock_connect=silence, sock_read=silence)

    async def _fetch(
        self, method: str, path: str, into: IO[bytes] | None = None, **arguments: Any
    ) -> bytes | Busy | Broken | Rejected:
        url = f"{self._settings.base_url.rstrip('/')}/{path}"
        try:
            async with self._session.request(method, url, **arguments) as response:
                body = await _read(response, into)
                status, headers = response.status, response.headers
        except TimeoutError:
            return Broken(f"no whole answer within {self._settings.timeout_s:g} s")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Broken(f"{type(error).__name__}: {self.said(str(error))}")
        if body is None:
            return Rejected(f"status {status} with a body of more than {_LONGEST_BODY:,} bytes")
        return self._judged(status, body, retry_after(headers.get("Retry-After")))

    def _judged(self, status: int, body: bytes, seconds: float | None) -> bytes | Busy | Broken | Rejected:
        if status < 300:
            return body
        said = f"status {status}: {self.said(body)}"
        if status in (401, 403):
            raise UserError(f"teachers.{self._teacher}: {self._settings.base_url} refused {self._shown_key} ({said})")
        if status == 429:
            if any(word.encode() in body for word in _OUT_OF_CREDIT):
                raise UserError(
                    f"teachers.{self._teacher}: the account of {self._shown_key} has no credit left ({said}). "
                    "Top it up and run again: replies that came are kept."
                )
            return Busy(seconds)
        if status >= 500 or status in _TRY_AGAIN or status < 400:
            return Broken(said, seconds)
        return Rejected(said)

    def said(self, text: str | bytes) -> str:
        """Something a server said, shortened, on one line, without the key."""
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if self._key:
            shown = shown.replace(self._key, "***")
        shown = " ".join(shown.split())
        return shown if len(shown) <= _SAID_CHARS else shown[:_SAID_CHARS] + "…"

    @property
    def _shown_key(self) -> str:
        name = self._settings.api_key_env
        return f"the key in the environment variable {name}" if name else "a request without a key (set api_key_env)"


def read_key(teacher: str, settings: "ServerSettings") -> str | None:
    """The key as the environment has it, None where none is wanted. Raises UserError, naming the variable."""
    name = settings.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"teachers.{teacher}.api_key_env: the environment variable {name} is not set. "
            f"Set it (export {name}=...), or write api_key_env: null for a server that wants no key."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UserError(f"teachers.{teacher}.api_key_env: the value of {name} holds characters no key has.")
    return key


async def _read(response: aiohttp.ClientResponse, into: IO[bytes] | None) -> bytes | None:
    """The whole body, None when it is too long; that of a success goes `into` a file, if there is one."""
    if into is not None and response.status < 300:
        async for part in response.content.iter_any():
            into.write(part)
        return b""
    if (response.content_length or 0) > _LONGEST_BODY:
        return None
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _LONGEST_BODY:
            return None
    return b"".join(parts)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address.

    aiohttp's own `trust_env` looks into ~/.netrc too, and refuses every call when that has a `default` beside our key.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _encoded(body: Mapping[str, Any]) -> bytes:
    # Pairs can hold lone surrogates, which are no UTF-8; as ASCII escapes every server takes them.
    return json.dumps(body).encode("ascii")
