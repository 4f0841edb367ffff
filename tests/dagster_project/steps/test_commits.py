"""Batches of a long step: full, timely, complete, in order."""

import time
from collections.abc import Iterator
from itertools import islice

import pytest

from dagster_project.steps.commits import commit_batches


def test_batches_are_full_but_the_last() -> None:
    assert list(commit_batches(range(7), rows=3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_nothing_makes_no_batch() -> None:
    assert list(commit_batches([], rows=3)) == []


def test_a_full_last_batch_is_not_followed_by_an_empty_one() -> None:
    assert list(commit_batches(range(4), rows=2)) == [[0, 1], [2, 3]]


def test_slow_items_are_committed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def slow() -> Iterator[int]:
        nonlocal now
        for i in range(5):
            now += 10.0
            yield i

    assert list(commit_batches(slow(), rows=100, seconds=25.0)) == [[0, 1, 2], [3, 4]]


def test_items_are_taken_only_as_they_are_needed() -> None:
    source = iter(range(10))
    assert next(commit_batches(source, rows=2)) == [0, 1]
    assert list(islice(source, 1)) == [2]
