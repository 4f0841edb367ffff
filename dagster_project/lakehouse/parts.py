"""A lake's pairs in parts, for queries whose texts would not fit into memory all at once."""

from itertools import pairwise

_MOST_PARTS = 256


def parts_of_pairs(pairs: int, most: int) -> list[tuple[str, str]]:
    """Ranges of pair ids (from, up to but without), each of about `most` of so many pairs, or fewer, in order.

    Ids are hexadecimal, and random. A view reads no more of its tables than a range has, if it is asked by `pair_id`.
    """
    count = min(pairs // most + 1, _MOST_PARTS)
    return list(pairwise(["", *(f"{_MOST_PARTS * part // count:02x}" for part in range(1, count)), "g"]))
