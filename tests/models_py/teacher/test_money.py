"""What a reply costs, and that a budget is never overrun while replies keep to their worst case."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.errors import UserError
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Account, Budget, Price, Spent, dollars, prompt_tokens_at_most
from models_py.teacher.request import Sampling, TeacherReply, TeacherRequest
from tests.support.engines import BETTER, Scripted, always, request, said
from tests.support.values import near

PRICE = Price(input=2.0, output=8.0)


def reply(prompt: int | None = 1000, completion: int | None = 500, usage: object = None) -> TeacherReply:
    told = None if usage is None else json.dumps(usage)
    return TeacherReply("r", reply="", prompt_tokens=prompt, completion_tokens=completion, usage=told)


def asking(number: int = 0, max_tokens: int = 1000) -> TeacherRequest:
    return request(f"Name sea {number}.", sampling=Sampling(max_tokens=max_tokens))


# --- prices


def test_a_price_is_per_million_tokens() -> None:
    assert PRICE.of(reply()) == pytest.approx(0.002 + 0.004)
    assert PRICE.times(0.5).of(reply()) == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("cached", "cached_input", "dollars"),
    [
        (800, 0.5, 0.0048),
        (800, None, 0.006),
        (800, 0.0, 0.0044),
        (9999, 0.5, 0.0045),
        (-5, 0.5, 0.006),
        (0, 0.5, 0.006),
    ],
)
def test_cached_tokens_have_their_own_price(cached: int, cached_input: float | None, dollars: float) -> None:
    usage = {"prompt_tokens_details": {"cached_tokens": cached}}
    assert Price(2.0, 8.0, cached_input).of(reply(usage=usage)) == pytest.approx(dollars)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens_details": None}, {"prompt_tokens_details": {}}])
def test_usage_without_cached_tokens_costs_the_full_price(usage: dict[str, Any]) -> None:
    assert Price(2.0, 8.0, 0.5).of(reply(usage=usage)) == pytest.approx(0.006)


@pytest.mark.parametrize(("prompt", "completion"), [(None, 500), (1000, None), (None, None)])
def test_an_unknown_usage_has_an_unknown_cost(prompt: int | None, completion: int | None) -> None:
    assert PRICE.of(reply(prompt, completion)) is None


def test_prices_below_zero_and_budgets_of_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="output: -1 is below 0"):
        Price(1, -1)
    for name in ("max_usd", "max_tokens", "max_requests"):
        with pytest.raises(UserError, match=rf"budget\.{name}: 0 is not above 0; leave it out for no limit"):
            Budget(**{name: 0})


# --- an account


def test_a_budget_in_dollars_needs_a_price() -> None:
    with pytest.raises(UserError, match=r"teachers\.gpt\.budget\.max_usd: the price of the model is unknown; add it"):
        Account(None, Budget(max_usd=1), name="teachers.gpt")


WORST = prompt_tokens_at_most(asking()) + 1000
WORST_USD = (prompt_tokens_at_most(asking()) * 2 + 1000 * 8) / 1e6


@pytest.mark.parametrize(
    ("budget", "reached"),
    [
        (Budget(max_requests=2), "budget.max_requests 2"),
        (Budget(max_tokens=2 * WORST), f"budget.max_tokens {2 * WORST:,}"),
        (Budget(max_usd=2 * WORST_USD), f"budget.max_usd {2 * WORST_USD}"),
    ],
)
def test_what_is_under_way_counts_at_its_worst(budget: Budget, reached: str) -> None:
    account = Account(PRICE, budget)
    assert [account.admits(asking(number)) for number in range(3)] == [True, True, False]
    assert account.reached == reached


@pytest.mark.parametrize("budget", [Budget(max_tokens=2 * WORST), Budget(max_usd=2 * WORST_USD)])
def test_a_reply_that_came_cheaper_makes_room(budget: Budget) -> None:
    account = Account(PRICE, budget)
    one = asking(0)
    assert account.admits(one) and account.admits(asking(1)) and not account.admits(asking(2))
    settled = account.settle(said(one, BETTER, prompt_tokens=10, completion_tokens=5))
    assert settled.cost_usd == pytest.approx(60 / 1e6)
    assert account.spent == Spent(1, 15, near(60 / 1e6), 0)
    assert not account.admits(asking(2))  # its own worst case still does not fit
    account.release()
    assert account.admits(asking(2)) and account.reached is None


def test_an_error_spends_nothing_and_gives_its_room_back() -> None:
    account = Account(PRICE, Budget(max_requests=1))
    one = asking(0)
    assert account.admits(one) and not account.admits(asking(1))
    failed = TeacherReply(one.request_id, error="timeout")
    assert account.settle(failed) == failed
    assert (account.spent, account.admits(asking(1))) == (Spent(), True)


def test_a_reply_of_unknown_usage_is_held_at_its_worst_and_has_no_cost() -> None:
    account = Account(PRICE, Budget(max_usd=1.5 * WORST_USD))
    one = asking(0)
    assert account.admits(one)
    assert account.settle(said(one, BETTER, prompt_tokens=None, completion_tokens=None)).cost_usd is None
    assert account.spent == Spent(1, 0, 0.0, 1, WORST, near(WORST_USD))
    assert not account.admits(asking(1))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # As SmolLM2's tokenizer has it, which was trained on English.
        ("人工智能是计算机科学的一个分支，它企图了解智能的实质。", 42),
        ("ปัญญาประดิษฐ์ หมายถึงความฉลาดเทียมที่สร้างขึ้นให้กับสิ่งที่ไม่มีชีวิต", 130),
        ("Искусственный интеллект — свойство интеллектуальных систем выполнять творческие функции.", 67),
        ("😀🎉🚀🧠👩\u200d🔬", 20),
        ("Artificial intelligence is the capability of computational systems to perform tasks.", 11),
    ],
)
def test_a_worst_case_is_one_in_other_scripts_too(text: str, tokens: int) -> None:
    assert prompt_tokens_at_most(request(text)) - prompt_tokens_at_most(request("")) >= tokens


def test_what_earlier_runs_paid_counts() -> None:
    account = Account(PRICE, Budget(max_requests=5), Spent(requests=4))
    assert [account.admits(asking(number)) for number in range(2)] == [True, False]


def test_without_a_budget_everything_is_admitted() -> None:
    account = Account()
    assert all(account.admits(asking(number)) for number in range(100))
    assert account.settle(said(asking(0), BETTER)).cost_usd is None


@pytest.mark.parametrize(
    ("spent", "shown"),
    [
        (Spent(), ""),
        (Spent(2, 1500, 0.0, 2), "1,500 tokens so far"),
        (Spent(2, 1500, 1.234), "$1.23 so far"),
        (Spent(3, 1500, 1.234, 1), "$1.23 so far (1 replies of unknown cost)"),
    ],
)
def test_spending_in_words(spent: Spent, shown: str) -> None:
    assert spent.shown() == shown


@pytest.mark.parametrize(
    ("spent", "told"),
    [
        (Spent(2, 1500, 1.234), "2 replies, $1.23 so far"),
        (Spent(2, 0, 0.0, 2), "2 replies"),
        (Spent(2, 0, 0.0, 2, 4000), "2 replies, and at most 4,000 tokens more, assumed where nothing was counted"),
        (
            Spent(2, 15, 0.01, 1, 4000, 0.5),
            "2 replies, $0.01 so far (1 replies of unknown cost), "
            "and at most 4,000 tokens and $0.50 more, assumed where nothing was counted",
        ),
    ],
)
def test_what_is_assumed_is_told_as_such(spent: Spent, told: str) -> None:
    assert spent.told() == told


BUDGETS = st.builds(
    Budget,
    max_usd=st.none() | st.floats(0.001, 0.05),
    max_tokens=st.none() | st.integers(500, 20_000),
    max_requests=st.none() | st.integers(1, 8),
)


@given(BUDGETS, st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_whatever_the_order_a_budget_is_never_overrun(budget: Budget, limits: list[int], random: Random) -> None:
    account = Account(PRICE, budget)
    waiting = [asking(number, limit) for number, limit in enumerate(limits)]
    under_way: list[TeacherRequest] = []
    while waiting or under_way:
        if waiting and random.random() < 0.6:
            one = waiting.pop()
            if account.admits(one):
                under_way.append(one)
        elif under_way:
            account.settle(an_answer(under_way.pop(random.randrange(len(under_way))), random))
        assert account.spent.usd_at_most <= (budget.max_usd or 1e9) * (1 + 1e-9)
        assert account.spent.tokens_at_most <= (budget.max_tokens or 1e9)
        assert account.spent.requests <= (budget.max_requests or 1e9)


def an_answer(to: TeacherRequest, random: Random) -> TeacherReply:
    """A reply within its worst case, one of unknown usage, or an error."""
    if random.random() < 0.2:
        return TeacherReply(to.request_id, error="timeout")
    known = random.random() < 0.8
    prompt = random.randint(0, prompt_tokens_at_most(to)) if known else None
    return said(to, BETTER, prompt_tokens=prompt, completion_tokens=random.randint(0, to.sampling.max_tokens))


# --- a budget in a run


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "teacher.sqlite") as opened:
        yield opened


SEAS = [asking(number) for number in range(6)]


@pytest.mark.parametrize(
    "budget", [Budget(max_requests=2), Budget(max_tokens=WORST + 600), Budget(max_usd=WORST_USD + 0.002)]
)
def test_a_run_stops_at_its_budget_and_a_higher_one_asks_exactly_the_rest(ledger: Ledger, budget: Budget) -> None:
    first, second = Scripted(always(BETTER)), Scripted(always(BETTER))
    account = Account(PRICE, budget)
    assert [place for place, _ in ask_missing(SEAS, first, ledger, account)] == [0, 1]
    assert account.reached is not None and account.spent.requests == len(first.asked) == 2
    account = Account(PRICE, Budget(max_usd=10), ledger.spent("fake"))
    assert sorted(place for place, _ in ask_missing(SEAS, second, ledger, account)) == [0, 1, 2, 3, 4, 5]
    assert [one.request_id for one in second.asked] == [one.request_id for one in SEAS[2:]]
    assert account.reached is None
    assert account.spent == ledger.spent("fake") == Spent(6, 3000, near(6 * 0.0016), 0)


def test_room_that_cheap_replies_leave_is_used_before_a_run_stops(ledger: Ledger) -> None:
    account = Account(PRICE, Budget(max_tokens=2 * WORST))
    teacher = Scripted(always(BETTER), takes_all=True)
    answered = list(ask_missing(SEAS, teacher, ledger, account))
    assert len(answered) == len(teacher.asked) == (2 * WORST - WORST) // 500 + 1
    assert account.reached == f"budget.max_tokens {2 * WORST:,}"


def test_a_request_too_large_for_the_budget_keeps_no_other_out(ledger: Ledger) -> None:
    large = asking(99, 1_000_000)
    account = Account(PRICE, Budget(max_tokens=10 * WORST))
    asked = [SEAS[0], large, *SEAS[1:]]
    assert sorted(place for place, _ in ask_missing(asked, Scripted(always(BETTER)), ledger, account)) == [
        0,
        *range(2, 7),
    ]
    worst = 1_000_000 + prompt_tokens_at_most(large)
    assert account.told() == (
        f"budget.max_tokens {10 * WORST:,} is reached: 6 replies, {dollars(6 * 0.0016)} so far. The next one may take "
        f"{worst:,} tokens and {dollars(PRICE.usd(worst - 1_000_000, 1_000_000))}, which is more than is left."
    )


def test_nothing_is_asked_when_the_budget_was_reached_before(ledger: Ledger) -> None:
    teacher = Scripted(always(BETTER))
    account = Account(PRICE, Budget(max_requests=3), Spent(requests=3))
    assert list(ask_missing(SEAS, teacher, ledger, account)) == []
    assert (teacher.asked, account.reached) == ([], "budget.max_requests 3")


def uncounted(to: TeacherRequest) -> TeacherReply:
    return said(to, BETTER, prompt_tokens=None, completion_tokens=None)


def half_counted(to: TeacherRequest) -> TeacherReply:
    return said(to, BETTER, prompt_tokens=None, completion_tokens=7)


@pytest.mark.parametrize("budget", [Budget(max_tokens=2 * WORST), Budget(max_usd=2 * WORST_USD)])
def test_what_no_server_counted_is_held_by_the_budget_of_later_runs_too(place: LedgerPlace, budget: Budget) -> None:
    asked = []
    for _ in range(3):
        with Ledger(place) as ledger:
            account, teacher = Account(PRICE, budget, ledger.spent("fake", PRICE)), Scripted(uncounted)
            list(ask_missing(SEAS, teacher, ledger, account))
            assert account.reached and account.spent == ledger.spent("fake", PRICE)
        asked.append(len(teacher.asked))
    assert asked == [2, 0, 0]
    assert account.spent == Spent(2, 0, 0.0, 2, 2 * WORST, near(2 * WORST_USD))


def test_what_was_counted_without_a_price_is_held_at_the_price_of_today(place: LedgerPlace) -> None:
    with Ledger(place) as ledger:
        list(ask_missing(SEAS, Scripted(always(BETTER)), ledger, Account()))
        assert ledger.spent("fake") == Spent(6, 3000, 0.0, 6)
        assert ledger.spent("fake", PRICE) == Spent(6, 3000, 0.0, 6, 0, near(6 * 0.0016))
        assert ledger.spent("nobody", PRICE) == Spent()


def test_half_a_count_is_none_in_the_ledger_as_in_the_account(place: LedgerPlace) -> None:
    with Ledger(place) as ledger:
        account = Account(PRICE)
        list(ask_missing(SEAS[:1], Scripted(half_counted), ledger, account))
        assert account.spent == ledger.spent("fake", PRICE) == Spent(1, 7, 0.0, 1, WORST - 7, near(WORST_USD))
