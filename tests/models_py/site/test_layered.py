"""Which box stands where: to the right of what it reads, apart from the others, and with few crossings."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.site.layered import Drawing, layered, reduced

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def columns(drawing: Drawing) -> list[list[str]]:
    """The boxes of each layer, from above."""
    found: list[list[tuple[float, str]]] = [[] for _ in range(drawing.layers)]
    for name, (layer, place) in drawing.boxes.items():
        found[layer].append((place, name))
    return [[name for _, name in sorted(column)] for column in found]


def test_a_box_stands_right_of_all_that_it_reads() -> None:
    assert columns(layered(DIAMOND)) == [["a"], ["b", "c"], ["d"]]
    assert columns(layered({"a": [], "b": ["a"], "c": ["b", "a"]})) == [["a"], ["b"], ["c"]]
    assert layered({}).boxes == {}


def test_what_reads_nothing_stands_just_before_its_reader() -> None:
    first, second, third = columns(layered({"a": [], "late": [], "b": ["a"], "c": ["b", "late"]}))
    assert (first, {*second}, third) == (["a"], {"b", "late"}, ["c"])


def test_an_arrow_over_several_layers_passes_each_beside_the_boxes() -> None:
    drawing = layered({"a": [], "b": ["a"], "c": ["a", "b"]})
    (long,) = [arrow for arrow in drawing.arrows if (arrow.source, arrow.target) == ("a", "c")]
    assert [layer for layer, _ in long.points] == [0, 1, 2]
    _, passed = long.points[1]
    assert abs(passed - drawing.boxes["b"][1]) >= 0.7


def test_arrows_do_not_cross_where_they_need_not() -> None:
    drawing = layered({"a": [], "b": [], "of b": ["b"], "of a": ["a"]})
    (left, right) = columns(drawing)
    assert [name.removeprefix("of ") for name in right] == left


def test_a_shorter_way_is_left_out_where_a_longer_one_leads_there_too() -> None:
    assert reduced({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["a", "c"]}) == {
        "a": [],
        "b": ["a"],
        "c": ["b"],
        "d": ["c"],
    }
    assert reduced(DIAMOND) == DIAMOND


def test_a_circle_is_no_graph() -> None:
    with pytest.raises(ValueError, match="cycle"):
        layered({"a": ["b"], "b": ["a"]})


@given(st.lists(st.lists(st.integers(0, 30), max_size=4, unique=True), max_size=20))
def test_any_graph_is_drawn_without_boxes_on_each_other(read: list[list[int]]) -> None:
    graph = {str(number): [str(one) for one in reads if one < number] for number, reads in enumerate(read)}
    drawing = layered(graph)
    for name, reads in graph.items():
        assert all(drawing.boxes[one][0] < drawing.boxes[name][0] for one in reads)
    for column in columns(drawing):
        assert all(drawing.boxes[low][1] - drawing.boxes[up][1] >= 0.99 for up, low in pairwise(column))
    assert drawing == layered(graph)
