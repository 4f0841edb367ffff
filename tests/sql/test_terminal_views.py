"""What the terminal ends a run with: rows at each stage, what was chosen, which model came of it."""

import json
from datetime import datetime

from dagster_project.lakehouse.lake import Lake
from models_py.content import canonical_json
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze

REWRITE = Text(ifd=0.9, r_ifd=0.9)


def told(lake: Lake) -> Lake:
    story = Story(lake)
    story.recipe("paper", "paper")
    story.recipe("raw", "original")
    story.add("raw.quarantined_rows", source="s", file="s", source_row=9, reason="no JSON")
    story.pair("a", Text(ifd=0.5), REWRITE, both=Text(r_ifd=0.3))
    story.pair("b", Text(ifd=0.5), REWRITE, both=Text(r_ifd=0.95))
    story.pair("c", Text(ifd=0.5), "refused", response=Text(r_ifd=0.3))
    story.pair("d", Text(ifd=None, r_ifd=None, status="not_finite"), "refused")
    settings = {name: TrainingSettings(seed=seed) for name, seed in (("paper", 1), ("raw", 2))}
    for recipe, its in settings.items():
        story.add("profile.training_settings", recipe=recipe, settings=canonical_json(its.hashed).decode())
    # The current checkpoint of `paper` is older, by the clock of then, than one of other settings.
    for year, seed, losses in ((2026, 1, (3.5, 2.25)), (2027, 9, (9.0, 8.0))):
        made = checkpoint_id("paper", "v1", "fp-toy", TrainingSettings(seed=seed))
        row = {"recipe": "paper", "checkpoint_id": made, "path": f"checkpoints/paper/{seed}", "data_version": "v1"}
        manifest = json.dumps({"loss_before": losses[0], "loss_after": losses[1]})
        story.add("training.student_checkpoints", **row, manifest=manifest, created_at=datetime(year, 1, 1))
    return freeze(story.tell(), "v1", "where recipe = 'paper'")


def test_rows_at_each_stage(lake: Lake) -> None:
    rows = told(lake).read("select stage, row_count from selection.stage_counts order by place").rows()
    assert rows == [
        ("quarantined", 1),
        ("raw pairs", 4),
        ("instructions reflected", 2),
        ("answers reflected", 3),
        ("chosen", 3),
    ]


def test_every_outcome_has_a_row_also_where_nobody_chose_it(lake: Lake) -> None:
    rows = told(lake).read("select outcome, pairs, share from selection.choice_outcomes order by place").rows()
    assert rows == [
        ("original", 0, 0.0),
        ("instruction", 1, 0.25),
        ("response", 1, 0.25),
        ("both", 1, 0.25),
        ("dropped", 1, 0.25),
    ]


def test_a_recipe_shows_its_current_checkpoint_or_none(lake: Lake) -> None:
    columns = "recipe, policy, kept, path, loss_before, loss_after"
    rows = told(lake).read(f"select {columns} from training.recipe_checkpoints order by recipe").rows()
    assert rows == [
        ("paper", "paper", 2, "checkpoints/paper/1", 3.5, 2.25),
        ("raw", "original", 3, None, None, None),
    ]


def test_a_lake_without_rows_shows_zeros(lake: Lake) -> None:
    assert set(lake.read("select row_count from selection.stage_counts")["row_count"]) == {0}
    assert lake.read("from selection.choice_outcomes").is_empty()
