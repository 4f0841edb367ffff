"""From outcomes, one an instruction, to how often a model wins against another, with what that number is worth.

    rates(np.array([1, 1, 0.5, 0]), lengths=..., opponent_lengths=...)     wins 2, ties 1, losses 1, win rate 0.625

An outcome is a preference from 0 (the opponent's answer) to 1 (the model's), a tie 0.5; judges that say how sure they
are give what lies between. An unreadable verdict is no outcome and is counted elsewhere.

    win rate        mean preference, 0 to 1: a tie is half a win (AlpacaEval's)
    paper's rate    (wins - losses) / outcomes + 1, 0 to 2: 1 is par (arXiv 2402.10110)
    sign test       exact and two-sided, on wins against losses: how often a fair coin does at least as well or as badly
    interval        the middle 95 % of the win rate over resampled instructions
    length control  the win rate had both answers been equally long (length_control.py)
"""

from dataclasses import dataclass

from models_py.evaluation.evaluation_group import needs_evaluation_group
from models_py.evaluation.intervals import Estimate, Values, mean
from models_py.evaluation.length_control import LengthControlled, length_controlled


@dataclass(frozen=True, slots=True)
class WinRate:
    """How a model does against another. sign_test_p is None where nothing was won or lost."""

    wins: int
    ties: int
    losses: int
    win_rate: Estimate
    paper_rate: float
    sign_test_p: float | None
    length_controlled: LengthControlled


def rates(preferences: Values, lengths: Values, opponent_lengths: Values) -> WinRate:
    """preferences: (N,), 0 to 1; lengths: characters of both answers, (N,) each. Raises ValueError without any.

    Raises UserError where the packages of the evaluation group are not installed.
    """
    wins, losses = int((preferences > 0.5).sum()), int((preferences < 0.5).sum())
    return WinRate(
        wins=wins,
        ties=len(preferences) - wins - losses,
        losses=losses,
        win_rate=mean(preferences),
        paper_rate=(wins - losses) / len(preferences) + 1,
        sign_test_p=sign_test(wins, losses),
        length_controlled=length_controlled(preferences, lengths, opponent_lengths),
    )


def sign_test(wins: int, losses: int) -> float | None:
    """How likely so uneven a split is where both are equally good; ties say nothing. None where all is tied."""
    if not wins + losses:
        return None
    with needs_evaluation_group():
        from scipy.stats import binomtest
    return float(binomtest(wins, wins + losses).pvalue)
