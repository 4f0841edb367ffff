"""Every pair is in one part, and parts are about as large as was asked."""

import random
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dagster_project.lakehouse.parts import parts_of_pairs
from tests.support.properties import examples


@given(st.integers(0, 10**7), st.integers(1, 10**6), st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex)))
@examples(200)
def test_every_id_is_in_one_part(pairs: int, most: int, ids: list[str]) -> None:
    parts = parts_of_pairs(pairs, most)
    assert 1 <= len(parts) <= 256
    assert (parts[0][0], parts[-1][1]) == ("", "g")
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert all(sum(low <= pair_id < high for low, high in parts) == 1 for pair_id in ids)


def test_parts_of_random_ids_are_about_as_large_as_was_asked() -> None:
    chance = random.Random(7)
    ids = [chance.randbytes(32).hex() for _ in range(10_000)]
    parts = parts_of_pairs(len(ids), 1_000)
    sizes = Counter(next(part for part in parts if part[0] <= pair_id < part[1]) for pair_id in ids)
    assert len(sizes) == 11
    assert max(sizes.values()) < 1_100
