"""The plan of a training: every row as often as asked for, in packs that fit, whatever the settings."""

import itertools
from collections import Counter
from typing import Any

import pytest
from accelerate.data_loader import SeedableRandomSampler  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from models_py.training.plan import Step, best_fit, planned, spent, utilisation
from models_py.training.settings import Budget, TrainingSettings


def plan(lengths: list[int], targets: list[int] | None = None, **settings: Any) -> list[Step]:
    return planned(lengths, targets or [1] * len(lengths), TrainingSettings(**settings))


def test_each_epoch_goes_through_all_rows_once_in_another_order() -> None:
    steps = plan([5] * 11, epochs=2, batch_size=4, device_batch_size=2, seed=3)
    assert [len(step.rows) for step in steps] == [4, 4, 3, 4, 4, 3]
    first, second = ([row for step in half for row in step.rows] for half in (steps[:3], steps[3:]))
    assert sorted(first) == sorted(second) == list(range(11)) and first != second
    assert [len(step.passes) for step in steps] == [2] * 6
    assert [round(step.epoch, 3) for step in steps] == [0.364, 0.727, 1, 1.364, 1.727, 2]


def test_the_order_is_that_of_the_first_release() -> None:
    """Whose trainer drew it with this sampler of accelerate's."""
    sampler = SeedableRandomSampler(range(11), data_seed=3)
    drawn = [[*sampler], [*sampler]]
    steps = plan([5] * 11, epochs=2, batch_size=4, device_batch_size=2, seed=3)
    assert [row for step in steps for row in step.rows] == [*drawn[0], *drawn[1]]


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"epochs": 2.5}, [4, 4, 3, 4, 4, 3, 4, 4]),  # of 3 steps an epoch, 7.5: the last one counts whole
        ({"max_steps": 4}, [4, 4, 3, 4]),
        ({"budget": Budget(steps=4), "epochs": 9}, [4, 4, 3, 4]),
        ({"budget": Budget(rows=9)}, [4, 4, 1]),
        ({"budget": Budget(rows=13)}, [4, 4, 3, 2]),
        ({"budget": Budget(target_tokens=1)}, [1]),
        ({"budget": Budget(target_tokens=30)}, [4, 1]),  # 7 tokens a row: 28 are too few
        ({"budget": Budget(target_tokens=77)}, [4, 4, 3]),
        ({"epochs": 0.1}, [4]),
    ],
)
def test_a_training_ends_where_it_is_told_to(settings: dict[str, Any], sizes: list[int]) -> None:
    steps = plan([9] * 11, [7] * 11, batch_size=4, device_batch_size=4, **settings)
    assert [len(step.rows) for step in steps] == sizes
    assert spent(steps, [9] * 11, [7] * 11) == {
        "rows_seen": sum(sizes),
        "target_tokens_seen": 7 * sum(sizes),
        "tokens_seen": 9 * sum(sizes),
    }


def test_nothing_to_train_on_is_no_plan_that_never_ends() -> None:
    for lengths, targets in (([], []), ([3], [0])):
        with pytest.raises(ValueError, match="nothing to train on"):
            planned(lengths, targets, TrainingSettings(budget=Budget(target_tokens=5)))


def test_the_example_of_the_docstring() -> None:
    assert best_fit([3, 9, 2, 8], 10) == [[1], [3, 2], [0]]
    assert best_fit([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]
    assert best_fit([4, 12, 4], 10) == [[1], [0, 2]]
    assert best_fit([], 10) == []


lengths_and_limit = st.integers(1, 40).flatmap(
    lambda limit: st.tuples(st.lists(st.integers(1, limit), min_size=1, max_size=60), st.just(limit))
)


@given(lengths_and_limit)
def test_packs_hold_every_row_once_and_never_more_than_the_limit(drawn: tuple[list[int], int]) -> None:
    lengths, limit = drawn
    packs = best_fit(lengths, limit)
    assert sorted(itertools.chain(*packs)) == list(range(len(lengths)))
    loads = [sum(lengths[row] for row in pack) for pack in packs]
    assert max(loads) <= limit
    assert sum(sorted(loads)[:2]) > limit or len(packs) == 1  # no two packs would fit into one
    assert 0 < utilisation([Step((tuple(range(len(lengths))),), 1.0)], lengths, limit) <= 1


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 5),
)
def test_packing_changes_no_step_and_processes_share_every_pass(
    rows: list[tuple[int, int]], batch: int, passes: int, processes: int, seed: int
) -> None:
    lengths, targets = [length for length, _ in rows], [target for _, target in rows]
    common: dict[str, Any] = {"epochs": 2, "batch_size": batch * passes, "device_batch_size": batch, "seed": seed}
    padded = planned(lengths, targets, TrainingSettings(**common))
    packed = planned(lengths, targets, TrainingSettings(**common, packing=True, max_length=30))
    assert [sorted(step.rows) for step in padded] == [sorted(step.rows) for step in packed]
    assert [step.epoch for step in padded] == [step.epoch for step in packed]
    assert set(Counter(row for step in packed for row in step.rows).values()) == {2}
    assert all(len(rows) <= batch for step in padded for rows in step.passes)
    assert all(sum(lengths[row] for row in rows) <= 30 * batch for step in packed for rows in step.passes)
    for step in (*padded, *packed):
        shares = [step.of_process(rank, processes) for rank in range(processes)]
        assert len({len(share) for share in shares}) == 1
        assert sorted(row for share in shares for rows in share for row in rows) == sorted(step.rows)
