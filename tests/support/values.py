"""What a test knows of a value and a type checker does not; each fails where the test is wrong."""

from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def known(value: T | None) -> T:
    """The value, which is not None."""
    assert value is not None
    return value


def as_a(kind: type[T], value: object) -> T:
    """The value, which is one of that class."""
    assert isinstance(value, kind), value
    return value


def near(value: float, rel: float | None = None) -> Any:
    """`pytest.approx` where a number is expected: as a field, in a tuple."""
    return pytest.approx(value, rel=rel)
