"""Win rates, sign tests and length control against hand-made tables, published ablations and published verdicts."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from models_py.errors import UserError
from models_py.evaluation.intervals import Values
from models_py.evaluation.length_control import length_controlled
from models_py.evaluation.win_rate import rates, sign_test

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
needs_statistics = pytest.mark.usefixtures("statistics")


@pytest.fixture
def statistics() -> None:
    pytest.importorskip("statsmodels", reason="needs the evaluation group")


def outcomes(wins: int, ties: int, losses: int) -> Values:
    return np.array([1.0] * wins + [0.5] * ties + [0.0] * losses)


@needs_statistics
def test_wins_ties_and_losses_make_both_rates() -> None:
    found = rates(outcomes(3, 1, 2), np.arange(6, dtype=np.float64), np.zeros(6))
    assert (found.wins, found.ties, found.losses) == (3, 1, 2)
    assert found.win_rate.value == pytest.approx((3 + 0.5) / 6)
    assert found.paper_rate == pytest.approx((3 - 2) / 6 + 1)


# Wins and losses that the paper reports of its full method against each ablation, on 218 prompts.
@needs_statistics
@pytest.mark.parametrize(
    ("against", "wins", "losses", "p"),
    [
        ("perplexity", 64, 55, 0.46),
        ("ifd_only", 58, 53, 0.70),
        ("reflect_both", 68, 53, 0.20),
        ("random_choice", 81, 43, 0.0008),
        ("one win is nothing", 1, 0, 1.0),
        ("five of five", 5, 0, 2 * 0.5**5),
    ],
)
def test_the_sign_test_weighs_wins_against_losses(against: str, wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, rel=0.03), against
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_ties_alone_have_no_sign_test() -> None:
    assert sign_test(0, 0) is None


@needs_statistics
def test_the_interval_is_the_one_of_resampled_instructions() -> None:
    found = rates(outcomes(60, 20, 20), np.zeros(100), np.ones(100)).win_rate
    # standard error: sqrt((60 * 0.3**2 + 20 * 0.2**2 + 20 * 0.7**2) / 100) / 10 = 0.04
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - 0.0784, abs=0.006)
    assert found.high == pytest.approx(0.7 + 0.0784, abs=0.006)


def test_without_outcomes_there_is_no_rate() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        rates(np.array([]), np.array([]), np.array([]))


# --- length control


@needs_statistics
def test_a_judge_that_only_likes_length_makes_neither_model_better() -> None:
    draw = np.random.default_rng(3)
    shorter, longer = draw.uniform(100, 500, 4000), draw.uniform(300, 900, 4000)
    # the longer of both answers wins with odds that grow with the difference
    odds = 2.0 * np.tanh((longer - shorter) / (longer - shorter).std())
    preferences = (draw.uniform(size=4000) < 1 / (1 + np.exp(-odds))).astype(float)
    assert preferences.mean() > 0.7
    found = length_controlled(preferences, longer, shorter)
    assert found.rate == pytest.approx(0.5, abs=0.04)
    assert found.low is not None and found.high is not None and found.low < 0.5 < found.high
    assert found.slope is not None and found.slope == pytest.approx(-2.0, abs=0.25)


@needs_statistics
def test_where_lengths_do_not_matter_the_rate_is_the_plain_one() -> None:
    preferences = np.array([1.0, 0.0, 1.0, 1.0] * 2)
    lengths = np.array([10.0] * 4 + [30.0] * 4)
    found = length_controlled(preferences, lengths, np.full(8, 20.0))
    assert found.rate == pytest.approx(0.75)
    assert found.slope == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("preferences", "lengths", "reason"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "every answer wins"),
        ([0.0, 0.0], [1.0, 2.0], "every answer loses"),
        ([1.0, 0.0, 1.0], [5.0, 5.0, 5.0], "differ by the same everywhere"),
        ([0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], "lengths alone tell"),
        ([1.0, 0.5, 0.0], [1.0, 2.0, 3.0], "lengths alone tell"),
        ([0.5], [1.0], "differ by the same everywhere"),
    ],
)
def test_where_no_rate_can_be_told_the_reason_is(preferences: list[float], lengths: list[float], reason: str) -> None:
    found = length_controlled(np.array(preferences), np.array(lengths), np.zeros(len(lengths)))
    assert (found.rate, found.low, found.high, found.slope) == (None, None, None, None)
    assert found.reason is not None and reason in found.reason


def test_preferences_on_another_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        length_controlled(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.zeros(2))


def test_without_the_evaluation_group_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("statsmodels", "scipy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UserError, match="make setup WITH=evaluation"):
        sign_test(3, 1)
    with pytest.raises(UserError, match="make setup WITH=evaluation"):
        length_controlled(np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0]), np.zeros(3))


# --- published verdicts


def published(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (SHARED / name).read_text("utf-8").splitlines()]


@needs_shared
@needs_statistics
def test_the_published_verdicts_on_the_method_come_out_as_published() -> None:
    rows = published("alpaca_eval_verdicts.jsonl")
    lengths = {side: np.array([len(str(row[f"output_{side}"])) for row in rows], float) for side in (1, 2)}
    found = rates(np.array([float(str(row["preference"])) - 1 for row in rows]), lengths[2], lengths[1])
    assert (found.wins, found.ties, found.losses) == (635, 0, 170)
    assert 100 * found.win_rate.value == pytest.approx(78.882, abs=0.0005)
    assert found.paper_rate == pytest.approx(2 * 0.78882, abs=1e-5)
    assert found.sign_test_p is not None and found.sign_test_p < 1e-60
    controlled = found.length_controlled
    assert controlled.rate is not None and controlled.slope is not None
    assert 100 * controlled.rate == pytest.approx(38.82, abs=0.005)
    assert controlled.slope == pytest.approx(-2.535, abs=0.0005)
    assert math.log(controlled.rate / (1 - controlled.rate)) == pytest.approx(-0.4547, abs=0.00005)


@needs_shared
@needs_statistics
def test_weighted_verdicts_come_out_as_published() -> None:
    rows = published("alpaca_eval_weighted.jsonl")
    lengths = {side: np.array([float(str(row[f"chars_{side}"])) for row in rows]) for side in (1, 2)}
    found = rates(np.array([float(str(row["preference"])) - 1 for row in rows]), lengths[2], lengths[1])
    assert 100 * found.win_rate.value == pytest.approx(2.5915, abs=0.00005)
    assert found.win_rate.low < found.win_rate.value < found.win_rate.high
    assert found.length_controlled.rate is not None and found.length_controlled.rate > found.win_rate.value
