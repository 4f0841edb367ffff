"""Rows that hold one pair, or none."""

from collections.abc import Collection, Mapping

from models_py.sources.pairs import Pair, to_pairs


def to_pair(
    record: object, fields: Mapping[str, str] | None = None, no_value: Collection[str] = frozenset()
) -> Pair | str:
    """The only pair of a record, or the reason why there is none."""
    found = to_pairs(record, fields, no_value)
    if isinstance(found, str):
        return found
    (pair,) = found.pairs
    return pair
