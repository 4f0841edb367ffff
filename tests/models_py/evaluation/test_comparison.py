"""Comparisons on values that can be worked out: means by seed, ratios by token, pairs that take the spread away."""

import numpy as np
import pytest

from models_py.evaluation.comparison import Subject, compare

BASE = Subject("base", {None: "b"}, {})
TWO = Subject("two", {0: "m0", 1: "m1"}, {"base": "base"})


def test_a_subject_is_the_mean_of_its_seeds_and_each_is_shown() -> None:
    values = np.array([[2.0, 1.0, 3.0], [4.0, 2.0, 6.0]])
    weights = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    base, two = compare(values, weights, ["b", "m0", "m1"], [BASE, TWO])
    assert base.estimate.value == 6 / 4 and base.against == {}
    assert two.by_seed == {0: 3 / 4, 1: 9 / 4}
    assert (two.estimate.value, two.estimate.n) == (1.5, 2)
    assert two.against["base"].value == 0


def test_a_constant_difference_has_no_interval_however_uneven_the_rows() -> None:
    rows = np.random.default_rng(1).normal(5, 3, 40)
    values = np.stack([rows, rows - 0.5, rows - 0.5], axis=1)
    base, two = compare(values, np.ones_like(values), ["b", "m0", "m1"], [BASE, TWO])
    assert base.estimate.high - base.estimate.low > 1
    against = two.against["base"]
    assert (against.value, against.low, against.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    rows = np.random.default_rng(2).normal(0, 1, 400)
    [base] = compare(rows[:, None], np.ones((400, 1)), ["b"], [BASE])
    error = rows.std() / 20
    assert base.estimate.low == pytest.approx(rows.mean() - 1.96 * error, abs=0.2 * error)
    assert base.estimate.high == pytest.approx(rows.mean() + 1.96 * error, abs=0.2 * error)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    held, draw = 0, np.random.default_rng(3)
    for _ in range(200):
        pairs = draw.normal(0, 1, (60, 1)) + draw.normal([0.0, 0.3, 0.3], 0.5, (60, 3))
        *_, two = compare(pairs, np.ones((60, 3)), ["b", "m0", "m1"], [BASE, TWO])
        held += two.against["base"].low <= 0.3 <= two.against["base"].high
    assert 0.90 <= held / 200 <= 0.99


def test_what_is_not_among_the_columns_is_not_compared() -> None:
    values = np.ones((3, 2))
    [two] = compare(values, values, ["m0", "m1"], [BASE, TWO])
    assert two.subject.name == "two" and two.against == {}
    [base] = compare(values, values, ["b", "m0"], [BASE, TWO])
    assert base.subject.name == "base"


def test_many_rows_are_drawn_in_parts_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(0, 1, (50, 1))
    whole = compare(values, np.ones((50, 1)), ["b"], [BASE])
    monkeypatch.setattr("models_py.evaluation.comparison._AT_ONCE", 777)
    assert compare(values, np.ones((50, 1)), ["b"], [BASE]) == whole


def test_nothing_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        compare(np.ones((0, 1)), np.ones((0, 1)), ["b"], [BASE])
