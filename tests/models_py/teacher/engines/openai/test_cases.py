"""Answers as servers really give them, each served from loopback to one of three pairs: what becomes of pair and run.

The file of cases lies beside the checkout, where there is one; what stands here is of the same kinds and runs anywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.teacher.engines.openai import pacing
from models_py.teacher.engines.openai.chat import OpenAIEngine
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import Account, Price
from models_py.teacher.open_teacher import OpenTeacher
from models_py.teacher.prompt import load_prompts
from models_py.teacher.reflect_pairs import Reflection, reflect_pairs
from models_py.teacher.request import INSTRUCTION_REFLECTION, Sampling, TeacherReply
from models_py.teacher.spec import OpenAISettings, TeacherSpec
from tests.conftest import PROJECT
from tests.support.engines import UNUSABLE, pair_of
from tests.support.servers import ChatServer, completion

KEY = "sk-0123456789/abcdef+0123456789=abcdef"
CASES = PROJECT.parent / "shared" / "cases" / "servers.json"
TEXT = "Vague.\n[New Instruction] Name five rivers of Europe. [End]\n[New Answer] Rhine, Po, Volga, Ebro, Oder. [End]"
GOOD = completion(TEXT)
PAIRS = [pair_of(f"Name {place} river.") for place in ("the first", "the second", "the third")]
PRICE = Price(input=10.0, output=20.0)


@dataclass
class Serving:
    """The second pair gets the case's answer, from the call of that number on; the others get good ones."""

    case: Mapping[str, Any]
    bodies: list[dict[str, Any]] = field(default_factory=list)  # what was asked about the second pair

    def __call__(self, body: dict[str, Any], _: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        if "the second" not in str(body["messages"]):
            return 200, GOOD, {}
        self.bodies.append(body)
        expect, first = self.case["expect"], len(self.bodies) == 1
        if expect.startswith(("waited for", "retried")) and not first:
            return 200, GOOD, {}
        if expect.startswith("asked again without"):
            if first:
                return 200, completion(UNUSABLE), {}
            if "seed" not in body:
                return 200, GOOD, {}
        if expect.startswith("truncated, as") and first:
            return 200, completion(TEXT[:90], finish_reason="length"), {}
        said = json.dumps(self.case["body"]).replace("$KEY", KEY) if self.case["body"] != "" else ""
        return self.case["status"], said, self.case.get("headers", {})


@dataclass
class Ran:
    outcomes: dict[str, Reflection]
    replies: list[TeacherReply]
    bodies: list[dict[str, Any]]
    error: str | None
    stored: bytes

    @property
    def second(self) -> Reflection:
        return self.outcomes[PAIRS[1].pair_id]

    @property
    def of_second(self) -> TeacherReply:
        return next(reply for reply in self.replies if reply.request_id == self.second.request_id)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_BACKOFF_S", 0.002)
    monkeypatch.setenv("TEACHER_KEY", KEY)


def run(case: Mapping[str, Any], folder: Path) -> Ran:
    serving, error, outcomes = Serving(case), None, {}
    with ChatServer(answer=serving) as server, Ledger(folder / "teacher.sqlite") as ledger:
        settings = OpenAISettings(
            model="m", base_url=server.url, api_key_env="TEACHER_KEY", attempts=3, timeout_s=5.0, concurrency=1
        )
        teacher = OpenTeacher(
            TeacherSpec("gpt", settings, PRICE), OpenAIEngine("gpt", settings), load_prompts("gpt", settings.prompts)
        )
        account = Account(PRICE)
        try:
            for one in reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger, account=account):
                outcomes[one.pair.pair_id] = one
        except UserError as raised:
            error = str(raised)
        replies = [row.reply for row in ledger.all_since()]
    stored = b"".join(file.read_bytes() for file in folder.iterdir())
    return Ran(outcomes, replies, serving.bodies, error, stored)


# What each beginning of `expect` demands.


def stops(ran: Ran, case: Mapping[str, Any]) -> None:
    assert ran.error is not None and ran.error.startswith("teachers.gpt") and len(ran.bodies) == 1
    assert [reply.reply for reply in ran.replies] == [TEXT]  # what came before is kept
    said = str(ran.error)
    body = case["body"]
    if body:
        error = body.get("error", body)
        assert error["message"] in said
    for demand, words in (
        ("naming the model", ("teachers.gpt.model", "'m'")),
        ("naming the profile key", ("extra_body: {temperature: null}",)),
        ("naming the new address", ("https://127.0.0.1:1/v1", "teachers.gpt.base_url")),
    ):
        if demand in case["expect"]:
            assert all(word in said for word in words), said


def goes_on(ran: Ran) -> None:
    assert ran.error is None
    assert [ran.outcomes[PAIRS[place].pair_id].status for place in (0, 2)] == ["ok", "ok"]


def is_refused(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert (ran.second.status, len(ran.bodies)) == ("refused", 1)
    assert case["body"]["error"]["message"] in str(ran.of_second.error) and ran.of_second.cost_usd is None


def fails(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert (ran.second.status, len(ran.bodies)) == ("failed", 1)
    assert case["body"]["error"]["message"] in str(ran.of_second.error) and ran.of_second.cost_usd is None


def comes_later(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert (ran.second.status, len(ran.bodies), ran.of_second.attempts) == ("ok", 2, 2)
    assert ran.bodies[0] == ran.bodies[1]


def is_ok(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert (ran.second.status, len(ran.bodies)) == ("ok", 1)
    assert (ran.second.instruction, ran.second.output) == (
        "Name five rivers of Europe.",
        "Rhine, Po, Volga, Ebro, Oder.",
    )
    reply = ran.of_second
    if "cost NULL" in case["expect"]:
        assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (None, None, None)
    elif "20,050" in case["expect"]:
        assert (reply.prompt_tokens, reply.completion_tokens) == (100, 20_050)
        assert reply.cost_usd == pytest.approx((100 * 10 + 20_050 * 20) / 1e6)
    else:
        assert reply.cost_usd == pytest.approx((100 * 10 + 50 * 20) / 1e6)
    assert "None" not in str(reply.reply)


def is_asked_without(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert ran.second.status == "ok"
    assert ["seed" in body for body in ran.bodies] == [False, True, False]
    assert [body["temperature"] for body in ran.bodies] == [0.0, 0.3, 0.3]


def is_truncated(ran: Ran, case: Mapping[str, Any]) -> None:
    goes_on(ran)
    assert ran.second.status == "truncated"
    assert [body["max_tokens"] for body in ran.bodies] == [2048, 4096]


DEMANDS = {
    "the run stops": stops,
    "this row is refused": is_refused,
    "this row fails": fails,
    "waited for": comes_later,
    "retried": comes_later,
    "ok": is_ok,
    "asked again without seed": is_asked_without,
    "truncated": is_truncated,
}


def check(case: Mapping[str, Any], folder: Path) -> None:
    ran = run(case, folder)
    next(demand for beginning, demand in DEMANDS.items() if case["expect"].startswith(beginning))(ran, case)
    piece = KEY[:12].encode()
    assert piece not in ran.stored and piece.decode() not in str(ran.error)


def cases() -> list[Any]:
    found = json.loads(CASES.read_text("utf-8")) if CASES.exists() else []
    return [pytest.param(case, id=case["name"]) for case in found]


@pytest.mark.skipif(not CASES.exists(), reason="the file of cases lies beside some checkouts only")
@pytest.mark.parametrize("case", cases())
def test_an_answer_of_the_file_comes_out_as_it_says(case: Mapping[str, Any], tmp_path: Path) -> None:
    check(case, tmp_path)


def answer(status: int, body: object, expect: str, **headers: str) -> dict[str, Any]:
    return {
        "status": status,
        "body": body,
        "expect": expect,
        "headers": {k.replace("_", "-"): v for k, v in headers.items()},
    }


def error(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def reply(content: object = TEXT, finish: str = "stop", **usage: int) -> dict[str, Any]:
    told = usage or {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}], "usage": told}


def in_choice(message: str, code: int) -> dict[str, Any]:
    return {
        "choices": [
            {"error": {"code": code, "message": message}, "finish_reason": "error", "message": {"content": "Va"}}
        ]
    }


STOPS = "the run stops at once"
OWN = {
    "deepseek has no balance": answer(402, error("Insufficient Balance", code="invalid_request_error"), STOPS),
    "a team's limit": answer(403, error("Your team has reached its monthly spending limit."), STOPS),
    "no quota, as 429": answer(429, error("You exceeded your current quota.", code="insufficient_quota"), STOPS),
    "no credit, in a choice": answer(200, {"error": None, **error("out of credits", code=402)}, STOPS),
    "a wrong key": answer(401, error("Incorrect API key provided"), STOPS),
    "a country": answer(403, error("Country, region, or territory not supported"), STOPS),
    "ollama has no such model": answer(
        404, error("model 'm' not found"), "the run stops at the first request, naming the model"
    ),
    "openrouter knows no such model": answer(
        400, error("m is not a valid model ID"), "the run stops, naming the model"
    ),
    "gpt-5 and max_tokens": answer(
        400,
        error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", param="max_tokens"),
        STOPS,
    ),
    "moved for good": answer(
        308, "", "the run stops, naming the new address", Location="https://127.0.0.1:1/v1/chat/completions"
    ),
    "found elsewhere": answer(
        302, "", "the run stops, naming the new address", Location="https://127.0.0.1:1/v1/chat/completions?key=1"
    ),
    "azure filters": answer(
        400, error("triggering Azure OpenAI's content management policy", code="content_filter"), "this row is refused"
    ),
    "deepseek's risk": answer(400, error("Content Exists Risk"), "this row is refused"),
    "a long prompt": answer(
        400,
        error("This model's maximum context length is 4097 tokens.", code="context_length_exceeded"),
        "this row fails",
    ),
    "too large": answer(413, error("Request too large"), "this row fails"),
    "a bad request": answer(400, error("messages must alternate"), "this row fails"),
    "azure's rate": answer(429, error("Rate limit is exceeded. Try again in 20 milliseconds."), "waited for"),
    "a rate, in milliseconds": answer(429, error("Slow down"), "waited for", Retry_After_Ms="20"),
    "throttled": answer(400, error("Too many requests", code="ThrottlingException"), "waited for"),
    "overloaded": answer(529, error("Overloaded"), "retried"),
    "a client that left": answer(499, error("The operation was cancelled."), "retried"),
    "its backend failed": answer(424, {"error": "Model is overloaded", "error_type": "overloaded"}, "retried"),
    "broken off": answer(200, in_choice("upstream error", 502), "retried"),
    "a rate in a choice": answer(200, in_choice("slow down", 429), "waited for"),
    "a web page": answer(200, "<html>maintenance</html>", "retried"),
    "thoughts apart": answer(
        200, reply([{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": TEXT}]), "ok"
    ),
    "texts in parts": answer(200, reply([TEXT[:30], {"text": TEXT[30:]}]), "ok"),
    "hidden reasoning of gemini": answer(
        200, reply(prompt_tokens=100, total_tokens=20_150, completion_tokens=0), "ok; 20,050"
    ),
    "only a total": answer(200, reply(prompt_tokens=100, total_tokens=20_150), "ok; 20,050"),
    "zeros": answer(200, reply(prompt_tokens=0, completion_tokens=0), "ok; cost NULL"),
    "mistral and seed": answer(
        422,
        {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]}},
        "asked again without seed",
    ),
    "groq and seed": answer(400, error("property 'seed' is unsupported"), "asked again without seed"),
    "a limit of the model": answer(
        400, error("max_tokens must be less than or equal to `2048`"), "truncated, as the first reply"
    ),
    "a context too small": answer(400, error("maximum context length is 4096 tokens"), "truncated, as the first reply"),
    "a doubled limit beyond the account": answer(
        429, error("Request too large: Limit 6000, Requested 7895"), "truncated, as"
    ),
    "a doubled limit and no word": answer(400, error("bad request"), "truncated, as the first reply"),
    "a key said back": answer(200, {**reply(), "echo": "Bearer $KEY", "id": "$KEY"[:4] + "$KEY"}, "ok"),
}


@pytest.mark.parametrize("case", OWN.values(), ids=OWN)
def test_an_answer_that_servers_give_comes_out_right(case: Mapping[str, Any], tmp_path: Path) -> None:
    if not (case["body"] and isinstance(case["body"], dict)) and case["expect"].startswith("the run"):
        case = {**case, "body": ""}
    check(case, tmp_path)


def test_a_field_that_was_refused_is_not_sent_again(tmp_path: Path) -> None:
    """Neither by the other pairs' second tries, nor does the profile's own seed fall under it."""
    refusing = answer(422, OWN["mistral and seed"]["body"], "")
    bodies: list[dict[str, Any]] = []

    def says(body: dict[str, Any], _: Mapping[str, str]) -> tuple[int, Any]:
        bodies.append(body)
        if "seed" in body:
            return refusing["status"], refusing["body"]
        return 200, GOOD if body["temperature"] else completion(UNUSABLE)

    with ChatServer(answer=says) as server, Ledger(tmp_path / "teacher.sqlite") as ledger:
        settings = OpenAISettings(model="m", base_url=server.url, api_key_env=None, concurrency=1)
        teacher = OpenTeacher(
            TeacherSpec("gpt", settings), OpenAIEngine("gpt", settings), load_prompts("gpt", settings.prompts)
        )
        outcomes = list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger))
        assert [one.status for one in outcomes] == ["ok"] * 3
        assert sum("seed" in body for body in bodies) == 1 and len(bodies) == 7
        with_seed = OpenAISettings(model="m", base_url=server.url, api_key_env=None, sampling=Sampling(seed=1))
        engine = OpenAIEngine("gpt", with_seed)
        teacher = OpenTeacher(TeacherSpec("gpt", with_seed), engine, teacher.prompts)
        with pytest.raises(UserError, match=r"does not take seed .* Take teachers\.gpt\.sampling\.seed out"):
            list(reflect_pairs(INSTRUCTION_REFLECTION, PAIRS, teacher, ledger))
