"""One OpenAI-compatible server: address, key, and what each of its answers means for the one who asked.

    Answered   200 and a JSON object
    Busy       429, wherever it is said: everybody waits, nobody's attempts are used up
    Broken     5xx, 408, 409, 498, a timeout, a lost connection, a body that is no JSON object: worth another try
    Rejected   this request will never succeed; with the field that the server refuses, where it is one
    UserError  no credit, a refused key, an unknown model, an address that moved: no request will

What an error means is decided in verdicts.py. The key is read from an environment variable when a session begins. It
goes into one header, to one address and nowhere else: whatever a server says, of errors and in good replies, is
stripped of it before anybody can store or print it.
"""

import asyncio
import json
import os
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin

import aiohttp

from models_py.errors import UserError
from models_py.teacher.engines.base import profile_key
from models_py.teacher.engines.openai.address import COMPLETIONS, endpoint, proxy_before, shown_url
from models_py.teacher.engines.openai.pacing import retry_after
from models_py.teacher.engines.openai.redaction import Redaction
from models_py.teacher.engines.openai.verdicts import Said, Verdict, judge, read_error, refused_parameter

if TYPE_CHECKING:
    from models_py.teacher.spec import ServerSettings  # which opens the engines

_LONGEST_BODY = 64 << 20  # bytes; what is longer is no chat completion
_LONGEST_TRANSFER_S = 3600.0  # of a file; a call's `timeout_s` then bounds the silence between bytes
_LONGEST_CONNECT_S = 30.0  # until somebody is there to answer
_SAID_CHARS = 300
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # SSL_CERT_FILE is Python's own
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # a terminal would obey them


@dataclass(frozen=True, slots=True)
class Answered:
    """The body, a JSON object."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Busy:
    """Too many requests. seconds: as Retry-After or the message said, None when they did not."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Broken:
    """Nothing usable came. seconds: as Retry-After said. unreachable: nobody was there to answer."""

    reason: str
    seconds: float | None = None
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server will not answer this request: for what its text says, for its length, or for a field of its body."""

    reason: str
    filtered: bool = False
    too_long: bool = False
    parameter: str | None = None


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
        self._redaction = Redaction(self._key)
        self._answered = False

    async def __aenter__(self) -> "Server":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=_certificates()),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=self._connect_s),
            proxy=proxy_before(self._settings.base_url),
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> Outcome:
        """The outcome of one POST. Raises UserError when no request can succeed."""
        headers = {"Content-Type": "application/json"}
        return await self._call("POST", path, sent=body, headers=headers, data=_encoded(body))

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Outcome:
        """The outcome of one GET."""
        return await self._call("GET", path, params=params or {})

    async def upload(self, path: str, form: aiohttp.FormData) -> Outcome:
        """The outcome of a POST that carries a file; it may last as long as bytes flow."""
        return await self._call("POST", path, data=form, timeout=self._transfer)

    async def download(self, path: str, file: IO[bytes]) -> int | Busy | Broken | Rejected:
        """Fills `file` with the body of one GET, of whatever length, as long as bytes flow; how many bytes it has.

        The bytes are the server's: whoever reads them takes the key out.
        """
        file.seek(0)
        file.truncate()
        outcome = await self._fetch("GET", path, into=file, timeout=self._transfer)
        return file.tell() if isinstance(outcome, bytes) else outcome

    async def _call(self, method: str, path: str, sent: Mapping[str, Any] | None = None, **arguments: Any) -> Outcome:
        outcome = await self._fetch(method, path, sent=sent, **arguments)
        if not isinstance(outcome, bytes):
            return outcome
        try:
            body = self.without_key(json.loads(outcome))
        except (ValueError, RecursionError):  # the latter: brackets nested too deep
            return Broken(f"status 200 with a body that is no JSON: {self.said(outcome)}")
        if path == COMPLETIONS and (error := error_in(body)):
            return self._judged(path, 200, error, sent=sent or {}, said=f"an error in a 200: {self.said(error.words)}")
        if not isinstance(body, dict):
            return Broken(f"status 200 with a body that is no JSON object: {self.said(outcome)}")
        self._answered = True
        return Answered(body)

    @property
    def _transfer(self) -> aiohttp.ClientTimeout:
        silence = self._settings.timeout_s
        return aiohttp.ClientTimeout(total=_LONGEST_TRANSFER_S, sock_connect=self._connect_s, sock_read=silence)

    @property
    def _connect_s(self) -> float:
        return min(_LONGEST_CONNECT_S, self._settings.timeout_s)

    async def _fetch(
        self,
        method: str,
        path: str,
        *,
        sent: Mapping[str, Any] | None = None,
        into: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> bytes | Busy | Broken | Rejected:
        url = endpoint(self._settings.base_url, path)
        try:
            status, head, body = await self._exchange(
                method, url, into, {**(headers or {}), **self._key_header}, arguments
            )
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as problem:  # TimeoutError too
            return self._no_answer(problem, url)
        if body is None:
            return Rejected(f"status {status} with a body of more than {_LONGEST_BODY:,} bytes")
        if status < 300:
            return body
        error = read_error(body)
        words = error.words if error and error.message else body
        said = f"status {status}: {self.said(words)}"
        asked_s = retry_after(head.get("Retry-After"), milliseconds=head.get("Retry-After-Ms"))
        moved = head.get("Location") or ""
        return self._judged(path, status, error, sent=sent or {}, said=said, seconds=asked_s, moved=moved)

    async def _exchange(
        self, method: str, url: str, into: IO[bytes] | None, headers: Mapping[str, str], arguments: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes | None]:
        """Status, headers and body. A file may lie at another address, which does not get the key; nothing else may."""
        request = self._session.request(method, url, headers=headers, allow_redirects=False, **arguments)
        async with request as response:
            if into is None or response.status not in _REDIRECTS or "Location" not in response.headers:
                return response.status, response.headers, await _read(response, into)
            elsewhere = urljoin(url, response.headers["Location"])
        async with self._session.get(elsewhere, **arguments) as response:
            return response.status, response.headers, await _read(response, into)

    def _no_answer(self, error: Exception, url: str) -> Broken:
        """What it means that a call was not answered to its end. Raises UserError when no call can be."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Broken(f"nobody answered within {self._connect_s:g} s", unreachable=True)
        if isinstance(error, TimeoutError):
            return Broken(f"no whole answer within {self._settings.timeout_s:g} s")
        if isinstance(error, aiohttp.ClientHttpProxyError):
            said = f"the proxy said {error.status}: {self.said(error.message)}"
            if error.status == 407:
                raise self._hopeless(Verdict.PROXY, said, url) from error
            return Broken(said)
        unreachable = isinstance(error, aiohttp.ClientConnectorError)
        return Broken(f"{type(error).__name__}: {self.said(str(error))}", unreachable=unreachable)

    def _judged(
        self,
        path: str,
        status: int,
        error: Said | None,
        *,
        sent: Mapping[str, Any],
        said: str,
        seconds: float | None = None,
        moved: str = "",
    ) -> Busy | Broken | Rejected:
        verdict = judge(status, error, seconds=seconds, sent=sent)
        if found := rejected(verdict, error, sent, said):
            return found
        if verdict in _OF_A_PATH and path != COMPLETIONS:  # no such file, no such batch
            return Rejected(said)
        if verdict is Verdict.KEY and status == 403 and error is None and self._answered:
            return Rejected(said)  # a firewall before the server, by this row's text: the key was taken before
        if verdict is Verdict.BUSY:
            return Busy(seconds if seconds is not None else error.retry_s if error else None)
        if verdict is Verdict.BROKEN:
            return Broken(said, seconds)
        raise self._hopeless(verdict, said, moved)

    def _hopeless(self, verdict: Verdict, said: str, moved: str) -> UserError:
        """What to tell of an answer after which no request can succeed."""
        teacher, model, url = f"{profile_key(self._teacher)}", self._settings.model, self._settings.asked_at
        kept = "Replies that came are kept."
        told = {
            Verdict.CREDIT: f": {url}: the account of {self._shown_key} has no credit left ({said}). "
            f"Top it up and run again. {kept}",
            Verdict.KEY: f": {url} refused {self._shown_key} ({said}). {kept}",
            Verdict.MODEL: f".model: {url} has no model {model!r} for {self._shown_key} ({said}). "
            f"Correct {teacher}.model, or {teacher}.base_url where the server is another one. {kept}",
            Verdict.ADDRESS: f".base_url: {url} takes no chat completions ({said}). Correct it: it mostly ends in /v1.",
            Verdict.MOVED: f".base_url: {url} has moved ({said}); nothing was sent to the new address. If you trust "
            f"it, write base_url: {self.said(shown_url(urljoin(url, moved)).removesuffix(f'/{COMPLETIONS}'))}",
            Verdict.PROXY: f": the proxy before {url} wants a user ({said}). Correct the environment variable "
            "https_proxy, http_proxy or all_proxy.",
        }
        return UserError(teacher + told[verdict])

    def without_key(self, value: Any) -> Any:
        """What a server sent, JSON as read, without the key."""
        return self._redaction.of_json(value)

    def said(self, text: str | bytes) -> str:
        """Something a server said, shortened, on one line, without the key and without what a terminal obeys."""
        told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        told = " ".join(_CONTROLS.sub(" ", self._redaction.of_error(told)).split())
        return told if len(told) <= _SAID_CHARS else told[:_SAID_CHARS] + "…"

    @property
    def _key_header(self) -> dict[str, str]:
        name = self._settings.api_key_header
        if not self._key:
            return {}
        return {name: f"Bearer {self._key}" if name.lower() == "authorization" else self._key}

    @property
    def _shown_key(self) -> str:
        name = self._settings.api_key_env
        return f"the key in the environment variable {name}" if name else "a request without a key (set api_key_env)"


def rejected(verdict: Verdict, error: Said | None, sent: Collection[str], reason: str) -> Rejected | None:
    """What an answer means that is about one request for good; None for any other. sent: the fields of the request."""
    if verdict not in _OF_A_ROW:
        return None
    parameter = refused_parameter(error, sent) if error and verdict is Verdict.PARAMETER else None
    filtered, too_long = verdict is Verdict.FILTERED, verdict is Verdict.TOO_LONG
    return Rejected(reason, filtered=filtered, too_long=too_long, parameter=parameter)


_OF_A_ROW = (Verdict.ROW, Verdict.FILTERED, Verdict.TOO_LONG, Verdict.PARAMETER)
_OF_A_PATH = (Verdict.MODEL, Verdict.ADDRESS)
_REDIRECTS = (301, 302, 303, 307, 308)


def error_in(body: Any) -> Said | None:
    """The error that a success carries in place of a completion, or in its first choice; None where there is none."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not choices:
        holds_one = isinstance(body, list) or (isinstance(body, dict) and any(body.get(name) for name in _ERRORS))
        return read_error(body) if holds_one else None
    first = choices[0] if isinstance(choices, list) else None
    if isinstance(first, dict) and (first.get("error") or first.get("finish_reason") == "error"):
        return read_error(first.get("error")) or Said(message="the reply broke off with finish_reason error")
    return None


_ERRORS = ("error", "errors", "detail", "base_resp", "message")


def read_key(teacher: str, settings: "ServerSettings") -> str | None:
    """The key as the environment has it, None where none is wanted. Raises UserError, naming the variable."""
    name = settings.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"{profile_key(teacher)}.api_key_env: the environment variable {name} is not set. "
            f"Set it (export {name}=...), or write api_key_env: null for a server that wants no key."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise UserError(f"{profile_key(teacher)}.api_key_env: the value of {name} holds characters no key has.")
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


def _certificates() -> ssl.SSLContext | bool:
    """Whom to trust: the authorities in the file or folder that the environment names, else those of this machine."""
    name = next((name for name in _CA_VARIABLES if os.environ.get(name)), None)
    if name is None:
        return True
    place = Path(os.environ[name])
    try:
        if place.is_dir():
            return ssl.create_default_context(capath=place)
        return ssl.create_default_context(cafile=place)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UserError(f"{name}: {place} cannot be read as certificates ({error}). Correct or unset it.") from error


def _encoded(body: Mapping[str, Any]) -> bytes:
    # Pairs can hold lone surrogates, which are no UTF-8; as ASCII escapes every server takes them.
    return json.dumps(body).encode("ascii")
