"""Rates, pauses and second tries under a clock that the tests move: no test waits, every second counts."""

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.teacher.engines.openai import pacing
from models_py.teacher.engines.openai.pacing import CoolDown, TokenBucket, backoff, retry_after, wait
from tests.support.properties import SHARED_FIXTURES, examples

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """Time in which only sleeping takes any: when all tasks sleep, it is the moment at which the first one wakes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken

    def run(self, *jobs: Coroutine[Any, Any, Any]) -> list[Any]:
        return asyncio.run(self._run(jobs))

    async def _run(self, jobs: tuple[Coroutine[Any, Any, Any], ...]) -> list[Any]:
        tasks = [asyncio.create_task(job) for job in jobs]
        while not all(task.done() for task in tasks):
            for _ in range(5):  # all go on until they sleep
                await asyncio.sleep(0)
            if self._sleepers:
                self.now, _, woken = heapq.heappop(self._sleepers)
                woken.set_result(None)
        return [task.result() for task in tasks]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(pacing, "asyncio", SimpleNamespace(sleep=clock.sleep, Lock=asyncio.Lock))
    return clock


async def after(clock: Clock, seconds: float, do: Any) -> None:
    await clock.sleep(seconds)
    do()


async def times(clock: Clock, bucket: TokenBucket, units: float, count: int) -> list[float]:
    """The seconds at which `count` calls of one worker get their units."""
    start, taken = clock.now, []
    for _ in range(count):
        assert await bucket.take(units, Event())
        taken.append(round(clock.now - start, 6))
    return taken


def test_a_wait_lasts_as_long_as_asked(clock: Clock) -> None:
    assert clock.run(wait(7.25, Event())) == [True]
    assert clock.now == pytest.approx(1007.25)


def test_a_stop_ends_a_wait(clock: Clock) -> None:
    stop = Event()
    assert clock.run(wait(600.0, stop), after(clock, 3.0, stop.set))[0] is False
    assert clock.now == pytest.approx(1003.0, abs=0.2)


def test_no_limit_never_waits(clock: Clock) -> None:
    stop = Event()
    assert clock.run(times(clock, TokenBucket(None), 1e9, 3)) == [[0, 0, 0]]
    stop.set()
    assert clock.run(TokenBucket(None).take(1, stop)) == [False]


def test_a_seconds_worth_at_once_then_the_rate(clock: Clock) -> None:
    assert clock.run(times(clock, TokenBucket(120), 1, 6)) == [[0, 0, 0.5, 1, 1.5, 2]]


def test_a_low_rate_is_one_at_a_time(clock: Clock) -> None:
    assert clock.run(times(clock, TokenBucket(6), 1, 4)) == [[0, 10, 20, 30]]


def test_a_call_larger_than_the_bucket_goes_into_debt(clock: Clock) -> None:
    assert clock.run(times(clock, TokenBucket(600), 100, 3)) == [[0, 10, 20]]


def test_workers_share_a_bucket(clock: Clock) -> None:
    bucket = TokenBucket(60)
    taken = clock.run(*(times(clock, bucket, 1, 2) for _ in range(3)))
    assert sorted(itertools.chain(*taken)) == [0, 1, 2, 3, 4, 5]


def test_an_idle_bucket_fills_up_to_a_second(clock: Clock) -> None:
    bucket = TokenBucket(120)
    clock.run(times(clock, bucket, 1, 2), after(clock, 3600.0, int))
    assert clock.run(times(clock, bucket, 1, 4)) == [[0, 0, 0.5, 1]]


def test_units_given_back_can_be_taken_again(clock: Clock) -> None:
    bucket = TokenBucket(600)
    assert clock.run(times(clock, bucket, 10, 1)) == [[0]]
    bucket.give_back(8)
    assert clock.run(times(clock, bucket, 10, 1)) == [[0.2]]
    bucket.give_back(1000)  # never more than the bucket holds
    assert clock.run(times(clock, bucket, 10, 2)) == [[0, 1]]


def test_whoever_waits_gets_at_once_what_is_given_back(clock: Clock) -> None:
    bucket = TokenBucket(600)
    clock.run(times(clock, bucket, 600, 1))
    assert clock.run(times(clock, bucket, 1, 1), after(clock, 5.0, lambda: bucket.give_back(590)))[0] == [5.0]


def test_who_came_first_is_served_first(clock: Clock) -> None:
    bucket, order = TokenBucket(600), []

    async def call(units: int) -> None:
        await bucket.take(units, Event())
        order.append(units)

    clock.run(*map(call, [8, 9, 1, 7, 2]))
    assert order == [8, 9, 1, 7, 2]


def test_whoever_is_stopped_takes_nothing(clock: Clock) -> None:
    bucket, stop = TokenBucket(60), Event()
    clock.run(times(clock, bucket, 1, 1))
    assert clock.run(bucket.take(30, stop), after(clock, 1.0, stop.set))[0] is False
    assert clock.run(bucket.take(1, stop)) == [False]
    assert clock.run(times(clock, bucket, 1, 1)) == [[0]]


@examples(40, suppress=SHARED_FIXTURES)
@given(per_minute=st.integers(30, 3000), units=st.lists(st.integers(1, 30), min_size=2, max_size=12))
def test_no_stretch_of_time_sees_more_than_its_share(clock: Clock, per_minute: int, units: list[int]) -> None:
    bucket, taken = TokenBucket(per_minute), list[tuple[float, int]]()

    async def call(wanted: int) -> None:
        await bucket.take(wanted, Event())
        taken.append((clock.now, wanted))

    clock.run(*map(call, units))
    rate = per_minute / 60
    for (first, (since, _)), (last, (until, _)) in itertools.combinations(enumerate(taken), 2):
        used = sum(wanted for _, wanted in taken[first + 1 : last + 1])
        assert used <= rate * (until - since) + max(1.0, rate, *units) + 1e-6


def test_a_pause_is_for_all_and_as_long_as_the_longest_said(clock: Clock) -> None:
    pause = CoolDown()
    pause.begin(5.0)
    pause.begin(2.0)

    async def caller() -> float:
        assert await pause.over(Event())
        return clock.now - 1000.0

    assert all(5.0 <= waited <= 5.5 for waited in clock.run(*(caller() for _ in range(20))))


def test_a_pause_can_be_prolonged(clock: Clock) -> None:
    pause = CoolDown()
    pause.begin(5.0)
    clock.run(pause.over(Event()), after(clock, 4.0, lambda: pause.begin(10.0)))
    assert 1014.0 <= clock.now <= 1015.0


@pytest.mark.parametrize("said", [None, 0.0])
def test_where_nothing_is_said_each_pause_in_a_row_is_twice_as_long(clock: Clock, said: float | None) -> None:
    pause, lasted = CoolDown(), []
    for _ in range(4):
        for _ in range(3):  # three calls answered 429 at once are one reason
            pause.begin(said)
        since = clock.now
        clock.run(pause.over(Event()))
        lasted.append(clock.now - since)
    for seconds, least in zip(lasted, [0.5, 1, 2, 4], strict=True):
        assert least <= seconds <= 1.1 * least + 1e-6
    assert pause.lasts_s == pytest.approx(sum(lasted))
    pause.end()
    assert pause.lasts_s == 0


def test_a_pause_ends_with_a_stop(clock: Clock) -> None:
    pause, stop = CoolDown(), Event()
    pause.begin(900.0)
    assert clock.run(pause.over(stop), after(clock, 1.0, stop.set))[0] is False
    assert clock.run(CoolDown().over(stop)) == [False]


@given(attempt=st.integers(1, 2000))
def test_a_backoff_is_a_share_of_a_delay_that_doubles_up_to_a_minute(attempt: int) -> None:
    longest = backoff(attempt, jitter=False)
    assert longest == min(60.0, 0.5 * 2 ** min(attempt - 1, 10))
    assert 0 <= backoff(attempt) <= longest


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30", 30.0),
        ("Sun, 01 Mar 2026 14:00:30 +0200", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.floats(0, 1e6))
def test_retry_after_reads_any_date(seconds: float) -> None:
    date = NOW + timedelta(seconds=int(seconds))
    assert retry_after(format_datetime(date, usegmt=True), NOW) == int(seconds)


NUMBER = st.one_of(st.integers().map(str), st.floats().map(str))
DATE_LIKE = st.lists(
    st.one_of(NUMBER, st.sampled_from(["Mon,", "Jan", "Feb", "GMT", "+9999", "-2500", "12:00:00", "99:99", ":", "."])),
    max_size=7,
).map(" ".join)


@examples(200)
@given(st.one_of(st.text(), NUMBER, DATE_LIKE))
def test_retry_after_never_raises_and_is_never_negative(header: str) -> None:
    seconds = retry_after(header)
    assert seconds is None or 0 <= seconds < float("inf")
