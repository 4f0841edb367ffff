"""The rows that docs/data.md shows of what comes out have the columns of their shapes."""

import json

import pytest

from dagster_project.root import PROJECT_ROOT
from models_py.export.shapes import CANDIDATES, SHAPES, Shape

TEXT = (PROJECT_ROOT / "docs" / "data.md").read_text("utf-8").split("\n# What comes out\n")[1]


@pytest.mark.parametrize("shape", [*SHAPES.values(), CANDIDATES], ids=lambda shape: shape.name)
def test_a_row_of_each_shape_is_shown_whole(shape: Shape) -> None:
    block = TEXT.split(f"\n`{shape.name}`, ")[1].split("\n\n    {")[1].split("\n\n")[0]
    assert [*json.loads("{" + block)] == [name for name, column in shape.columns.items() if not column.optional]
