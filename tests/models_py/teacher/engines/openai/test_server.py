"""What each answer of a server means, how it is reached, and that the key goes nowhere but into its header."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.engines.openai import server as server_module
from models_py.teacher.engines.openai.server import Answered, Broken, Busy, Rejected, Server
from models_py.teacher.spec import OpenAISettings
from tests.support.servers import ChatServer, every

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


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(every("good")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        outcome = call("http://teacher.invalid/v1", lambda opened: opened.post("chat/completions", BODY))
        assert type(outcome) is Answered and len(proxy.calls) == 1
