"""Short and long forms of tests: cases drawn from seeds, longer times. `make soak` shows what they measured."""

import json
import sys
from typing import Any

import pytest


def seeds(short: int, long: int) -> list[Any]:
    """For parametrize: the first `short` seeds always, the others up to `long` under `make soak`."""
    return [*range(short), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(short, long))]


def long_form(*values: Any) -> Any:
    """For parametrize: a case that runs only under `make soak`."""
    return pytest.param(*values, marks=pytest.mark.soak)


def tell(**figures: object) -> None:
    """What a test measured, for docs/reliability.md; pytest shows it with -rP."""
    sys.stdout.write(json.dumps(figures) + "\n")
