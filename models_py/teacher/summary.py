"""The replies of one phase in numbers. What nobody reported is None, never 0.

Made by `Ledger.summary`; shown on the pages of the reflection assets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_PERCENTILES = (50, 90, 99)
_DIGITS = 6  # of dollars and seconds


@dataclass(frozen=True, slots=True)
class RepliesSummary:
    """Replies that arrived. Sums are over those that reported a value, None when none did.

    second_tries: replies asked for because an earlier one about the same pair could not be used. latencies_s: seconds
    of the last call of each reply that has one, ascending.
    """

    replies: int
    second_tries: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    replies_of_unknown_cost: int
    latencies_s: Sequence[float]

    def known(self) -> dict[str, int | float]:
        """Every number that is known, by name, latencies as percentiles (`latency_p50_s`)."""
        latencies = {f"latency_p{p}_s": percentile(self.latencies_s, p) for p in _PERCENTILES}
        numbers = {
            "replies": self.replies,
            "second_tries": self.second_tries,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": self.cost_usd,
            "replies_of_unknown_cost": self.replies_of_unknown_cost,
            **latencies,
        }
        return {name: round(number, _DIGITS) for name, number in numbers.items() if number is not None}


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The value below which `percent` of 100 lie, interpolated between neighbours as `quantile_cont` of SQL does."""
    if not ascending:
        return None
    place = (len(ascending) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)
