import itertools

from hypothesis import given
from hypothesis import strategies as st

from models_py.student.batching import by_head, chunks, common_head, distinct, plan_batches, plan_packs

LENGTHS = st.lists(st.integers(1, 50))


def test_longest_first_within_the_budget() -> None:
    assert plan_batches([3, 9, 2, 8], token_budget=20) == [[1, 3], [0, 2]]


def test_padding_counts() -> None:
    assert plan_batches([10, 1, 1], token_budget=19) == [[0], [1, 2]]


def test_a_sequence_above_the_budget_stands_alone() -> None:
    assert plan_batches([5, 100, 5], token_budget=10) == [[1], [0, 2]]


@given(LENGTHS, st.integers(1, 200))
def test_every_index_once_and_no_batch_above_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(LENGTHS, st.integers(1, 200))
def test_lengths_fall_through_the_plan(lengths: list[int], budget: int) -> None:
    planned = [lengths[i] for batch in plan_batches(lengths, budget) for i in batch]
    assert planned == sorted(lengths, reverse=True)


@given(st.lists(st.integers(0, 5)))
def test_distinct_items_give_the_list_back(items: list[int]) -> None:
    unique, places = distinct(items)
    assert [unique[place] for place in places] == items
    assert len(set(unique)) == len(unique)


def test_chunks_read_only_what_is_taken() -> None:
    numbers = iter(range(10))
    assert next(chunks(numbers, 3)) == [0, 1, 2]
    assert next(numbers) == 3


def test_packs_count_no_padding() -> None:
    assert plan_packs([3, 9, 2, 8], token_budget=20) == [[1, 3, 0], [2]]
    assert plan_packs([5, 100, 5], token_budget=10) == [[1], [0, 2]]
    assert plan_packs([], token_budget=10) == []


@given(LENGTHS, st.integers(1, 200))
def test_every_index_is_packed_once_longest_first(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, budget)
    assert sorted(itertools.chain(*packs)) == list(range(len(lengths)))
    assert [lengths[i] for pack in packs for i in pack] == sorted(lengths, reverse=True)
    for pack in packs:
        assert len(pack) == 1 or sum(lengths[i] for i in pack) <= budget


@given(st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), max_size=12), st.integers(1, 4))
def test_groups_begin_alike_and_hold_every_index_once(heads: list[tuple[int, ...]], tokens: int) -> None:
    groups = by_head(heads, tokens)
    assert sorted(i for group in groups for i in group) == list(range(len(heads)))
    alike = [group for group in groups if common_head([heads[i] for i in group]) >= tokens and len(group) > 1]
    rest = [group for group in groups if group not in alike]
    assert len(rest) <= 1 and all(group == sorted(group) for group in groups)
    for i in rest[0] if rest else []:  # no two of the rest begin alike for long enough
        assert not any(j != i and len(heads[i]) >= tokens and heads[j][:tokens] == heads[i][:tokens] for j in rest[0])


def test_what_all_begin_with() -> None:
    assert common_head([(1, 2, 3), (1, 2, 4), (1, 2)]) == 2
    assert common_head([(1, 2)]) == 2 and common_head([(1,), (2,)]) == 0 and common_head([(), (1,)]) == 0
