"""How models differ, with what the rows that happened to be asked leave open.

    compared = compare(values, weights, models, subjects)      # (N, M) each: what model m gave on row n, what it counts
    compared[0].estimate, compared[0].by_seed, compared[0].against["base"]

A metric of a model is the sum of its values over the sum of their weights: a loss a token, a share of right answers. A
subject is the models of one recipe, one a training seed; its value is their mean. Intervals are the middle 95 % over
rows drawn anew (percentile bootstrap). Every resample draws the same rows for all models, so the interval around a
difference is paired: what makes a row hard for everybody does not widen it. Training seeds are not drawn, but shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_py.evaluation.intervals import RESAMPLES, Estimate, Values, interval

_AT_ONCE = 4_000_000  # counts of drawn rows held in memory


@dataclass(frozen=True, slots=True)
class Subject:
    """models: by training seed, None of a base. references: what it is compared with -> the name of that subject."""

    name: str
    models: Mapping[int | None, str]
    references: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """estimate: of the mean over training seeds. against: reference -> how much more this subject has than that."""

    subject: Subject
    estimate: Estimate
    by_seed: Mapping[int | None, float]
    against: Mapping[str, Estimate]


def compare(
    values: Values, weights: Values, models: Sequence[str], subjects: Sequence[Subject], seed: int = 0
) -> list[Compared]:
    """Every subject all of whose models are among `models`, the columns; a reference that is not is left out.

    Raises ValueError without rows.
    """
    if not len(values):
        raise ValueError("there is nothing to compare")
    place = {model: at for at, model in enumerate(models)}
    there = {one.name: one for one in subjects if place.keys() >= set(one.models.values())}
    columns = {name: [place[model] for model in one.models.values()] for name, one in there.items()}
    measured = values.sum(0) / weights.sum(0)  # (M,)
    drawn = _drawn(values, weights, seed)  # (R, M)

    def estimate(name: str, other: str | None = None) -> Estimate:
        value, spread = measured[columns[name]].mean(), drawn[:, columns[name]].mean(1)
        if other is not None:
            value, spread = value - measured[columns[other]].mean(), spread - drawn[:, columns[other]].mean(1)
        return Estimate(float(value), *interval(spread), len(values))

    return [
        Compared(
            one,
            estimate(name),
            {seed: float(measured[place[model]]) for seed, model in one.models.items()},
            {role: estimate(name, other) for role, other in one.references.items() if other in there},
        )
        for name, one in there.items()
    ]


def _drawn(values: Values, weights: Values, seed: int) -> NDArray[np.float64]:
    """Each model's metric in each resample of the rows, (R, M)."""
    n, draw = len(values), np.random.default_rng(seed)
    found, left = [], RESAMPLES
    while left:
        some = min(left, max(1, _AT_ONCE // n))
        times = draw.multinomial(n, np.full(n, 1 / n), some).astype(np.float64)  # (some, N) how often each is drawn
        found.append((times @ values) / (times @ weights))
        left -= some
    return np.concatenate(found)
