"""The engine `openai` against a real server that misbehaves: what becomes of every request, and in how many calls."""

import json
import math
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.engines.openai import chat, pacing
from models_py.teacher.engines.openai.body import chat_body
from models_py.teacher.engines.openai.chat import Completion, OpenAIEngine, read_completion
from models_py.teacher.engines.openai.server import Broken
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import prompt_tokens_at_most
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest
from models_py.teacher.spec import OpenAISettings
from tests.support.engines import request
from tests.support.servers import (
    ENDINGS,
    TRANSIENT,
    ChatServer,
    Plan,
    PlanOf,
    body_id,
    every,
    mixed,
    reply_text,
)
from tests.support.values import known

M = OpenAISettings(model="m")
KEY = "sk-0123456789abcdef0123456789abcdef"
SEAS = [request(f"Name {number} seas.", identity="m") for number in range(300)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_BACKOFF_S", 0.002)
    monkeypatch.setenv("TEACHER_KEY", KEY)


def teacher(server: ChatServer, **changes: object) -> OpenAIEngine:
    values: dict[str, Any] = {"attempts": 3, "timeout_s": 5.0, "concurrency": 4} | changes
    return OpenAIEngine("gpt", OpenAISettings(model="m", base_url=server.url, api_key_env="TEACHER_KEY", **values))


def ask(plan: PlanOf, requests: Sequence[TeacherRequest] = SEAS[:1], **changes: object) -> list[TeacherReply]:
    with ChatServer(plan) as server:
        return list(teacher(server, **changes).ask(requests, Event()))


def calls_of(one: TeacherRequest, server: ChatServer) -> int:
    return server.counts()[body_id(chat_body(M, one))]


def planned(*plans: Plan) -> PlanOf:
    """A plan for each of the first SEAS; the others get good answers."""
    by_id = {body_id(chat_body(M, one)): plan for one, plan in zip(SEAS, plans, strict=False)}
    return lambda id_: by_id.get(id_, ("good",))


GOOD = reply_text(chat_body(M, SEAS[0]))


@pytest.mark.parametrize(
    "fault",
    [fault for fault in TRANSIENT if not fault.startswith(("429", "503 ", "hang"))],
)
def test_what_may_pass_is_tried_again(fault: str) -> None:
    (reply,) = ask(every(fault, fault, "good"))
    assert (reply.reply, reply.finish_reason, reply.error, reply.attempts) == (GOOD, "stop", None, 3)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500: "),
        ("503 seconds", "status 503: "),
        ("reset", "ClientPayloadError: "),
        ("short", "ClientPayloadError: "),
        ("closed", "ServerDisconnectedError: "),
        ("html", "status 200 with a body that is no JSON: <html>"),
        ("invalid json", "status 200 with a body that is no JSON: {'choices': []}"),
        ("truncated json", "status 200 with a body that is no JSON: "),
        ("nested json", "status 200 with a body that is no JSON: [[["),
        ("no choices", "a body without choices[0].message: "),
        ("error in 200", "an error in a 200: server_error: Bearer ***: please"),
    ],
)
def test_what_does_not_pass_is_an_error_after_all_attempts(fault: str, reason: str) -> None:
    with ChatServer(every(fault), retry_after_s=0.01) as server:
        (reply,) = teacher(server).ask(SEAS[:1], Event())
        assert (reply.reply, reply.finish_reason, reply.attempts, len(server.calls)) == (None, None, 3, 3)
    assert str(reply.error).startswith(reason)
    assert KEY[:8] not in str(reply.error)


def test_a_call_that_hangs_ends_with_its_timeout() -> None:
    (reply,) = ask(every("hang"), attempts=2, timeout_s=0.2)
    assert (reply.error, reply.attempts) == ("no whole answer within 0.2 s", 2)


def test_a_call_that_hung_is_tried_again() -> None:
    (reply,) = ask(every("429", "hang", "500", "good"), timeout_s=1.0)
    assert (reply.reply, reply.attempts) == (GOOD, 4)


@pytest.mark.parametrize("play", ["10 MB", "drip"])
def test_large_and_slow_answers_are_read_whole(play: str) -> None:
    (reply,) = ask(every(play))
    assert (reply.reply, reply.attempts) == (GOOD, 1)


@pytest.mark.parametrize("status", ["400", "413", "422"])
def test_a_request_that_the_server_rejects_fails_after_one_call(status: str) -> None:
    one, two = sorted(ask(planned([status]), SEAS[:2]), key=lambda reply: reply.error is None)
    assert (one.request_id, one.reply, one.attempts) == (SEAS[0].request_id, None, 1)
    assert str(one.error).startswith(f"status {status}: ") and "***" in str(one.error)
    assert (two.request_id, two.error) == (SEAS[1].request_id, None)


@pytest.mark.parametrize(
    ("ending", "finish_reason", "text"),
    [("null", "stop", ""), ("empty", "stop", ""), ("length", "length", GOOD), ("content_filter", "content_filter", "")],
)
def test_an_answer_is_final_whatever_it_says(ending: str, finish_reason: str, text: str) -> None:
    (reply,) = ask(every(ending))
    assert (reply.reply, reply.finish_reason, reply.error, reply.attempts) == (text, finish_reason, None, 1)


def test_429_uses_up_no_attempts() -> None:
    (reply,) = ask(every(*["429"] * 6, "500", "500", "good"))
    assert (reply.reply, reply.attempts) == (GOOD, 9)


def on_the_way(server: ChatServer, seconds: float) -> list[float]:
    """When calls arrived, in seconds after the first 429, up to `seconds`; without what was sent before it was read."""
    refused = next(known(call.sent_s) for call in server.calls if call.play.startswith("429"))
    return [call.arrived_s - refused for call in server.calls if refused + 0.5 < call.arrived_s < refused + seconds]


# A date has whole seconds: it asks for one to two.
@pytest.mark.parametrize(("play", "said_s"), [("429 seconds", 1.0), ("429 date", 2.0)])
def test_after_429_everybody_waits_as_long_as_the_server_said(play: str, said_s: float) -> None:
    with ChatServer(planned([play, "good"]), retry_after_s=said_s, latency_s=(0.01, 0.02)) as server:
        replies = list(teacher(server).ask(SEAS[:20], Event()))
    assert {reply.error for reply in replies} == {None} and len(server.calls) == 21
    assert on_the_way(server, 0.99) == []


def test_whoever_waits_for_the_rate_when_a_pause_begins_queues_anew_after_it() -> None:
    with ChatServer(planned(["429 seconds", "good"]), retry_after_s=1.5) as server:
        list(teacher(server, requests_per_minute=1200, concurrency=60).ask(SEAS[:60], Event()))
    assert on_the_way(server, 1.49) == []
    after = on_the_way(server, math.inf)
    assert len(after) > 35
    assert max(after) - min(after) > (len(after) - 20 - 1) / 20  # 20 a second, and 20 at once


def test_what_the_server_wants_done_tomorrow_is_left_for_the_next_run() -> None:
    with ChatServer(every("503 seconds"), retry_after_s=86400.0) as server:
        (reply,) = teacher(server).ask(SEAS[:1], Event())
    assert str(reply.error).startswith("status 503: ") and reply.attempts == 1


def test_429_for_half_an_hour_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_GIVE_UP_S", 0.05)
    with pytest.raises(
        UserError, match=r"teachers\.gpt: .* answers 429 .* nothing else for .* Lower requests_per_minute"
    ):
        ask(every("429"))


def test_a_pause_longer_than_anybody_waits_ends_the_run() -> None:
    with ChatServer(every("429 seconds"), retry_after_s=86400.0) as server:
        with pytest.raises(UserError, match=r"teachers\.gpt: .* asks to wait 1440 minutes"):
            list(teacher(server).ask(SEAS[:1], Event()))
        assert len(server.calls) == 1


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_key_ends_the_run_and_is_not_shown(status: str) -> None:
    with ChatServer(planned([status])) as server:
        with pytest.raises(UserError) as caught:
            list(teacher(server).ask(SEAS, Event()))
        assert len(server.calls) < 20  # some were under way
    assert "teachers.gpt: " in str(caught.value) and "environment variable TEACHER_KEY" in str(caught.value)
    assert "***" in str(caught.value) and KEY[:8] not in str(caught.value)


def test_an_account_without_credit_ends_the_run() -> None:
    with ChatServer(planned(["no credit"])) as server:
        with pytest.raises(UserError, match=r"teachers\.gpt: .*: the account of .* TEACHER_KEY has no credit left"):
            list(teacher(server).ask(SEAS, Event()))
        assert len(server.calls) < 20


def test_what_was_under_way_when_a_run_ended_is_kept(tmp_path: Path) -> None:
    plan = planned(["good"], ["401"])
    with Ledger(tmp_path / "teacher.sqlite") as ledger:
        with ChatServer(plan, latency_s=(0.0, 0.02)) as server, pytest.raises(UserError, match="TEACHER_KEY"):
            list(ask_missing(SEAS, teacher(server, concurrency=16), ledger))
        stored = {row.reply.request_id for row in ledger.all_since()}
    answered = {call.body_id for call in server.calls if call.play == "good"}
    assert {one.request_id for one in SEAS if body_id(chat_body(M, one)) in answered} == stored
    assert len(stored) == len(server.calls) - 1


def test_a_missing_key_is_named_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY")
    with ChatServer(every("good")) as server:
        with pytest.raises(UserError, match=r"teachers\.gpt\.api_key_env: .* TEACHER_KEY is not set"):
            list(teacher(server).ask(SEAS[:1], Event()))
        assert server.calls == []


@pytest.mark.parametrize(("name", "header"), [("TEACHER_KEY", f"Bearer {KEY}"), (None, None)])
def test_the_key_goes_into_the_header(name: str | None, header: str | None) -> None:
    with ChatServer(every("good")) as server:
        settings = OpenAISettings(model="m", base_url=f"{server.url}/", api_key_env=name)
        assert len(list(OpenAIEngine("gpt", settings).ask(SEAS[:1], Event()))) == 1
        assert [call.authorization for call in server.calls] == [header]


def test_no_more_calls_are_under_way_than_allowed() -> None:
    with ChatServer(every("good"), latency_s=(0.001, 0.005)) as server:
        assert len(list(teacher(server, concurrency=8).ask(SEAS[:100], Event()))) == 100
        assert server.most_under_way == 8


def test_rates_hold_for_repeated_calls_too() -> None:
    with ChatServer(every("500", "503", "good")) as server:
        began = time.monotonic()
        list(teacher(server, requests_per_minute=2400, concurrency=8).ask(SEAS[:25], Event()))
    arrived = sorted(call.arrived_s for call in server.calls)
    assert len(arrived) == 75
    assert arrived[-1] - began > (75 - 40 - 1) / 40  # 40 a second, and a second's worth at once


def test_tokens_of_the_minute_hold() -> None:
    a_call = prompt_tokens_at_most(SEAS[0]) + SEAS[0].sampling.max_tokens
    with ChatServer(every("no usage")) as server:
        began = time.monotonic()
        list(teacher(server, tokens_per_minute=60 * 20 * a_call).ask(SEAS[:35], Event()))
    arrived = sorted(call.arrived_s for call in server.calls)
    assert arrived[-1] - began > (35 - 20 - 1) / 20  # 20 calls a second, and a second's worth at once


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has to wait for a rate fails."""

    async def wait(seconds: float, stop: Event) -> bool:
        raise AssertionError(f"waited {seconds} s")

    monkeypatch.setattr(pacing, "wait", wait)


@pytest.mark.usefixtures("no_wait")
def test_who_finds_nothing_left_to_ask_waits_for_no_rate() -> None:
    (reply,) = ask(every("good"), requests_per_minute=1, concurrency=32)
    assert reply.reply == GOOD


@pytest.mark.usefixtures("no_wait")
def test_tokens_that_were_not_used_are_given_back() -> None:
    two_calls = 2 * (prompt_tokens_at_most(SEAS[0]) + SEAS[0].sampling.max_tokens)
    assert len(ask(every("good"), SEAS[:5], tokens_per_minute=60 * two_calls, concurrency=1)) == 5


def test_a_broken_server_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def wait(seconds: float, stop: Event) -> bool:
        waits.append(seconds)
        return True

    monkeypatch.setattr(chat, "wait", wait)
    with ChatServer(every("503 seconds", "503", "good"), retry_after_s=77.0) as server:
        (reply,) = teacher(server).ask(SEAS[:1], Event())
    assert (reply.reply, waits[0]) == (GOOD, 77.0)
    assert 0 <= waits[1] <= 0.004


def test_a_stop_sends_nothing_more_and_delivers_what_is_under_way() -> None:
    stop = Event()
    with ChatServer(every("good"), latency_s=(0.001, 0.003)) as server:
        replies = teacher(server).ask(SEAS, stop)
        got = [next(replies)]
        stop.set()
        got += replies
        assert len(got) == len(server.calls) < 20


def test_a_stop_ends_a_wait() -> None:
    stop = Event()
    with ChatServer(planned(["good"], ["503 seconds"], ["429 seconds"]), retry_after_s=600.0) as server:
        replies = teacher(server).ask(SEAS[:3], stop)
        assert next(replies).reply == GOOD
        stop.set()
        assert list(replies) == []


def test_one_request_more_or_less_than_workers_is_asked_once() -> None:
    for count in (0, 3, 4, 5):
        assert Counter(reply.request_id for reply in ask(every("good"), SEAS[:count])) == Counter(
            one.request_id for one in SEAS[:count]
        )


def test_odd_fields_of_an_answer_spoil_nothing(tmp_path: Path) -> None:
    with ChatServer(every("odd fields")) as server, Ledger(tmp_path / "teacher.sqlite") as ledger:
        ((_, reply),) = ask_missing(SEAS[:1], teacher(server), ledger)
    assert (reply.reply, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == (
        GOOD,
        "\ufffd",
        None,
        None,
    )


def expected(plan: Plan, attempts: int) -> tuple[str, int]:
    """How a plan ends under the rules, `broken` or its ending, and after how many calls."""
    broken = 0
    for calls, play in enumerate(plan, start=1):
        broken += not play.startswith("429")
        if play in ("good", *ENDINGS):
            return play, calls
        if broken == attempts:
            return "broken", calls
    raise AssertionError(plan)


def test_a_mixed_schedule_ends_every_request_once_and_in_the_right_number_of_calls(tmp_path: Path) -> None:
    plan = mixed(seed=4, good=0.8, most=4, faults=[fault for fault in TRANSIENT if fault != "hang"])
    with ChatServer(plan, latency_s=(0.0, 0.005), retry_after_s=0.02) as server, Ledger(tmp_path / "t") as ledger:
        asked = teacher(server, concurrency=32, timeout_s=60.0)
        replies = Counter(place for place, _ in ask_missing(SEAS, asked, ledger))
        stored = ledger.replies([one.request_id for one in SEAS])
        counts = server.counts()
    assert replies == Counter(range(300))
    endings = Counter[str]()
    for one in SEAS:
        id_, reply = body_id(chat_body(M, one)), stored[one.request_id]
        ending, calls = expected(plan(id_), attempts=3)
        endings[ending] += 1
        assert (counts[id_], reply.attempts) == (calls, calls), plan(id_)
        good = reply_text(chat_body(M, one))
        if ending == "broken" or ending.isdigit():
            assert reply.reply is None and reply.error and KEY[:8] not in reply.error
            assert reply.error.startswith(f"status {ending}") or not ending.isdigit()
        elif ending in ("null", "empty", "content_filter"):
            assert (reply.reply, reply.error) == ("", None)
        else:
            assert (reply.reply, reply.error) == (good, None)
        if ending in ("length", "content_filter"):
            assert reply.finish_reason == ending
    assert len(endings) == len(ENDINGS) + 2, endings  # nothing was left out


@pytest.fixture
def server_process() -> Iterator[str]:
    """The URL of a fault server that runs as a process."""
    command = [
        sys.executable,
        "-m",
        "tests.support.servers",
        "--seed",
        "11",
        "--faults",
        "2",
    ]
    with subprocess.Popen(command, cwd=Path(__file__).parents[5], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_the_same_server_as_a_process_plays_the_same(server_process: str) -> None:
    settings = OpenAISettings(model="m", base_url=server_process, api_key_env=None)
    calls = sum(reply.attempts for reply in OpenAIEngine("gpt", settings).ask(SEAS[:9], Event()))
    counted = json.loads(urllib.request.urlopen(f"{server_process}/calls").read())["calls"]
    plan = mixed(11, good=1.0, most=2)
    assert counted == {id_: len(plan(id_)) for id_ in (body_id(chat_body(M, one)) for one in SEAS[:9])}
    assert sum(counted.values()) == calls > 9


def test_the_body_is_what_the_protocol_wants() -> None:
    sampling = Sampling(temperature=0.5, max_tokens=7, seed=3, extra_body={"reasoning_effort": "low"})
    one = request(identity="m", sampling=sampling)
    body = chat_body(M, one)
    assert [message["role"] for message in body.pop("messages")] == ["system", "user"]
    assert body == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 7,
        "seed": 3,
        "reasoning_effort": "low",
    }


def choice(**message: object) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("body", "text", "finish_reason"),
    [
        (choice(content="a"), "a", "stop"),
        (choice(content=None), "", "stop"),
        (choice(), "", "stop"),
        (choice(content=[{"type": "text", "text": "a"}, {"text": "b"}, 3]), "ab", "stop"),
        (choice(content=None, refusal="No."), "No.", "content_filter"),
        (choice(content="a", refusal=""), "a", "stop"),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": 7}]}, "a", None),
    ],
)
def test_what_a_completion_says(body: dict[str, Any], text: str, finish_reason: str | None) -> None:
    assert read_completion(body) == Completion(text, finish_reason, None)


@pytest.mark.parametrize(
    "body", [{}, {"choices": None}, {"choices": []}, {"choices": "a"}, {"choices": [[]]}, choice(content=3)]
)
def test_a_body_that_is_no_completion_is_broken(body: dict[str, Any]) -> None:
    assert isinstance(read_completion(body), Broken)


@pytest.mark.parametrize("count", [None, "7", -1, True, 2.0, 1 << 80])
def test_a_token_count_that_is_none_is_unknown(count: object) -> None:
    reply = Completion("a", "stop", {"prompt_tokens": count}).reply("id", attempts=1, latency_s=None)
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_a_body_names_the_token_limit_as_the_model_wants_it_and_leaves_out_what_is_null() -> None:
    sampling = Sampling(extra_body={"temperature": None, "reasoning_effort": "low"})
    settings = OpenAISettings(model="m", token_limit="max_completion_tokens")
    body = chat_body(settings, request(sampling=sampling))
    assert {**body, "messages": ...} == {
        "model": "m",
        "messages": ...,
        "top_p": 1.0,
        "max_completion_tokens": 2048,
        "reasoning_effort": "low",
    }


def test_a_server_that_answers_nothing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_HOPELESS", 4)
    with ChatServer(every("422")) as server:
        replies = teacher(server, concurrency=1).ask(SEAS[:9], Event())
        assert [str(next(replies).error)[:10] for _ in range(3)] == ["status 422"] * 3
        with pytest.raises(
            UserError, match=r"answered none of the first 4 requests \(status 422: .*base_url and model"
        ):
            next(replies)
        assert len(server.calls) == 4


def test_a_server_that_answered_once_may_reject_as_many_rows_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_HOPELESS", 4)
    replies = ask(planned(("good",), *[("422",)] * 8), SEAS[:9], concurrency=1)
    assert [reply.error is None for reply in replies] == [True, *[False] * 8]


def test_a_server_that_dies_on_the_way_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_HOPELESS", 4)
    with ChatServer(planned(("good",), *[("502",)] * 8)) as server:
        replies = teacher(server, concurrency=1, attempts=2).ask(SEAS[:9], Event())
        assert [reply.error is None for reply in (next(replies) for _ in range(4))] == [True, False, False, False]
        with pytest.raises(UserError, match=r"answered none of the last 4 requests \(status 502: "):
            next(replies)


def test_nobody_at_the_address_ends_the_run_with_the_first_request() -> None:
    with ChatServer(every("good")) as server:
        pass
    with pytest.raises(UserError, match=r"teachers\.gpt: http://127\.0\.0\.1:\d+/v1 cannot be reached .*base_url"):
        list(teacher(server).ask(SEAS[:2], Event()))


def test_an_unknown_model_ends_the_run_with_the_first_request() -> None:
    with ChatServer(every("404")) as server:
        with pytest.raises(UserError, match=r"teachers\.gpt\.model: http://\S+ has no model 'm' .*model_not_found"):
            list(teacher(server, concurrency=1).ask(SEAS, Event()))
        assert len(server.calls) == 1
