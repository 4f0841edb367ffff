"""What the guard before the Dagster webserver lets through, and what it tells browsers."""

from collections.abc import Mapping, Sequence

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from dagster_project.commands.ui_guard import Guard

MUTATION = 'mutation { setConcurrencyLimit(concurrencyKey: "gpu", limit: 0) { __typename } }'
ADDRESS = "http://127.0.0.1:3000"


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("reached", headers={"Content-Security-Policy": "script-src 'nonce-1'"})


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


ROUTES = [WebSocketRoute("/graphql", _talk), Route("/{path:path}", _answer, methods=["GET", "POST", "PUT", "OPTIONS"])]


def client(*allowed: str, base_url: str = ADDRESS) -> TestClient:
    return TestClient(Guard(Starlette(routes=ROUTES), allowed), base_url=base_url)


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]:3000", "localhost:8080"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:3000",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example:3000",
        "localhost@attacker.example",
        "attacker.example#localhost",
        "localhost:3000:3000",
        "localhost.",
        "127.1",
        "2130706433",
        "0.0.0.0:3000",
        "192.168.0.7:3000",
        "[::ffff:127.0.0.1]:3000",
        "",
        "localhost, attacker.example",
    ],
)
def test_any_other_name_is_refused(host: str) -> None:
    response = client().get("/", headers={"host": host})
    assert (response.status_code, "ALLOW_HOST" in response.text) == (421, True)


def test_a_name_that_was_allowed_is_answered_and_may_lie_behind_a_proxy() -> None:
    ui = client("Lake.Example")
    assert ui.get("/", headers={"host": "lake.example"}).status_code == 200
    assert ui.post("/graphql", headers={"host": "lake.example", "origin": "https://lake.example"}).status_code == 200
    assert ui.post("/graphql", headers={"origin": "https://lake.example"}).status_code == 200  # the proxy's own Host
    assert ui.post("/graphql", headers={"origin": "https://lake.example:8443"}).status_code == 403
    assert ui.get("/", headers={"host": "other.example"}).status_code == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.example",
        "https://127.0.0.1.attacker.example",
        "http://127.0.0.1:8888",  # another server of this machine
        "http://localhost:3000",  # another name than that of the Host: no page of ours has it
        "http://127.0.0.1",
        "null",
        "",
        "file://",
        "chrome-extension://abc",
        "http://[",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
def test_a_foreign_origin_is_refused(origin: str, method: str) -> None:
    assert client().request(method, "/graphql", headers={"origin": origin}).status_code == 403


def test_its_own_origin_and_programs_without_one_are_answered() -> None:
    own = {"origin": ADDRESS, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert client().post("/graphql", json={"query": MUTATION}, headers=own).status_code == 200
    assert client().post("/graphql", json={"query": MUTATION}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_here_and_no_more(site: str) -> None:
    opened = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client().get("/assets", headers=opened).status_code == 200
    assert client().post("/graphql", headers=opened).status_code == 403  # a form of theirs, from where Origin is cut
    for mode, kind in [("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe")]:
        called = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": kind}
        assert client().get("/graphql", params={"query": "{version}"}, headers=called).status_code == 403


MUTATIONS = [
    MUTATION,
    "mutation M($x: Int) { a(x: $x) { b } } query Q { version }",
    "query Q { version } mutation M { a }",
    "# a comment\n,,\ufeffmutation{a}",
    "fragment F on T { a } mutation { ...F }",
    "subscription { a }",
]


@pytest.mark.parametrize("query", MUTATIONS)
@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "//graphql", "/x/../graphql"])
def test_a_mutation_in_an_address_is_refused(query: str, path: str) -> None:
    for queries in [[query], ["{version}", query], [query, "{version}"]]:
        params: Mapping[str, Sequence[str]] = {"query": queries}
        for method in ["GET", "HEAD"]:
            response = client().request(method, f"{ADDRESS}{path}", params=params)
            assert response.status_code == 405
    assert client().get(f"{ADDRESS}{path}", params={"query": query}, headers={"accept": "text/html"}).status_code == 405


@pytest.mark.parametrize("query", ["{version}", "query Q { version }", "mutation", "no graphql {{", "", "{" * 3000])
def test_what_changes_nothing_passes(query: str) -> None:
    assert client().get("/graphql", params={"query": query}).status_code == 200


def test_a_mutation_is_taken_by_post_whatever_it_is_wrapped_in() -> None:
    assert client().post("/graphql", params={"query": MUTATION}).status_code == 200
    assert client().post("/graphql", content=MUTATION, headers={"content-type": "text/plain"}).status_code == 200


def test_websockets_are_asked_where_they_come_from() -> None:
    for headers in [{}, {"origin": ADDRESS}]:
        with client().websocket_connect("ws://127.0.0.1:3000/graphql", headers=headers) as socket:
            assert socket.receive_text() == "reached"
    for headers in [
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"host": "attacker.example", "origin": "http://attacker.example"},
        {"origin": "http://127.0.0.1:8888"},
    ]:
        with (
            pytest.raises(WebSocketDisconnect),
            client().websocket_connect("ws://127.0.0.1:3000/graphql", headers=headers),
        ):
            pass


def test_pages_are_told_to_load_and_call_nothing_from_elsewhere() -> None:
    response = client().get("/assets")
    own, ours = response.headers.get_list("content-security-policy")
    assert own == "script-src 'nonce-1'"
    assert "default-src 'self'" in ours
    assert "http" not in ours
    assert "connect-src 'self' ws://127.0.0.1:3000 wss://127.0.0.1:3000;" in ours
    assert "frame-ancestors 'none'" in ours
    assert response.headers["x-frame-options"] == "DENY"
    assert client().get("/", headers={"host": "a.example"}).text.count("a.example") == 1
