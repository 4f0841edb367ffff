"""What an estimate counts is what a run then asks; what it says of tokens, dollars and time follows from the ledger."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.conversation import Context, Message
from models_py.teacher.estimate import (
    ASSUMED,
    ENOUGH_REPLIES,
    Amounts,
    Missing,
    Scenario,
    TeacherEstimate,
    amounts,
    estimate,
    scenarios,
    stops_at,
)
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.money import Budget, Price, Spent
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.request import (
    INSTRUCTION_REFLECTION,
    PHASES,
    RESPONSE_REFLECTION,
    PendingPair,
    Sampling,
    TeacherReply,
    TeacherRequest,
)
from models_py.teacher.spec import OpenAIBatchSettings, OpenAISettings, RecordedSettings, TeacherSpec, VllmSettings
from tests.support.engines import (
    BETTER,
    REWRITE,
    UNUSABLE,
    Scripted,
    always,
    asked,
    opened,
    pair_of,
    recording,
    said,
    seas,
)
from tests.support.properties import examples
from tests.support.values import known, near

PRICE = Price(input=1.0, output=10.0)
MISSING = [Missing(4000, 400, 1000), Missing(8000, 800, 1000)]
PLAIN = Scenario(tokens_a_char=0.25, reply_tokens=100, times_the_pair=2, again=0.0, call_s=1.0, token_s=0.01)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "teacher.sqlite") as opened_ledger:
        yield opened_ledger


def reflect_on(
    teacher: OpenTeacher, ledger: Ledger, pairs: Sequence[PendingPair], phase: str = INSTRUCTION_REFLECTION
) -> None:
    list(reflect_pairs(phase, pairs, teacher, ledger))


def missing(result: TeacherEstimate) -> list[int]:
    return [phase.missing for phase in result.phases]


# --- what is missing


def test_at_first_everything_is_missing_and_nothing_is_asked(ledger: Ledger) -> None:
    teacher = opened(always(REWRITE))
    result = estimate(teacher, seas(3), ledger, bases=1)
    assert [(phase.phase, phase.wanted, phase.missing) for phase in result.phases] == [
        (phase, 3, 3) for phase in PHASES
    ]
    assert (result.missing, asked(teacher), list(ledger.all_since())) == (6, [], [])


def test_what_the_ledger_knows_is_not_missing(ledger: Ledger) -> None:
    teacher = opened(always(REWRITE))
    reflect_on(teacher, ledger, seas(2))
    assert missing(estimate(teacher, seas(5), ledger, bases=1)) == [3, 5]


def test_many_pairs_are_gone_through_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_py.teacher.estimate._PAIRS_AT_ONCE", 2)
    teacher = opened(always(REWRITE))
    reflect_on(teacher, ledger, seas(3))
    assert missing(estimate(teacher, seas(7), ledger, bases=2)) == [4, 14]


def test_another_prompt_model_or_sampling_is_asked_anew(ledger: Ledger) -> None:
    reflect_on(opened(always(REWRITE)), ledger, seas(2))
    others = (opened(Scripted(always(REWRITE), "m2")), opened(always(REWRITE), sampling=Sampling(temperature=1)))
    assert [missing(estimate(other, seas(2), ledger, bases=1)) for other in others] == [[2, 2], [2, 2]]


def test_what_stands_before_a_pair_is_read_but_makes_no_reply_longer(ledger: Ledger) -> None:
    plain = seas(2)
    history = Context("", (Message("user", "Hi. " * 500), Message("assistant", "Hello!"))).history_json
    chats = [replace(pair, system="Be brief.", history=history) for pair in plain]
    teacher = opened(always(REWRITE))
    one, other = (estimate(teacher, pairs, ledger, bases=1) for pairs in (plain, chats))
    assert (missing(one), missing(other)) == ([2, 2], [2, 2])
    assert other.expected.tokens_in > 2 * one.expected.tokens_in
    assert other.expected.tokens_out == pytest.approx(one.expected.tokens_out, rel=0.02)
    reflect_on(teacher, ledger, plain)
    assert [missing(estimate(teacher, pairs, ledger, bases=1)) for pairs in (plain, chats)] == [[0, 2], [2, 2]]


def test_an_error_is_missing(ledger: Ledger) -> None:
    reflect_on(opened(lambda request: TeacherReply(request.request_id, error="timeout")), ledger, seas(2))
    assert missing(estimate(opened(always(REWRITE)), seas(2), ledger, bases=1)) == [2, 2]


def test_a_second_try_that_is_due_is_missing_with_its_own_limit(ledger: Ledger) -> None:
    def cut_once(request: TeacherRequest) -> TeacherReply:
        if request.parse_attempt:
            return TeacherReply(request.request_id, error="timeout")
        return said(request, REWRITE, "length", completion_tokens=50)

    reflect_on(opened(cut_once, sampling=Sampling(max_tokens=50)), ledger, seas(2))
    result = estimate(opened(always(REWRITE), sampling=Sampling(max_tokens=50)), seas(2), ledger, bases=0)
    assert missing(result) == [2, 0]
    assert result.phases[0].high.tokens_out == pytest.approx(2 * 100 * 1.15)


@pytest.mark.parametrize(
    ("bases", "wanted", "first", "then", "at_last"), [(1, 2, 2, 2, 1), (2, 4, 4, 4, 3), (0, 0, 0, 0, 0)]
)
def test_how_many_bases_are_reflected_on(
    ledger: Ledger, *, bases: int, wanted: int, first: int, then: int, at_last: int
) -> None:
    teacher = opened(always(REWRITE))

    def responses() -> tuple[int, int]:
        phase = estimate(teacher, seas(2), ledger, bases=bases).phases[1]
        return phase.wanted, phase.missing

    assert responses() == (wanted, first)
    reflect_on(teacher, ledger, seas(2))
    assert responses() == (wanted, then)
    reflect_on(opened(always(BETTER)), ledger, seas(1), RESPONSE_REFLECTION)
    assert responses() == (wanted, at_last)


def test_a_rewrite_is_the_base_that_is_looked_up(ledger: Ledger) -> None:
    teacher = opened(always(REWRITE))
    reflect_on(teacher, ledger, seas(2))
    rewrite = pair_of("Name three seas.", output="Baltic, North, Red.")
    reflect_on(opened(always(BETTER)), ledger, [rewrite], RESPONSE_REFLECTION)
    assert missing(estimate(teacher, seas(2), ledger, bases=1)) == [0, 0]
    assert missing(estimate(teacher, seas(2), ledger, bases=2)) == [0, 2]


def test_a_pair_whose_rewrite_failed_has_one_base(ledger: Ledger) -> None:
    teacher = opened(always(UNUSABLE), parse_attempts=0)
    reflect_on(teacher, ledger, seas(2))
    assert [(phase.wanted, phase.missing) for phase in estimate(teacher, seas(2), ledger, bases=2).phases] == [
        (2, 0),
        (2, 2),
    ]


@examples(20)
@given(st.lists(st.sampled_from([REWRITE, UNUSABLE]), min_size=1, max_size=5), st.integers(0, 8))
def test_the_count_is_what_a_run_then_asks_first(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], stop_after: int
) -> None:
    def say(request: TeacherRequest) -> TeacherReply:
        place = [pair.pair_id for pair in pairs].index(request.content_id)
        return said(request, texts[place])

    pairs = seas(len(texts))
    with Ledger(tmp_path_factory.mktemp("ledger") / "teacher.sqlite") as ledger:
        reflect_on(opened(Scripted(say, stop_after=stop_after)), ledger, pairs)
        counted = estimate(opened(say), pairs, ledger, bases=1).phases[0].missing
        known = {row.content_id for row in ledger.all_since()}
        teacher = opened(say)
        reflect_on(teacher, ledger, pairs)
        assert counted == len({request.content_id for request in asked(teacher)})
        assert {pair.pair_id for pair in pairs} - known <= {request.content_id for request in asked(teacher)}


def test_a_recording_costs_nothing_and_says_what_it_lacks(ledger: Ledger, tmp_path: Path) -> None:
    rows = [{"phase": phase, "content_id": seas(1)[0].pair_id, "reply": REWRITE} for phase in PHASES]
    teacher = open_teacher(TeacherSpec("tape", RecordedSettings(replies=recording(tmp_path / "r.jsonl", *rows))))
    result = estimate(teacher, seas(3), ledger, bases=1)
    assert (missing(result), [phase.unanswerable for phase in result.phases]) == ([3, 3], [2, 0])
    assert (result.expected.usd, result.expected.seconds) == (0.0, None)


# --- what it takes


def test_tokens_and_dollars_by_hand() -> None:
    taken = amounts(MISSING, PLAIN, OpenAISettings(model="m"), PRICE)
    tokens_out = (100 + 2 * 100) + (100 + 2 * 200)
    assert (taken.requests, taken.tokens_in, taken.tokens_out) == (2, 3000, tokens_out)
    assert taken.usd == pytest.approx((3000 * 1 + tokens_out * 10) / 1e6)


def test_further_tries_multiply_everything() -> None:
    once = amounts(MISSING, PLAIN, OpenAISettings(model="m", concurrency=1), PRICE)
    half_again = amounts(MISSING, replace(PLAIN, again=0.5), OpenAISettings(model="m", concurrency=1), PRICE)
    assert half_again == Amounts(*(near(1.5 * getattr(once, name)) for name in Amounts.__slots__))


def test_a_reply_is_no_longer_than_its_limit() -> None:
    limited = [replace(one, max_tokens=350) for one in MISSING]
    assert amounts(limited, PLAIN, OpenAISettings(model="m"), PRICE).tokens_out == 300 + 350


def test_an_unknown_price_is_none_and_stays_none_in_the_sum() -> None:
    unknown = amounts(MISSING, PLAIN, OpenAISettings(model="m"), None)
    priced = amounts(MISSING, PLAIN, OpenAISettings(model="m"), PRICE)
    both = (unknown + priced).usd, (priced + priced).usd
    assert (unknown.usd, *both) == (None, None, near(2 * known(priced.usd)))
    assert (unknown + priced).tokens_in == 6000


@pytest.mark.parametrize(
    ("server", "seconds"),
    [
        ({"concurrency": 1}, 2 * 1.0 + 800 * 0.01),
        ({"concurrency": 2}, (2 * 1.0 + 800 * 0.01) / 2),
        ({"concurrency": 32}, (2 * 1.0 + 800 * 0.01) / 2),
        ({"requests_per_minute": 1}, 120),
        ({"tokens_per_minute": 100}, 60 * 3800 / 100),
        ({"requests_per_minute": 1, "tokens_per_minute": 10_000}, 120),
    ],
)
def test_time_is_that_of_the_narrowest_place(server: dict[str, Any], seconds: float) -> None:
    assert amounts(MISSING, PLAIN, OpenAISettings(model="m", **server), None).seconds == pytest.approx(seconds)


@pytest.mark.parametrize("settings", [OpenAIBatchSettings(model="m"), VllmSettings(model="m")])
def test_the_time_of_other_engines_is_unknown(settings: OpenAIBatchSettings | VllmSettings) -> None:
    assert amounts(MISSING, PLAIN, settings, PRICE).seconds is None


def test_a_batch_costs_what_batches_cost(ledger: Ledger) -> None:
    one, batch = opened(always(REWRITE), PRICE), TeacherSpec("batch", OpenAIBatchSettings(model="m"), PRICE)
    dear, cheap = (estimate(t, seas(2), ledger, bases=1).expected.usd for t in (one, replace(one, spec=batch)))
    assert (dear or 0) > 0 and cheap == pytest.approx((dear or 0) / 2)


# --- what it rests on


def rows(count: int, **reply: Any) -> list[LedgerRow]:
    """Replies to prompts of 1,000 characters, the n-th after n + 1 seconds."""
    payload = json.dumps(
        {"messages": [{"role": "system", "content": "s" * 400}, {"role": "user", "content": "u" * 600}]}
    )
    values: dict[str, Any] = {"prompt_tokens": 500, "completion_tokens": 200} | reply
    return [
        LedgerRow(
            n,
            "gpt",
            "m",
            INSTRUCTION_REFLECTION,
            "c",
            payload,
            int(n % 4 == 3),
            "",
            TeacherReply("r", **values, latency_s=n + 1.0),
        )
        for n in range(count)
    ]


def test_with_few_replies_it_rests_on_assumptions() -> None:
    three, facts = scenarios(INSTRUCTION_REFLECTION, rows(ENOUGH_REPLIES - 1))
    assert three == ASSUMED[INSTRUCTION_REFLECTION]
    assert [fact.seen for fact in facts] == [False] * 4
    assert facts[0].text == "4.0 (4.5 to 3.0) characters a token"
    assert facts[1].text == "replies of 200 (100 to 400) tokens and 2 (1 to 3) times their pair"


def test_with_enough_replies_it_rests_on_them() -> None:
    three, facts = scenarios(INSTRUCTION_REFLECTION, rows(101))
    assert [one.call_s for one in three] == pytest.approx([11, 51, 91])
    assert {(one.tokens_a_char, one.reply_tokens, one.times_the_pair, one.token_s) for one in three} == {
        (0.5, 200, 0, 0)
    }
    assert [one.again for one in three] == pytest.approx([25 / 76] * 3)
    assert [fact.seen for fact in facts] == [True] * 4
    assert [fact.text for fact in facts][:2] == ["2.0 characters a token", "replies of 200 tokens"]


def test_one_enormous_reply_does_not_put_the_expected_number_above_the_high_one() -> None:
    seen = [*rows(19, completion_tokens=10), *rows(1, completion_tokens=10_000)]
    (low, expected, high), _ = scenarios(INSTRUCTION_REFLECTION, seen)
    assert [one.reply_tokens for one in (low, expected, high)] == pytest.approx([10, 509.5, 509.5])


def test_what_replies_do_not_say_stays_assumed() -> None:
    three, facts = scenarios(RESPONSE_REFLECTION, rows(40, prompt_tokens=None, completion_tokens=None))
    assumed = ASSUMED[RESPONSE_REFLECTION]
    assert [one.tokens_a_char for one in three] == [one.tokens_a_char for one in assumed]
    assert [one.reply_tokens for one in three] == [one.reply_tokens for one in assumed]
    assert [fact.seen for fact in facts] == [False, False, True, True]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 100)), min_size=20, max_size=40))
def test_low_is_not_above_expected_nor_that_above_high(replies: list[tuple[int, int, float]]) -> None:
    seen = [
        replace(row, reply=replace(row.reply, prompt_tokens=tokens_in, completion_tokens=out, latency_s=seconds))
        for row, (tokens_in, out, seconds) in zip(rows(len(replies)), replies, strict=True)
    ]
    low, expected, high = (
        amounts(MISSING, one, OpenAISettings(model="m"), PRICE) for one in scenarios(INSTRUCTION_REFLECTION, seen)[0]
    )
    for name in Amounts.__slots__:
        assert getattr(low, name) <= getattr(expected, name) * (1 + 1e-9) <= getattr(high, name) * (1 + 2e-9)


def test_an_estimate_of_as_much_again_is_what_a_run_cost(ledger: Ledger) -> None:
    teacher = opened(always(REWRITE), PRICE)
    account = teacher.account(Spent())
    list(reflect_pairs(INSTRUCTION_REFLECTION, seas(30), teacher, ledger, account=account))
    more = [replace(one, output="Red....") for one in seas(30)]
    result = estimate(teacher, more, ledger, bases=0).phases[0]
    assert [part.usd for part in (result.low, result.expected, result.high)] == pytest.approx(
        [account.spent.usd] * 3, rel=0.001
    )
    assert (result.expected.tokens_out, result.expected.seconds) == (3000, near(30 * 2.0 / 30))


def test_the_share_asked_again_is_of_all_replies_not_of_the_newest(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Second tries come last, and in many."""
    monkeypatch.setattr("models_py.teacher.estimate._REPLIES_LOOKED_AT", 150)
    teacher = opened(lambda request: said(request, REWRITE if request.parse_attempt else UNUSABLE))
    reflect_on(teacher, ledger, seas(200))
    fact = estimate(teacher, seas(201), ledger, bases=0).phases[0].facts[2]
    assert fact.seen and 75 <= int(fact.text.removesuffix("% asked again")) <= 133


# --- the budget

NEED = Amounts(requests=100, tokens_in=900, tokens_out=100, usd=10.0, seconds=None)


@pytest.mark.parametrize(
    ("budget", "spent", "stop"),
    [
        (Budget(), Spent(), None),
        (Budget(max_usd=10.0), Spent(), None),
        (Budget(max_usd=5), Spent(), ("budget.max_usd 5", 0.5)),
        (Budget(max_usd=5), Spent(usd=4.0), ("budget.max_usd 5", 0.1)),
        (Budget(max_usd=5), Spent(usd=6.0), ("budget.max_usd 5", 0.0)),
        (Budget(max_tokens=1500), Spent(tokens=1250), ("budget.max_tokens 1,500", 0.25)),
        (Budget(max_usd=5), Spent(usd=1.0, assumed_usd=3.0), ("budget.max_usd 5", 0.1)),
        (Budget(max_tokens=1500), Spent(tokens=250, assumed_tokens=1000), ("budget.max_tokens 1,500", 0.25)),
        (Budget(max_usd=5, max_requests=20), Spent(), ("budget.max_requests 20", 0.2)),
    ],
)
def test_the_limit_that_is_reached_first(budget: Budget, spent: Spent, stop: tuple[str, float] | None) -> None:
    assert stops_at(budget, spent, NEED) == stop


def test_an_unknown_cost_reaches_no_limit_in_dollars() -> None:
    assert stops_at(Budget(max_usd=5), Spent(), replace(NEED, usd=None)) is None


def test_what_was_spent_before_counts_towards_the_budget(ledger: Ledger) -> None:
    reflect_on(opened(always(REWRITE)), ledger, seas(2))
    result = estimate(opened(always(REWRITE), budget=Budget(max_requests=3)), seas(4), ledger, bases=0)
    assert result.spent.requests == 2
    assert result.stops_at == ("budget.max_requests 3", near(1 / 2.1))
