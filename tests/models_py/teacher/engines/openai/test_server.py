"""What each answer of a server means, how it is reached, and that the key goes nowhere but into its header."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.engines.openai import server as server_module
from models_py.teacher.engines.openai.server import Answered, Broken, Busy, Rejected, Server
from models_py.teacher.spec import OpenAISettings
from tests.support.servers import ChatServer, completion, every

KEY = "sk-0123456789abcdef"
BODY = {"messages": [{"role": "user", "content": "Name a sea \ud800."}]}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)


def opened(url: str, **changes: object) -> Server:
    values: dict[str, Any] = {"api_key_env": "TEACHER_KEY"} | changes
    return Server("gpt", OpenAISettings(model="m", base_url=url, **values), connections=2)


def call(url: str, what: Callable[[Server], Awaitable[object]], **changes: object) -> object:
    async def run() -> object:
        async with opened(url, **changes) as server:
            return await what(server)

    return asyncio.run(run())


def post(play: str) -> object:
    with ChatServer(every(play), retry_after_s=7) as server:
        return call(server.url, lambda opened: opened.post("chat/completions", BODY))


@pytest.mark.parametrize(
    ("play", "outcome"),
    [
        ("good", Answered),
        ("empty", Answered),
        ("429", Busy),
        ("408", Broken),
        ("409", Broken),
        ("500", Broken),
        ("reset", Broken),
        ("html", Broken),
        ("400", Rejected),
        ("413", Rejected),
        ("422", Rejected),
    ],
)
def test_an_answer_means(play: str, outcome: type) -> None:
    assert type(post(play)) is outcome


def test_retry_after_is_passed_on() -> None:
    assert post("429 seconds") == Busy(7.0)
    broken = post("503 seconds")
    assert isinstance(broken, Broken) and broken.seconds == 7.0
    dated = post("429 date")
    assert isinstance(dated, Busy) and dated.seconds is not None and 0 < dated.seconds <= 7


@pytest.mark.parametrize("play", ["401", "403", "no credit"])
def test_what_no_request_can_mend_is_raised(play: str) -> None:
    with pytest.raises(UserError, match=r"^teachers\.gpt: .*TEACHER_KEY.*\*\*\*"):
        post(play)


def test_a_refusal_without_a_key_says_where_to_set_one() -> None:
    with ChatServer(every("401")) as server, pytest.raises(UserError, match="set api_key_env"):
        call(server.url, lambda opened: opened.post("chat/completions", BODY), api_key_env=None)


def test_nobody_at_the_address_is_worth_another_try() -> None:
    with ChatServer(every("good")) as server:
        url = server.url
    outcome = call(url, lambda opened: opened.post("chat/completions", BODY))
    assert isinstance(outcome, Broken) and outcome.reason.startswith("ClientConnectorError: ")


def test_a_body_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_LONGEST_BODY", 1000)
    assert post("10 MB") == Rejected("status 200 with a body of more than 1,000 bytes")


def test_a_get_is_judged_alike() -> None:
    with ChatServer(every("good")) as server:
        assert call(server.url, lambda opened: opened.get("calls")) == Answered({"calls": {}, "most_under_way": 0})


def test_what_a_server_said_is_one_short_line_without_the_key() -> None:
    server = opened("http://127.0.0.1:1")
    assert server.said(f"Key\n  {KEY} is\tbad".encode()) == "Key *** is bad"
    assert server.said("a" * 295 + KEY) == "a" * 295 + "***"
    assert server.said("a" * 400) == "a" * 300 + "…"


@pytest.mark.parametrize(("key", "problem"), [("", "is not set"), ("  ", "is not set"), ("sk-a b\n", "no key has")])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", key)
    with pytest.raises(UserError, match=rf"teachers\.gpt\.api_key_env: .*TEACHER_KEY.* {problem}") as caught:
        opened("http://127.0.0.1:1")
    assert "sk-a" not in str(caught.value)


def test_the_key_is_used_whatever_netrc_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ChatServer(every("good")) as server:
        assert type(call(server.url, lambda opened: opened.post("chat/completions", BODY))) is Answered
        assert [one.authorization for one in server.calls] == [f"Bearer {KEY}"]


@pytest.mark.parametrize(("variable", "scheme"), [("http_proxy", "http://"), ("http_proxy", ""), ("all_proxy", "")])
def test_a_proxy_of_the_environment_is_used(variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(every("good")) as proxy:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, scheme + proxy.url.removesuffix("/v1").removeprefix("http://"))
        monkeypatch.setenv("no_proxy", "")
        outcome = call("http://teacher.invalid/v1", lambda opened: opened.post("chat/completions", BODY))
        assert type(outcome) is Answered and len(proxy.calls) == 1


def test_a_proxy_that_speaks_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1080")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError, match=r"all_proxy: socks5 is no proxy .* no_proxy") as caught:
        call("http://teacher.invalid/v1", lambda opened: opened.post("chat/completions", BODY))
    assert "secret" not in str(caught.value)


def test_a_proxy_that_wants_a_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(answer=lambda body, headers: (407, "")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(UserError, match=r"teachers\.gpt: the proxy before http://teacher\.invalid/v1 wants a user"):
            call("http://teacher.invalid/v1", lambda opened: opened.post("chat/completions", BODY))


# ── whom to trust


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", file, "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@contextmanager
def behind_tls(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ChatServer(every("good"), tls=context) as server:
        yield server.url.replace("http://", "https://")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_authorities_of_the_environment_are_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with behind_tls(certificate) as url:
        untrusted = call(url, lambda opened: opened.post("chat/completions", BODY))
        assert isinstance(untrusted, Broken) and untrusted.unreachable and "certificate" in untrusted.reason.lower()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        assert type(call(url, lambda opened: opened.post("chat/completions", BODY))) is Answered
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.parent / "lost.pem"))
        with pytest.raises(UserError, match=r"REQUESTS_CA_BUNDLE: .*lost\.pem cannot be read as certificates"):
            call(url, lambda opened: opened.post("chat/completions", BODY))


# ── Azure, addresses that moved, what is said


def test_azure_gets_its_version_and_its_header() -> None:
    seen: list[Mapping[str, str]] = []

    def says(body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        seen.append(headers)
        return 200, completion("Yes.")

    with ChatServer(answer=says) as server:
        url = server.url.replace("/v1", "/openai/deployments/d?api-version=2024-10-21")
        outcome = call(url, lambda opened: opened.post("chat/completions", BODY), api_key_header="api-key")
        assert type(outcome) is Answered
        assert server.paths == ["/openai/deployments/d/chat/completions?api-version=2024-10-21"]
    assert (seen[0]["api-key"], seen[0].get("authorization")) == (KEY, None)


def test_an_address_that_moved_gets_nothing() -> None:
    with ChatServer(every("good")) as elsewhere:
        moved = {"Location": f"{elsewhere.url}/chat/completions?token=1"}
        with ChatServer(answer=lambda body, headers: (307, "", moved)) as server:
            said = rf"teachers\.gpt\.base_url: {server.url} has moved .* write base_url: {elsewhere.url}$"
            with pytest.raises(UserError, match=said):
                call(server.url, lambda opened: opened.post("chat/completions", BODY), api_key_header="api-key")
        assert elsewhere.calls == []


def test_a_firewall_that_stops_one_row_stops_no_run() -> None:
    pages = iter([(200, completion("Yes.")), (403, "<html>blocked</html>")])
    with ChatServer(answer=lambda body, headers: next(pages)) as server:

        async def twice(opened: Server) -> object:
            await opened.post("chat/completions", BODY)
            return await opened.post("chat/completions", BODY)

        assert call(server.url, twice) == Rejected("status 403: <html>blocked</html>")


def test_what_a_terminal_would_obey_is_not_said() -> None:
    assert opened("http://127.0.0.1:1").said("bad \x1b[31mred\x1b[0m \x07 end") == "bad [31mred [0m end"


def test_a_key_in_a_good_reply_is_cut_out() -> None:
    body = completion(f"Your key: {KEY}.")
    with ChatServer(answer=lambda asked, headers: (200, body)) as server:
        outcome = call(server.url, lambda opened: opened.post("chat/completions", BODY))
    assert outcome == Answered(completion("Your key: ***."))
