"""A phase's replies in numbers: sums of what was reported, percentiles as in SQL, nothing for what is unknown."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from models_py.teacher.ledger import Ledger, RepliesSummary, percentile
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, TeacherReply
from tests.support.engines import request


@pytest.fixture
def ledger(place: LedgerPlace) -> Iterator[Ledger]:
    with Ledger(place) as opened:
        yield opened


def record(ledger: Ledger, text: str, *, phase: str = RESPONSE_REFLECTION, again: int = 0, **reply: Any) -> None:
    asked = replace(request(text, phase), parse_attempt=again)
    ledger.record(asked, TeacherReply(asked.request_id, **({"reply": "Baltic."} | reply)))


def test_a_summary_is_of_the_phase_and_the_teachers_and_of_replies_that_came(ledger: Ledger) -> None:
    record(ledger, "a", prompt_tokens=7, completion_tokens=3, cost_usd=0.5, latency_s=2.0)
    record(ledger, "b", again=1, prompt_tokens=5, latency_s=1.0)
    record(ledger, "c", reply=None, error="timeout", latency_s=9.0)
    record(ledger, "d", phase=INSTRUCTION_REFLECTION)
    assert ledger.summary(RESPONSE_REFLECTION, ["fake"]) == RepliesSummary(2, 1, 12, 3, 0.5, 1, [1.0, 2.0])
    assert ledger.summary(RESPONSE_REFLECTION, ["other"]) == RepliesSummary(0, 0, None, None, None, 0, [])


def test_percentiles_are_those_of_sql() -> None:
    values = [0.5, 1.0, 4.0, 9.0, 20.0]
    expected = pl.Series(values).quantile(0.9, "linear")
    assert [percentile(values, p) for p in (0, 50, 90, 100)] == pytest.approx([0.5, 4.0, expected, 20.0])
    assert (percentile([3.0], 99), percentile([], 50)) == (3.0, None)


def test_what_is_unknown_is_left_out() -> None:
    counts = {"replies": 0, "second_tries": 0, "replies_of_unknown_cost": 0}
    assert RepliesSummary(0, 0, None, None, None, 0, []).known() == counts
    latencies = {"latency_p50_s": 2.0, "latency_p90_s": 2.0, "latency_p99_s": 2.0}
    free = {**counts, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0, **latencies}
    assert RepliesSummary(0, 0, 0, 0, 0.0, 0, [2.0]).known() == free
