"""The win rate had both answers been equally long: judges like long answers, and training changes lengths.

A logistic regression of the preference on the difference of lengths, read where that is 0:

    logit p = a * tanh(d / std(d)) + b        d = characters of the opponent's answer - characters of the model's
    rate    = sigmoid(b)                      std over all instructions, without Bessel's correction

It is AlpacaEval 2's regression (arXiv 2404.04475) in plain: without a penalty and without the difficulty of each
instruction, which only its authors have. The interval is sigmoid(b -+ 1.96 standard errors), which are those that hold
for preferences between 0 and 1 too (Huber-White). Where every preference goes with the lengths no rate can be told, and
the reason is.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from models_py.evaluation.evaluation_group import needs_evaluation_group
from models_py.evaluation.intervals import Values

_ERRORS = 1.959964  # standard errors to the ends of a 95 % interval


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A rate from 0 to 1 with its interval, all None where `reason` says why there is none.

    slope: a of the regression; below 0 where the judge prefers the longer answer.
    """

    rate: float | None = None
    low: float | None = None
    high: float | None = None
    slope: float | None = None
    reason: str | None = None


def length_controlled(preferences: Values, lengths: Values, opponent_lengths: Values) -> LengthControlled:
    """preferences: (N,), 0 to 1; lengths: characters of both answers, (N,) each.

    Raises UserError where statsmodels is not installed.
    """
    if ((preferences < 0) | (preferences > 1)).any():
        raise ValueError("preferences lie from 0 to 1")
    difference = opponent_lengths - lengths
    spread = float(difference.std())
    if not spread:
        return LengthControlled(reason="the lengths of both answers differ by the same everywhere")
    longer = np.tanh(difference / spread)
    if reason := _undecidable(longer, preferences):
        return LengthControlled(reason=reason)
    return _fitted(longer, preferences)


def _undecidable(longer: Values, preferences: Values) -> str | None:
    """Why no finite a and b are the likeliest; None where some are."""
    won, lost = longer[preferences > 0], longer[preferences < 1]  # what is neither a win nor a loss is in both
    if not len(won) or not len(lost):
        return f"every answer {'loses' if len(lost) else 'wins'}, whatever its length"
    if won.min() >= lost.max() or won.max() <= lost.min():
        return "the lengths alone tell every win from every loss"
    return None


def _fitted(longer: Values, preferences: Values) -> LengthControlled:
    with needs_evaluation_group():
        from statsmodels.genmod.families import Binomial
        from statsmodels.genmod.generalized_linear_model import GLM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what came of it is looked at below
        columns = np.column_stack([longer, np.ones_like(longer)])
        fit = GLM(preferences, columns, family=Binomial()).fit(cov_type="HC0")
    (slope, intercept), error = map(float, fit.params), float(fit.bse[1])
    if not fit.converged or not math.isfinite(intercept) or not math.isfinite(error):
        return LengthControlled(reason="the regression on lengths does not converge")
    low, high = (_sigmoid(intercept + side * _ERRORS * error) for side in (-1, 1))
    return LengthControlled(_sigmoid(intercept), low, high, slope)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
