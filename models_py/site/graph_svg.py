"""The lineage of tables as a picture (SVG without script): boxes that link to their pages, arrows to what reads.

Drawn when the site is made, so it needs nothing to be seen; colours come from the page's style sheet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models_py.site.content import Table
from models_py.site.layered import Arrow, Graph, layered

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 222, 34, 52, 12, 12


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    table: Table
    address: str
    is_focus: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What the template draws; all lengths in pixels."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: list[Box]
    paths: list[tuple[str, bool]]  # SVG's `d`, and whether it begins or ends at the focus


def picture(reads: Graph, tables: Mapping[str, Table], address: Callable[[str], str], focus: str = "") -> Picture:
    """Of these tables, with the arrows of `reads`; `focus` is the one that the page is about."""
    drawing = layered(reads)
    boxes = [
        Box(_x(layer), _y(place), tables[name], address(name), name == focus)
        for name, (layer, place) in sorted(drawing.boxes.items(), key=lambda box: box[1])
    ]
    paths = [(_path(arrow), focus in (arrow.source, arrow.target)) for arrow in drawing.arrows]
    width = drawing.layers * (_WIDTH + _GAP_X) - _GAP_X + 2 * _EDGE
    height = round(drawing.height * (_HEIGHT + _GAP_Y)) - _GAP_Y + 2 * _EDGE
    return Picture(max(width, 1), max(height, 1), _WIDTH, _HEIGHT, boxes, paths)


def _x(layer: int) -> int:
    return _EDGE + layer * (_WIDTH + _GAP_X)


def _y(place: float) -> float:
    return round(_EDGE + place * (_HEIGHT + _GAP_Y), 1)


def _path(arrow: Arrow) -> str:
    """Level through the layers that it passes, and bent between them."""
    (first, place), *rest = arrow.points
    x, y = _x(first) + _WIDTH, _y(place) + _HEIGHT / 2
    parts = [f"M{x},{y:.1f}"]
    for layer, place in rest:
        to_x, to_y = _x(layer), _y(place) + _HEIGHT / 2
        bend = (to_x - x) / 2
        parts.append(f"C{x + bend:.0f},{y:.1f} {to_x - bend:.0f},{to_y:.1f} {to_x},{to_y:.1f}")
        x, y = to_x, to_y
        if layer != rest[-1][0]:
            x = to_x + _WIDTH
            parts.append(f"H{x}")
    return "".join(parts)
