"""A graph without circles, drawn from left to right: which box stands where, and along which points its arrows go.

    drawing = layered({"a": [], "b": ["a"], "c": ["a", "b"]})      # name -> what it reads
    drawing.boxes["b"], drawing.arrows[0].points

After Sugiyama: a box stands one layer right of the rightmost that it reads; an arrow over several layers has a place of
its own in each; places in a layer are sorted by the mean place of their neighbours, back and forth, and the order with
the fewest crossings stays; then all move as near to their neighbours as the distance lets them. The same graph gives
the same drawing. What other ways lead to already is not left out: see `reduced`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

_SWEEPS = 12
_PULLS = 40
_THIN = 0.45  # room of an arrow that passes, in boxes

Node = str | tuple[str, str, int]  # a box, or where an arrow passes a layer
Graph = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Arrow:
    """points: (layer, place) of its beginning, of the layers it passes, and of its end."""

    source: str
    target: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """boxes: name -> (layer, place), both from 0; a place is as high as a box with its distance."""

    boxes: Mapping[str, tuple[int, float]]
    arrows: Sequence[Arrow]
    layers: int
    height: float


def reduced(reads: Graph) -> dict[str, list[str]]:
    """The graph without the arrows beside which a longer way leads to the same box."""
    above: dict[str, set[str]] = {}
    for name in TopologicalSorter(reads).static_order():
        above[name] = set(reads[name]).union(*(above[read] for read in reads[name]))
    return {
        name: [read for read in direct if not any(read in above[other] for other in direct)]
        for name, direct in reads.items()
    }


def layered(reads: Graph) -> Drawing:
    """reads: every box -> the boxes that lead to it, which are boxes too.

    Raises graphlib.CycleError for a circle.
    """
    layer = _layers(reads)
    chains = [(read, name, _chain(read, name, layer)) for name in reads for read in sorted(reads[name])]
    before: dict[Node, list[Node]] = {}
    after: dict[Node, list[Node]] = {}
    columns: list[list[Node]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in reads:
        columns[layer[name]].append(name)
    for _, _, chain in chains:
        for node in chain[1:-1]:
            columns[_layer_of(node, layer)].append(node)
        for one, other in pairwise(chain):
            after.setdefault(one, []).append(other)
            before.setdefault(other, []).append(one)
    columns = _uncrossed(columns, before, after)
    place = _placed(columns, before, after)
    arrows = [
        Arrow(read, name, tuple((_layer_of(node, layer), place[node]) for node in chain))
        for read, name, chain in chains
    ]
    boxes = {name: (layer[name], place[name]) for name in reads}
    return Drawing(boxes, arrows, len(columns), max(place.values(), default=-1.0) + 1)


def _layers(reads: Graph) -> dict[str, int]:
    """As far left as what is read allows; what reads nothing stands just before the first that reads it."""
    layer: dict[str, int] = {}
    read_by: dict[str, list[str]] = {name: [] for name in reads}
    for name in TopologicalSorter(reads).static_order():
        layer[name] = max((layer[read] + 1 for read in reads[name]), default=0)
        for read in reads[name]:
            read_by[read].append(name)
    for name, readers in read_by.items():
        if not reads[name] and readers:
            layer[name] = min(layer[reader] for reader in readers) - 1
    return layer


def _chain(read: str, name: str, layer: Mapping[str, int]) -> list[Node]:
    return [read, *((read, name, place) for place in range(layer[read] + 1, layer[name])), name]


def _layer_of(node: Node, layer: Mapping[str, int]) -> int:
    return layer[node] if isinstance(node, str) else node[2]


Neighbours = Mapping[Node, Sequence[Node]]


def _uncrossed(columns: list[list[Node]], before: Neighbours, after: Neighbours) -> list[list[Node]]:
    """Each column in the order of its neighbours' mean places, as it crosses least in all sweeps."""
    best, fewest = columns, _crossings(columns, after)
    for sweep in range(_SWEEPS):
        rightwards = sweep % 2 == 0
        columns = [[*column] for column in columns]
        numbers = range(1, len(columns)) if rightwards else range(len(columns) - 2, -1, -1)
        for number in numbers:
            place = {node: index for index, node in enumerate(columns[number - 1 if rightwards else number + 1])}
            near = before if rightwards else after
            means = {
                node: _mean([place[one] for one in near.get(node, ())], index)
                for index, node in enumerate(columns[number])
            }
            columns[number].sort(key=lambda node: means[node])
        crossings = _crossings(columns, after)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(columns: Sequence[Sequence[Node]], after: Neighbours) -> int:
    found = 0
    for left, right in pairwise(columns):
        place = {node: index for index, node in enumerate(right)}
        ends = [end for node in left for end in sorted(place[one] for one in after.get(node, ()))]
        found += sum(ends[one] > ends[other] for one in range(len(ends)) for other in range(one + 1, len(ends)))
    return found


def _placed(columns: Sequence[Sequence[Node]], before: Neighbours, after: Neighbours) -> dict[Node, float]:
    """Where each stands in its column: near the mean of its neighbours, in order, none too near another."""
    place: dict[Node, float] = {}
    for column in columns:
        place |= dict(zip(column, _apart(column, [0.0] * len(column)), strict=True))
    for pull in range(_PULLS):
        for column in columns if pull % 2 == 0 else columns[::-1]:
            wanted = [
                _mean([place[one] for one in (*before.get(node, ()), *after.get(node, ()))], place[node])
                for node in column
            ]
            place |= dict(zip(column, _apart(column, wanted), strict=True))
    top = min(place.values(), default=0.0)
    return {node: round(value - top, 3) for node, value in place.items()}


def _apart(column: Sequence[Node], wanted: Sequence[float]) -> list[float]:
    """The places nearest to those wanted (least squares) that keep order and distance: pool adjacent violators."""
    offsets, room = [], 0.0
    for index, node in enumerate(column):
        if index:
            room += (_height(column[index - 1]) + _height(node)) / 2
        offsets.append(room)
    pools: list[list[float]] = []  # sum, number
    for value, offset in zip(wanted, offsets, strict=True):
        pools.append([value - offset, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, number = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += number
    levels = [total / number for total, number in pools for _ in range(int(number))]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _height(node: Node) -> float:
    return 1.0 if isinstance(node, str) else _THIN
