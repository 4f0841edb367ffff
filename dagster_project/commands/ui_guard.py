"""What stands before the Dagster webserver, which itself asks nobody who he is and takes changes from any web page.

A browser on this machine can be made to call it: by a page of another site (a form, an image, a websocket), by a site
whose name is made to point at 127.0.0.1 (DNS rebinding), by a text in a page of the UI itself. `Guard` wraps its ASGI
app and lets through only

    Host            127.0.0.1, localhost, [::1] or a name that was allowed, with any port (an SSH tunnel has another)
    Origin          none (no browser sends it so), that of the Host, or one of an allowed name
    Sec-Fetch-Site  of other sites and other ports of this machine: the opening of a page by a link, and no more
    GET, HEAD       whatever carries no GraphQL mutation

and tells the browser to load, embed and call nothing from elsewhere. It knows no users: whoever can open a connection
to the port may do everything (docs/security.md).
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY_VIOLATION = 1008  # of a websocket


class Guard:
    """An ASGI app that refuses what other pages ask of it. allowed_hosts: its names besides those of this machine."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] = ()) -> None:
        self._app = app
        self._named = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:  # lifespan
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is None:
            await self._app(scope, receive, _with_policy(send, Headers(scope=scope)["host"]))
        elif scope["type"] == "websocket":
            await WebSocketClose(_POLICY_VIOLATION, refusal[1])(scope, receive, send)
        else:
            status, reason = refusal
            await PlainTextResponse(f"{reason}\n", status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, None where there is nothing to refuse."""
        headers = Headers(scope=scope)
        host = self._host(headers)
        if host is None:
            return 421, (
                f"This is no name of this server: {', '.join(headers.getlist('host')) or 'none'}. It answers to "
                f"{', '.join(sorted(LOCAL_HOSTS | self._named))}; `make ui ALLOW_HOST=name` adds one."
            )
        if any(not self._is_own(origin, host) for origin in headers.getlist("origin")):
            return 403, f"Pages of {', '.join(headers.getlist('origin'))} may not call this server."
        method = scope.get("method", "GET")
        if not _is_own_or_opened(headers, method):
            return 403, "Pages of other sites may link to this server and not call it."
        if method in _SAFE_METHODS and _has_mutation(scope):
            return 405, "GraphQL mutations are taken by POST only."
        return None

    def _host(self, headers: Headers) -> str | None:
        """The Host as it was sent, in lower case, None where it is not one of ours."""
        [host, *more] = headers.getlist("host") or [""]
        found = _HOST.fullmatch(host.lower())
        return host.lower() if found and not more and found["name"] in LOCAL_HOSTS | self._named else None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether an Origin is that of the Host. Another port of this machine is another server, with other pages.

        Before an allowed name may stand a proxy that passes on another Host.
        """
        try:
            said = urlsplit(origin.lower())
        except ValueError:
            return False
        return said.scheme in {"http", "https"} and (said.netloc == host or said.netloc in self._named)


def _is_own_or_opened(headers: Headers, method: str) -> bool:
    """Whether a request comes from our own page, from no page at all, or opens a page that a link led to."""
    if headers.get("sec-fetch-site", "none") in {"none", "same-origin"}:
        return True
    return method == "GET" and (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == (
        "navigate",
        "document",
    )


def _has_mutation(scope: Scope) -> bool:
    """Whether the address carries one, in any operation of any `query`: the webserver would carry it out."""
    for query in QueryParams(scope["query_string"]).getlist("query"):
        try:
            operations = parse(query, no_location=True).definitions
        except (GraphQLError, RecursionError):  # nothing that the webserver could carry out either
            continue
        if any(isinstance(one, OperationDefinitionNode) and one.operation != OperationType.QUERY for one in operations):
            return True
    return False


def _with_policy(send: Send, host: str) -> Send:
    """Pages load from this server alone; its own policy, on scripts and styles, goes on holding beside this one."""
    sockets = f"ws://{host} wss://{host}"  # not every browser counts them as 'self'
    policy = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        f"connect-src 'self' {sockets}; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    )

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.append("Content-Security-Policy", policy)
            headers["X-Frame-Options"] = "DENY"
            headers["Referrer-Policy"] = "no-referrer"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        await send(message)

    return send_with_policy
