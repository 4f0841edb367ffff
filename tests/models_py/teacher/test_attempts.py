"""Another parser reads stored replies again: the first that can be used counts, and nobody is asked without need."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.teacher import attempts, replies_file
from models_py.teacher.attempts import Attempt, counting
from models_py.teacher.estimate import estimate
from models_py.teacher.ledger import Ledger, LedgerRow
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher, Try
from models_py.teacher.parser import ParsedReply, Status
from models_py.teacher.reflect_pairs import Reflection, reflect_pairs
from models_py.teacher.replies_file import current_replies, export_replies, import_replies
from models_py.teacher.request import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    PendingPair,
    Sampling,
    TeacherReply,
    TeacherRequest,
)
from tests.support.engines import REWRITE, UNUSABLE, Scripted, asked, opened, said, seas, second_parser
from tests.support.files import sqlite_file
from tests.support.properties import examples
from tests.support.values import as_a

PAIRS = seas(4)
FIN = REWRITE.replace("[End]", "[Fin]")  # what only the next parser can use


@pytest.fixture
def ledger(place: LedgerPlace) -> Iterator[Ledger]:
    with Ledger(place) as opened_ledger:
        yield opened_ledger


def nobody(_: TeacherRequest) -> TeacherReply:
    raise AssertionError("asked")


def outcomes(teacher: OpenTeacher, ledger: Ledger, pairs: Sequence[PendingPair] = PAIRS) -> dict[str, Reflection]:
    return {one.pair.pair_id: one for one in reflect_pairs(INSTRUCTION_REFLECTION, pairs, teacher, ledger)}


def by_pair(*scripts: Sequence[str]) -> Callable[[TeacherRequest], TeacherReply]:
    """What is said to the tries of each pair in turn, without a sign of a meant end, which forgives a missing tag."""
    script_of = dict(zip([pair.pair_id for pair in PAIRS], scripts, strict=False))
    return lambda request: said(request, script_of[request.content_id][request.parse_attempt], "abort")


OLD = by_pair([REWRITE], [UNUSABLE, FIN, REWRITE], [UNUSABLE] * 3, [FIN, UNUSABLE, FIN])


def test_a_better_parser_takes_the_first_it_can_use_and_asks_nobody(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = outcomes(opened(OLD), ledger)
    assert [old[pair.pair_id].status for pair in PAIRS] == ["ok", "ok", "missing_tag", "missing_tag"]
    second_parser(monkeypatch)
    teacher = opened(nobody)
    new = outcomes(teacher, ledger)
    number = {row.reply.request_id: row.parse_attempt for row in ledger.all_since()}
    told = [(new[pair.pair_id].status, number[new[pair.pair_id].request_id]) for pair in PAIRS]
    assert told == [("ok", 0), ("ok", 1), ("missing_tag", 2), ("ok", 0)]
    assert new[PAIRS[0].pair_id] == old[PAIRS[0].pair_id]
    assert estimate(teacher, PAIRS, ledger, bases=0).missing == 0
    assert export_replies(ledger, tmp_path / "out.jsonl", teacher) == 1 + 2 + 3 + 1


def test_a_stricter_parser_asks_on_only_where_tries_are_left(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as looser:
        second_parser(looser)
        outcomes(opened(by_pair([FIN], [UNUSABLE, FIN], [UNUSABLE, UNUSABLE, FIN], [REWRITE])), ledger)
    teacher = opened(lambda request: said(request, REWRITE))
    assert {one.status for one in outcomes(teacher, ledger, [PAIRS[2]]).values()} == {"missing_tag"}
    assert {one.status for one in outcomes(teacher, ledger).values()} == {"ok", "missing_tag"}
    told = [(one.content_id, one.parse_attempt, one.sampling.seed) for one in asked(teacher)]
    assert told == [(PAIRS[0].pair_id, 1, 1), (PAIRS[1].pair_id, 2, 2)]


def test_tries_of_another_sampling_prompt_or_phase_are_other_tries(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes(opened(OLD), ledger)
    second_parser(monkeypatch)
    warm = opened(lambda request: said(request, UNUSABLE), sampling=Sampling(0.9), parse_attempts=0)
    assert {one.status for one in outcomes(warm, ledger).values()} == {"missing_tag"}
    assert len(asked(warm)) == 4
    other_phase = opened(lambda request: said(request, UNUSABLE), parse_attempts=0)
    assert len(list(reflect_pairs(RESPONSE_REFLECTION, PAIRS, other_phase, ledger))) == len(asked(other_phase)) == 4


def test_a_ledger_whose_first_tries_were_left_out_of_an_import_asks_only_where_none_can_be_used(
    ledger: Ledger, tmp_path: Path
) -> None:
    """As a complaint of `make import-replies` proposes to do with a line."""
    teacher = opened(by_pair([REWRITE], [UNUSABLE, REWRITE], [UNUSABLE] * 3, [UNUSABLE, UNUSABLE, REWRITE]))
    expected = outcomes(teacher, ledger)
    export_replies(ledger, tmp_path / "out.jsonl", teacher)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("ascii").splitlines()]
    kept = [json.dumps(line) for line in lines if line["parse_attempt"]]
    (tmp_path / "in.jsonl").write_text("\n".join(kept), "ascii")
    with Ledger(tmp_path / "other.sqlite") as other:
        import_replies(other, tmp_path / "in.jsonl")
        again = opened(as_a(Scripted, teacher.engine))
        asked(teacher).clear()
        assert outcomes(again, other) == expected
        assert [(one.content_id, one.parse_attempt) for one in asked(again)] == [
            (PAIRS[0].pair_id, 0),
            (PAIRS[2].pair_id, 0),
        ]


# ── any statuses under two parsers ─────────────────────────────────────────────────────────────────────────────────
# A reply is here `<status to parser 0>|<status to parser 1>`.

STATUSES = st.sampled_from(["ok", "missing_tag", "truncated", "empty"])
TEXTS = st.tuples(STATUSES, STATUSES).map("|".join)
SCRIPTS = st.lists(st.lists(st.none() | TEXTS, min_size=6, max_size=6), min_size=1, max_size=4)  # None: an error


@contextmanager
def reading(place: int) -> Iterator[None]:
    def parse(_: str, reply: str | None, finish_reason: str | None, error: str | None = None) -> ParsedReply:
        if error is not None:
            return ParsedReply("failed")
        status: Any = str(reply).split("|")[place]
        return ParsedReply(status, None, *(("x", "y") if status == "ok" else (None, None)))

    with pytest.MonkeyPatch.context() as patch:
        for module in (attempts, replies_file):
            patch.setattr(module, "parse_reply", parse)
        yield


def scripted(scripts: Sequence[Sequence[str | None]], stop_after: int | None = None) -> Scripted:
    script_of = dict(zip([pair.pair_id for pair in PAIRS], scripts, strict=False))

    def say(request: TeacherRequest) -> TeacherReply:
        text = script_of[request.content_id][request.parse_attempt]
        return TeacherReply(request.request_id, error="timeout") if text is None else said(request, text)

    return Scripted(say, stop_after=stop_after)


def stored(ledger: Ledger) -> dict[str, list[LedgerRow]]:
    rows: defaultdict[str, list[LedgerRow]] = defaultdict(list)
    for row in ledger.all_since():
        if row.reply.error is None:
            rows[row.content_id].append(row)
    return rows


def status(row: LedgerRow) -> str:
    return str(row.reply.reply).split("|")[1]


def is_raised(row: LedgerRow) -> bool:
    return bool(json.loads(row.payload)["sampling"]["max_tokens"] > Sampling().max_tokens)


def may_ask(rows: Sequence[LedgerRow], parse_attempts: int) -> bool:
    """Whether tries are left after these, none of which can be used: how many there are decides, and the last."""
    raised = any(map(is_raised, rows))
    if rows and status(rows[-1]) == "truncated":
        return not raised
    return not rows or len(rows) - 1 - raised < parse_attempts


@pytest.mark.slow
@examples(150)
@given(SCRIPTS, SCRIPTS, st.integers(0, 3), st.none() | st.integers(0, 12))
def test_the_first_usable_counts_and_the_engine_is_asked_only_where_tries_are_left(
    first: list[list[Any]], second: list[list[Any]], parse_attempts: int, stop_after: int | None
) -> None:
    count = min(len(first), len(second))
    pairs, names = PAIRS[:count], [pair.pair_id for pair in PAIRS[:count]]
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "teacher.sqlite") as ledger:
        with reading(0):
            outcomes(opened(scripted(first, stop_after), parse_attempts=parse_attempts), ledger, pairs)
        before = stored(ledger)
        teacher = opened(scripted(second), parse_attempts=parse_attempts)
        with reading(1):
            found = outcomes(teacher, ledger, pairs)
            exported = {row.content_id: row.reply.request_id for row in current_replies(ledger, teacher)}
        for name in names:
            rows, requests = before[name], [one for one in asked(teacher) if one.content_id == name]
            usable = [row for row in rows if status(row) == "ok"]
            assert bool(requests) == (not usable and may_ask(rows, parse_attempts))
            if usable:
                assert found[name].request_id == usable[0].reply.request_id
            elif not requests:
                assert (found[name].request_id, found[name].status) == (rows[-1].reply.request_id, status(rows[-1]))
            assert [one.parse_attempt for one in requests] == list(range(len(rows), len(rows) + len(requests)))
            if found[name].status != "failed":
                assert exported[name] == found[name].request_id
        assert not {one.request_id for one in asked(teacher)} & {r.reply.request_id for n in names for r in before[n]}
        with reading(1):
            again = opened(scripted(second), parse_attempts=parse_attempts)
            assert outcomes(again, ledger, pairs) == found
            assert {one.content_id for one in asked(again)} == {n for n in names if found[n].status == "failed"}


@examples(150)
@given(st.dictionaries(st.integers(0, 5), STATUSES), st.lists(STATUSES, min_size=6, max_size=6))
def test_whatever_is_stored_a_usable_reply_counts_and_no_stored_one_is_asked_for(
    kept: dict[int, str], script: list[str]
) -> None:
    teacher = opened(scripted([[f"|{status}" for status in script]]), parse_attempts=2)
    tries = sorted(teacher.tries(), key=lambda one: (one.parse_attempt, one.raised))
    first = teacher.request(INSTRUCTION_REFLECTION, PAIRS[0])
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "teacher.sqlite") as ledger, reading(1):
        requests = {place: teacher.again(first, tries[place]) for place in kept}
        for place, request in requests.items():
            ledger.record(request, said(request, f"|{kept[place]}"))
        (outcome,) = outcomes(teacher, ledger, PAIRS[:1]).values()
        usable = [place for place in sorted(kept) if kept[place] == "ok"]
        if usable:
            assert (outcome.request_id, asked(teacher)) == (requests[usable[0]].request_id, [])
        known = {request.request_id for request in requests.values()}
        ids = [one.request_id for one in asked(teacher)]
        assert not known & set(ids) and len(ids) == len(set(ids)) <= 4
        assert set(ids) <= {teacher.again(first, one).request_id for one in tries}
        asked(teacher).clear()
        (again,) = outcomes(teacher, ledger, PAIRS[:1]).values()
        assert asked(teacher) == []
        assert again == outcome or "ok" not in (again.status, outcome.status)


# ── the parts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def attempt(number: int, status: Status, *, raised: bool = False) -> Attempt:
    return Attempt(Try(number, raised), TeacherReply(f"{number} {raised}"), ParsedReply(status))


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([], []),
        ([attempt(1, "empty"), attempt(0, "empty")], [0, 1]),
        ([attempt(0, "empty"), attempt(1, "ok"), attempt(2, "ok")], [0, 1]),
        ([attempt(0, "empty"), attempt(2, "empty")], [0]),
        ([attempt(1, "empty")], []),
        ([attempt(0, "empty"), attempt(2, "ok")], [0, 2]),
    ],
)
def test_what_counts_ends_with_the_first_usable_or_before_a_gap(given: list[Attempt], numbers: list[int]) -> None:
    assert [one.this_try.parse_attempt for one in counting(given)] == numbers


def test_of_two_with_one_number_the_usable_one_counts_else_that_with_the_raised_limit() -> None:
    zero, plain, raised = attempt(0, "empty"), attempt(1, "empty"), attempt(1, "empty", raised=True)
    assert counting([raised, plain, zero]) == [zero, raised]
    usable = replace(plain, parsed=ParsedReply("ok"))
    assert counting([raised, usable, zero]) == [zero, usable]


@pytest.mark.parametrize("parse_attempts", [0, 1, 3])
def test_every_try_that_can_be_reached_is_known(parse_attempts: int) -> None:
    teacher = opened(nobody, parse_attempts=parse_attempts)
    reached, waiting = set(), [FIRST_TRY]
    while waiting:
        one = waiting.pop()
        reached.add(one)
        following = (teacher.next_try(one, status) for status in ("empty", "truncated"))
        waiting += [following_try for following_try in following if following_try]
    tries = list(teacher.tries())
    assert (set(tries), len(tries)) == (reached, len(reached))


def test_another_try_of_a_request_is_the_request_of_that_try() -> None:
    teacher = opened(nobody)
    first = teacher.request(INSTRUCTION_REFLECTION, PAIRS[0])
    for one in teacher.tries():
        assert teacher.again(first, one) == teacher.request(INSTRUCTION_REFLECTION, PAIRS[0], one)


def test_second_tries_are_found(ledger: Ledger) -> None:
    outcomes(opened(by_pair([REWRITE], [UNUSABLE, REWRITE], [UNUSABLE] * 3, [REWRITE])), ledger)
    ids = [pair.pair_id for pair in PAIRS]
    assert ledger.asked_again("m", INSTRUCTION_REFLECTION, ids) == set(ids[1:3])
    assert ledger.asked_again("m", INSTRUCTION_REFLECTION, ids[:2]) == {ids[1]}
    assert ledger.asked_again("other", INSTRUCTION_REFLECTION, ids) == set()
    assert ledger.asked_again("m", RESPONSE_REFLECTION, ids) == set()


def test_second_tries_are_looked_up_in_their_index(tmp_path: Path) -> None:
    with Ledger(tmp_path / "teacher.sqlite") as ledger, sqlite_file(tmp_path / "teacher.sqlite") as file:
        statements: list[str] = []
        ledger._store._connection.set_trace_callback(statements.append)
        ledger.asked_again("m", INSTRUCTION_REFLECTION, ["a"])
        plan = file.execute(f"explain query plan {statements[0]}").fetchall()
    assert any("USING" in row[3] and "INDEX second_tries" in row[3] for row in plan)
