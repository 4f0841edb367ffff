"""How a client behaves towards a server: rates, waiting, trying again. Pure timing, no network.

    TokenBucket       so many units a minute, shared by all calls
    CoolDown          after 429 everybody waits, once, as long as the server says
    backoff           full jitter: a random share of a delay that doubles
    retry_after       what a server said in Retry-After, in seconds or as a date

Waiting ends early when `stop` is set: every `wait` says whether to go on.
"""

import asyncio
import math
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event

_LONGEST_BACKOFF_S = 60.0
_FIRST_BACKOFF_S = 0.5
_LOOK_S = 0.1  # how often a wait looks whether it shall stop
_BURST_S = 1.0  # of a rate, what may be used at once
_ROUNDING = 1e-9  # of a unit: sums of seconds times a rate


async def wait(seconds: float, stop: Event) -> bool:
    """Sleeps; False as soon as `stop` is set."""
    until = time.monotonic() + seconds
    while not stop.is_set():
        left = until - time.monotonic()
        if left <= 0:
            return True
        await asyncio.sleep(min(left, _LOOK_S))
    return False


class TokenBucket:
    """At most `per_minute` units a minute and a second's worth at once, first come, first served; None is no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._rate = per_minute / 60 if per_minute else math.inf
        self._capacity = max(1.0, self._rate * _BURST_S)
        self._level = self._capacity
        self._filled = time.monotonic()
        self._turn = asyncio.Lock()

    async def take(self, units: float, stop: Event) -> bool:
        """Takes `units` when they are there; a call larger than the bucket needs it full and leaves it in debt.

        False: stopped.
        """
        if math.isinf(self._rate):
            return not stop.is_set()
        async with self._turn:
            while (missing := min(units, self._capacity) - self._filled_level()) > _ROUNDING:
                if not await wait(min(missing / self._rate, _LOOK_S), stop):
                    return False
            if stop.is_set():
                return False
            self._level -= units
            return True

    def give_back(self, units: float) -> None:
        """Units that were taken and not used."""
        if not math.isinf(self._rate):
            self._level = self._filled_level() + units

    def _filled_level(self) -> float:
        now = time.monotonic()
        self._level = min(self._capacity, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return self._level


class CoolDown:
    """One pause for all calls, begun or prolonged by whoever is told to slow down."""

    def __init__(self) -> None:
        self._until = 0.0
        self._since: float | None = None
        self._in_a_row = 0

    def begin(self, said_s: float | None) -> None:
        """Pause for what the server said; where it said nothing, longer each time in a row."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        if now >= self._until:  # several calls answered 429 in one pause are one reason to wait
            self._in_a_row += 1
        pause = said_s or backoff(self._in_a_row, jitter=False)  # 0, or a date that has passed, says nothing
        self._until = max(self._until, now + pause)

    def end(self) -> None:
        """A call came through."""
        self._since, self._in_a_row = None, 0

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self._until

    @property
    def lasts_s(self) -> float:
        """Seconds since the first 429 after which no call came through."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    async def over(self, stop: Event) -> bool:
        """Waits until the pause is over, and a little apart from the others. False: stopped."""
        while (left := self._until - time.monotonic()) > 0:
            if not await wait(left + random.uniform(0, min(1.0, 0.1 * left)), stop):
                return False
        return not stop.is_set()


def backoff(attempt: int, *, jitter: bool = True) -> float:
    """Seconds to wait after the `attempt`-th failure, from 1."""
    longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(attempt - 1, 30))
    return random.uniform(0, longest) if jitter else longest


def retry_after(header: str | None, now: datetime | None = None, *, milliseconds: str | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as an HTTP date; None when it says neither.

    milliseconds: Retry-After-Ms, which says the same more exactly.
    """
    if milliseconds is not None and milliseconds.strip().isdecimal():
        return int(milliseconds) / 1000
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except (ValueError, TypeError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
