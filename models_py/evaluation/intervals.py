"""Shares, means and areas under the ROC curve with bootstrap intervals.

The unit of every resample is the pair, or the instruction: its texts belong together. Intervals are the middle 95 % of
the resampled values (percentile bootstrap), drawn from a seed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
_COVERED = (2.5, 97.5)

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the interval around it. n: pairs it was measured on."""

    value: float
    low: float
    high: float
    n: int


def share(holds: NDArray[np.bool_], seed: int = 0) -> Estimate:
    """Of how many pairs something holds, (N,) in, 0 to 1 out. Raises ValueError without pairs."""
    n = _counted(len(holds))
    drawn = np.random.default_rng(seed).binomial(n, holds.mean(), RESAMPLES) / n  # what resampling a yes or no comes to
    return Estimate(float(holds.mean()), *interval(drawn), n)


def mean(values: Values, seed: int = 0) -> Estimate:
    """The mean of (N,) values. Raises ValueError without any."""
    n = _counted(len(values))
    random = np.random.default_rng(seed)
    drawn = np.array([values[random.integers(0, n, n)].mean() for _ in range(RESAMPLES)])
    return Estimate(float(values.mean()), *interval(drawn), n)


def roc_auc(good: Values, bad: Values, seed: int = 0) -> Estimate:
    """How often a good text scores above a bad text of another pair, ties counting half; (N,) each, by pair.

    A pair's own two texts are not compared: drawn twice, they would count twice as often as in the data.
    Raises ValueError with fewer than two pairs.
    """
    n = _counted(len(good) - 1) + 1
    wins = (good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])  # (N, N)
    np.fill_diagonal(wins, 0)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)  # (R, N) how often each is drawn
    compared = n**2 - (times**2).sum(1)  # (R,) comparisons of different pairs
    won = np.einsum("rn,nm,rm->r", times, wins, times, optimize=True)
    drawn = won[compared > 0] / compared[compared > 0]
    return Estimate(float(wins.sum() / (n * (n - 1))), *interval(drawn), n)


def interval(drawn: Values) -> tuple[float, float]:
    """The middle 95 % of resampled values, (R,)."""
    low, high = np.percentile(drawn, _COVERED)
    return float(low), float(high)


def _counted(n: int) -> int:
    if n == 0:
        raise ValueError("there is nothing to measure")
    return n
