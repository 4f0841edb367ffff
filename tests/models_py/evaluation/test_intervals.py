"""Shares and areas against values worked out by hand, intervals against what is known of them."""

import numpy as np
import pytest

from models_py.evaluation.intervals import mean, roc_auc, share


def test_a_share_has_the_interval_of_its_binomial() -> None:
    found = share(np.array([True] * 70 + [False] * 30))
    assert (found.value, found.n) == (0.7, 100)
    # normal approximation: 0.7 ± 1.96 * sqrt(0.7 * 0.3 / 100) = 0.610 to 0.790
    assert found.low == pytest.approx(0.61, abs=0.015)
    assert found.high == pytest.approx(0.79, abs=0.015)


def test_what_always_holds_has_no_spread() -> None:
    found = share(np.array([True] * 5))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("good", "bad", "area"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([1.0, 3.0], [2.0, 4.0], 0.5),  # 3 > 2 is won, 1 > 4 is not; 1 and 2 are of one pair, and 3 and 4
        ([1.0, 2.0], [2.0, 0.0], 0.75),  # 1 > 0 is won, 2 and 2 are a tie
    ],
)
def test_the_area_counts_won_comparisons(good: list[float], bad: list[float], area: float) -> None:
    assert roc_auc(np.array(good), np.array(bad)).value == area


def test_the_interval_of_an_area_holds_it_and_narrows_with_pairs() -> None:
    draw = np.random.default_rng(5)
    wide, narrow = (roc_auc(draw.normal(1, 1, n), draw.normal(0, 1, n)) for n in (20, 500))
    for found in (wide, narrow):
        assert found.low <= found.value <= found.high
        assert found.low < 0.7602 < found.high  # the area of two normals one standard deviation apart
    assert narrow.high - narrow.low < (wide.high - wide.low) / 3


def test_texts_that_hardly_differ_do_not_push_the_interval_off_its_value() -> None:
    lengths = np.random.default_rng(3).integers(20, 400, 200).astype(float)
    found = roc_auc(lengths, lengths + 1)
    assert found.low < found.value < found.high


def test_the_same_seed_gives_the_same_interval() -> None:
    holds = np.array([True] * 501 + [False] * 499)
    assert share(holds) == share(holds)
    assert share(holds, seed=1) != share(holds, seed=2)


def test_nothing_to_measure_is_no_zero() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        share(np.array([], dtype=bool))
    with pytest.raises(ValueError, match="nothing to measure"):
        roc_auc(np.array([1.0]), np.array([0.5]))


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    found = mean(np.array([0.0, 1.0] * 200))
    assert (found.value, found.n) == (0.5, 400)
    assert found.low == pytest.approx(0.451, abs=0.006)
    assert found.high == pytest.approx(0.549, abs=0.006)
    assert mean(np.full(7, 0.25)).low == mean(np.full(7, 0.25)).high == 0.25
