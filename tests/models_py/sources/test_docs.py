"""The rows that docs/data.md shows are read, and as what."""

import json

from dagster_project.root import PROJECT_ROOT
from models_py.conversation import Context, Message
from models_py.sources.pairs import Found, Pair, to_pairs
from tests.support.values import as_a

TEXT = (PROJECT_ROOT / "docs" / "data.md").read_text("utf-8")
SHAPES = TEXT.split("\n## Shapes\n")[1].split("\n## ")[0]
ROWS = [json.loads(line) for line in SHAPES.splitlines() if line.startswith("    {")]
RIVER = (Message("user", "Name a river."), Message("assistant", "The Po."))


def test_each_shape_is_read_as_one_pair() -> None:
    lake = Pair("And a lake?", "", "Lake Garda.", None, Context("You are a guide.", RIVER))
    assert [pair for row in ROWS for pair in as_a(Found, to_pairs(row)).pairs] == [
        Pair("Turn the list into a sentence.", "bread, salt, tea", "Bread, salt and tea are on the list.", None),
        Pair("Where is the ship?", "The Fram lies in Oslo.", "In Oslo.", "closed_qa"),
        Pair("Which sea has the most salt?", "", "The Dead Sea, if one counts it as a sea.", None),
        lake,
        lake,
        Pair("Name a river.", "", "The Po.", None),
        lake,
    ]
    assert f"`{lake.context.history_json}`" in TEXT
