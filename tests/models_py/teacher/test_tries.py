"""Second tries: what they change, how many there are, and that a killed run finds its way back to them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.teacher.ledger import SCHEMA_VERSION, Ledger
from models_py.teacher.money import Account, Budget
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher, Try, open_teacher
from models_py.teacher.reflect_pairs import reflect_pairs
from models_py.teacher.request import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    PendingPair,
    Sampling,
    TeacherReply,
    TeacherRequest,
)
from models_py.teacher.spec import RecordedSettings, TeacherSpec
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
from tests.support.files import sqlite_file
from tests.support.properties import examples
from tests.support.values import known, near

PAIRS = seas(3)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "teacher.sqlite") as opened_ledger:
        yield opened_ledger


def outcomes(teacher: OpenTeacher, ledger: Ledger, pairs: list[PendingPair] = PAIRS, **more: Any) -> list[str]:
    """The status of every pair that has one, in the order of the pairs."""
    found = {
        one.pair.pair_id: one.status for one in reflect_pairs(INSTRUCTION_REFLECTION, pairs, teacher, ledger, **more)
    }
    return [found[pair.pair_id] for pair in pairs if pair.pair_id in found]


def by_try(*replies: str | tuple[str, str] | None) -> Callable[[TeacherRequest], TeacherReply]:
    """What is said to each try in turn: a text, a text and its finish_reason, or None for an error."""

    def say(request: TeacherRequest) -> TeacherReply:
        reply = replies[request.parse_attempt]
        if reply is None:
            return TeacherReply(request.request_id, error="timeout")
        return said(request, reply) if isinstance(reply, str) else said(request, *reply)

    return say


CUT = (REWRITE[:40], "length")
LOOP = "Be kind to others. Be honest with others. " * 40


# --- which try follows


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_an_answer_and_an_error_have_no_further_try(status: str) -> None:
    assert opened(always(REWRITE)).next_try(FIRST_TRY, status) is None


@pytest.mark.parametrize("status", ["missing_tag", "placeholder", "empty", "repetitive", "refused"])
def test_an_unusable_reply_is_tried_again_parse_attempts_times(status: str) -> None:
    teacher = opened(always(REWRITE), parse_attempts=2)
    second = teacher.next_try(FIRST_TRY, status)
    third = teacher.next_try(known(second), status)
    assert (second, third, teacher.next_try(known(third), status)) == (Try(1), Try(2), None)
    assert opened(always(REWRITE), parse_attempts=0).next_try(FIRST_TRY, status) is None


def test_a_limit_is_doubled_once_and_is_no_use_of_parse_attempts() -> None:
    teacher = opened(always(REWRITE), parse_attempts=1)
    raised = known(teacher.next_try(FIRST_TRY, "truncated"))
    assert raised == Try(1, raised=True)
    assert teacher.next_try(raised, "truncated") is None
    assert teacher.next_try(raised, "empty") == Try(2, raised=True)
    assert teacher.next_try(Try(2, raised=True), "empty") is None
    assert opened(always(REWRITE), parse_attempts=0).next_try(FIRST_TRY, "truncated") == raised


def test_what_repeats_itself_never_gets_a_higher_limit() -> None:
    teacher = opened(always(REWRITE))
    assert teacher.next_try(FIRST_TRY, "repetitive") == Try(1)
    assert teacher.next_try(Try(1, raised=True), "repetitive") is None


def test_the_first_try_is_sampled_as_the_profile_says() -> None:
    sampling = Sampling(temperature=0.5, seed=7, max_tokens=100)
    assert opened(always(REWRITE), sampling=sampling).sampling(FIRST_TRY) == sampling


@pytest.mark.parametrize(
    ("temperature", "seed", "again", "warmer", "next_seed"),
    [(0.0, None, 1, 0.3, 1), (0.0, None, 2, 0.6, 2), (0.9, 7, 1, 1.0, 8), (0.9, 7, 9, 1.0, 16), (1.5, 0, 1, 1.5, 1)],
)
def test_further_tries_are_warmer_with_another_seed(
    temperature: float, seed: int | None, again: int, warmer: float, next_seed: int
) -> None:
    sampling = opened(always(REWRITE), sampling=Sampling(temperature, seed=seed)).sampling(Try(again))
    assert (sampling.temperature, sampling.seed) == (near(warmer), next_seed)
    assert sampling.max_tokens == Sampling().max_tokens


def test_a_raised_limit_is_twice_as_high_and_changes_nothing_else() -> None:
    teacher = opened(always(REWRITE))
    assert teacher.sampling(Try(1, raised=True)) == Sampling(max_tokens=2 * Sampling().max_tokens)
    assert teacher.sampling(Try(2, raised=True)) == replace(teacher.sampling(Try(1)), max_tokens=4096)


@given(st.integers(0, 5), st.floats(0, 2), st.none() | st.integers(0, 9))
def test_no_two_tries_are_the_same_request(attempts: int, temperature: float, seed: int | None) -> None:
    teacher = opened(always(REWRITE), parse_attempts=attempts, sampling=Sampling(temperature, seed=seed))
    tries = [*(Try(n) for n in range(attempts + 1)), *(Try(n, raised=True) for n in range(1, attempts + 2))]
    ids = {teacher.request(INSTRUCTION_REFLECTION, PAIRS[0], one).request_id for one in tries}
    assert len(ids) == len(tries) == 2 * attempts + 2


def test_more_parse_attempts_go_through_the_pairs_anew() -> None:
    one, other = opened(always(REWRITE), parse_attempts=1), opened(always(REWRITE), parse_attempts=2)
    assert one.prompt_version(INSTRUCTION_REFLECTION) != other.prompt_version(INSTRUCTION_REFLECTION)


# --- a phase


def test_an_unusable_reply_is_asked_again_until_one_can_be_used(ledger: Ledger) -> None:
    teacher = opened(by_try(UNUSABLE, UNUSABLE, REWRITE))
    assert outcomes(teacher, ledger) == ["ok", "ok", "ok"]
    assert [one.parse_attempt for one in asked(teacher)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [one.sampling.seed for one in asked(teacher)[::3]] == [None, 1, 2]
    assert [one.sampling.temperature for one in asked(teacher)[::3]] == pytest.approx([0, 0.3, 0.6])


def test_the_last_unusable_reply_stands_and_all_are_kept(ledger: Ledger) -> None:
    teacher = opened(by_try(UNUSABLE, UNUSABLE, "I'm sorry, but I can't help with that."))
    assert outcomes(teacher, ledger) == ["refused"] * 3
    kept = [(row.parse_attempt, row.reply.reply) for row in ledger.all_since()]
    assert kept == [(n, text) for n, text in enumerate([UNUSABLE, UNUSABLE, kept[-1][1]]) for _ in PAIRS]


def test_only_pairs_that_need_it_are_asked_again(ledger: Ledger) -> None:
    def say(request: TeacherRequest) -> TeacherReply:
        usable = request.content_id != PAIRS[1].pair_id or request.parse_attempt
        return said(request, REWRITE if usable else UNUSABLE)

    teacher = opened(say)
    assert outcomes(teacher, ledger) == ["ok", "ok", "ok"]
    again = [(one.content_id, one.parse_attempt) for one in asked(teacher)[3:]]
    assert again == [(PAIRS[1].pair_id, 1)]


def test_a_cut_reply_gets_twice_the_tokens_once(ledger: Ledger) -> None:
    teacher = opened(by_try(CUT, CUT), sampling=Sampling(max_tokens=100))
    assert outcomes(teacher, ledger, PAIRS[:1]) == ["truncated"]
    assert [(one.sampling.max_tokens, one.sampling.seed) for one in asked(teacher)] == [(100, None), (200, None)]


@pytest.mark.parametrize("reply", [(LOOP, "length"), (LOOP, "stop"), (LOOP[:100], "repetition")])
def test_a_reply_that_repeats_itself_is_asked_again_with_the_same_limit(ledger: Ledger, reply: tuple[str, str]) -> None:
    teacher = opened(by_try(reply, reply, reply), sampling=Sampling(max_tokens=100))
    assert outcomes(teacher, ledger, PAIRS[:1]) == ["repetitive"]
    assert [(one.sampling.max_tokens, one.sampling.seed) for one in asked(teacher)] == [(100, None), (100, 1), (100, 2)]


def test_without_further_tries_the_first_reply_stands(ledger: Ledger) -> None:
    teacher = opened(by_try(UNUSABLE), parse_attempts=0)
    assert outcomes(teacher, ledger) == ["missing_tag"] * 3
    assert len(asked(teacher)) == 3


def test_an_error_in_a_second_try_is_failed_and_the_next_run_resumes_there(ledger: Ledger) -> None:
    first, second = opened(by_try(UNUSABLE, None)), opened(by_try("never asked", REWRITE))
    assert outcomes(first, ledger) == ["failed"] * 3
    assert outcomes(second, ledger) == ["ok"] * 3
    assert [one.parse_attempt for one in asked(second)] == [1, 1, 1]


def test_a_budget_that_ends_the_first_tries_is_not_hidden_by_second_ones_that_fit(ledger: Ledger) -> None:
    short, long = seas(1)[0], pair_of("Name sea 0.", output="Baltic. " * 2000)
    account = Account(None, Budget(max_tokens=8000))
    teacher = opened(by_try(UNUSABLE, REWRITE))
    assert outcomes(teacher, ledger, [short, long], account=account) == []
    assert account.reached == "budget.max_tokens 8,000"
    assert outcomes(teacher, ledger, [short, long], account=Account()) == ["ok", "ok"]


@examples(25)
@given(
    st.lists(st.lists(st.sampled_from([REWRITE, UNUSABLE, CUT]), min_size=5, max_size=5), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_stopped_anywhere_and_run_again_it_asks_the_same_and_ends_the_same(
    scripts: list[list[Any]], stop_after: int, parse_attempts: int
) -> None:
    pairs = seas(len(scripts))
    script_of = {pair.pair_id: by_try(*script) for pair, script in zip(pairs, scripts, strict=True)}

    def run(ledger: Ledger, stop_after: int | None = None) -> tuple[list[str], list[str]]:
        engine = Scripted(lambda request: script_of[request.content_id](request), stop_after=stop_after)
        found = outcomes(opened(engine, parse_attempts=parse_attempts), ledger, pairs)
        return found, [one.request_id for one in engine.asked]

    with TemporaryDirectory() as folder, Ledger(Path(folder) / "a") as whole, Ledger(Path(folder) / "b") as stopped:
        expected, at_once = run(whole)
        bit_by_bit: list[str] = []
        while len((found := run(stopped, stop_after))[1]) == stop_after:
            bit_by_bit += found[1]
        assert found[0] == run(stopped)[0] == expected
        assert sorted(bit_by_bit + found[1]) == sorted(at_once)


# --- a recorded teacher


def recorded(path: Path, *rows: dict[str, Any]) -> OpenTeacher:
    common = {"phase": RESPONSE_REFLECTION, "content_id": PAIRS[0].pair_id, "finish_reason": "stop"}
    file = recording(path / "replies.jsonl", *(common | row for row in rows))
    return open_teacher(TeacherSpec("tape", RecordedSettings(replies=file)))


@pytest.mark.parametrize(
    ("rows", "status", "kept"),
    [
        ([{"reply": UNUSABLE}], "missing_tag", 1),
        ([{"reply": UNUSABLE}, {"reply": BETTER, "parse_attempt": 1}], "ok", 2),
        ([{"reply": "Cut", "finish_reason": "length"}, {"reply": BETTER, "parse_attempt": 1}], "ok", 2),
        ([{"reply": BETTER}, {"reply": UNUSABLE, "parse_attempt": 1}], "ok", 1),
    ],
)
def test_a_recording_is_asked_for_the_tries_it_has(
    ledger: Ledger, tmp_path: Path, rows: list[dict[str, Any]], status: str, kept: int
) -> None:
    (one,) = reflect_pairs(RESPONSE_REFLECTION, PAIRS[:1], recorded(tmp_path, *rows), ledger)
    assert (one.status, one.output) == (status, "The Baltic Sea." if status == "ok" else None)
    assert [row.reply.error for row in ledger.all_since()] == [None] * kept


# --- a ledger of the version before there were second tries

VERSION_1 = """
create table teacher_replies (
    request_id text primary key, seq integer not null unique, teacher text not null, identity text not null,
    phase text not null, content_id text not null, payload text not null, reply text, finish_reason text,
    prompt_tokens integer, completion_tokens integer, attempts integer not null, latency_s real, cost_usd real,
    error text, created_at text not null
) strict
"""


def test_a_ledger_of_version_1_is_read_on_and_what_it_knows_is_not_asked(tmp_path: Path) -> None:
    teacher, path = opened(always(REWRITE)), tmp_path / "old.sqlite"
    old = teacher.request(INSTRUCTION_REFLECTION, PAIRS[0])
    who = [old.request_id, 1, "gpt", "m", old.phase, old.content_id, json.dumps(old.payload())]
    answer = [REWRITE, "stop", 400, 100, 1, 2.0, None, None, "2025-01-31T12:00:00.000+00:00"]
    with sqlite_file(path) as connection:
        connection.execute(VERSION_1)
        connection.execute(f"insert into teacher_replies values ({', '.join('?' * 16)})", who + answer)
        connection.execute("pragma user_version = 1")
    with Ledger(path) as ledger:
        assert outcomes(teacher, ledger) == ["ok"] * 3
        first = next(ledger.all_since())
    assert (first.reply.request_id, first.parse_attempt, first.reply.usage) == (old.request_id, 0, None)
    assert [one.content_id for one in asked(teacher)] == [pair.pair_id for pair in PAIRS[1:]]
    with sqlite_file(path) as connection:
        assert connection.execute("pragma user_version").fetchone() == (SCHEMA_VERSION,)
