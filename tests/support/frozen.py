"""A small lake whose recipe `paper` has frozen sets and checkpoints, and changes between them."""

import json
from typing import Any

import dagster as dg

from assets.training.training_pairs import training_pairs
from dagster_project.lakehouse.lake import Commit, Lake
from tests.sql.story import Story, Text, refresh

REWRITE = Text(ifd=0.9, r_ifd=0.9)


def tell(lake: Lake) -> Lake:
    """Four pairs, of which recipe `paper` keeps three; d's answer was not reflected."""
    story = Story(lake)
    story.recipe("paper", "paper")
    for place, pair in enumerate("abc", start=1):
        story.pair(pair, Text(ifd=0.2 * place), REWRITE, both=Text(ifd=0.9 - 0.1 * place, r_ifd=0.3))
    story.pair("d", Text(ifd=0.5), "refused")
    story.tell()
    places = "update raw.raw_pairs set source = 's', file = 'pairs.jsonl', source_row = ascii(pair_id) - 96"
    lake.write(lambda connection: connection.execute(places), Commit("where they are"))
    return lake


def change(lake: Lake, *statements: str) -> None:
    def all_of_them(connection: Any) -> None:
        for statement in statements:
            connection.execute(statement)

    lake.write(all_of_them, Commit("a change"))
    refresh(lake)


def freeze(lake: Lake) -> str:
    with dg.build_asset_context(resources={"lake": lake}) as context:
        made = training_pairs("paper")(context)
    assert isinstance(made, dg.MaterializeResult) and made.data_version
    return made.data_version.value


def train(lake: Lake, version: str, made: str = "c0ffee000001", snapshot_id: int | None = None) -> None:
    """Record a checkpoint of the set, made where the lake is now, or on that snapshot."""
    kept = lake.scalar("select count(*) from training.training_pairs where data_version = ?", [version])
    snapshot_id = snapshot_id or lake.snapshot_id()
    manifest = {"recipe": "paper", "data_version": version, "snapshot_id": snapshot_id, "rows": kept}
    row = {key: manifest[key] for key in ("recipe", "data_version", "snapshot_id")}
    manifest |= {"dropped": [], "loss_before": 2.0, "loss_after": 1.0, "steps": 1, "seconds": 1.0}
    row |= {"checkpoint_id": made, "path": f"checkpoints/paper/{made}", "manifest": json.dumps(manifest)}
    lake.append({"training.student_checkpoints": [row]}, Commit("checkpoint"))
