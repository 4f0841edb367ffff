"""Short and long forms of tests that draw their cases from seeds."""

from typing import Any

import pytest


def seeds(short: int, long: int) -> list[Any]:
    """For parametrize: the first `short` seeds always, the others up to `long` under `make soak`."""
    return [*range(short), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(short, long))]
