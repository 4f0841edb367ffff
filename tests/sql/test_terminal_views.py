"""What the terminal ends a run with: rows at each stage, what was chosen, which model came of it."""

from datetime import datetime

from dagster_project.lakehouse.lake import Lake
from tests.sql.story import Story, Text

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
    for number, losses in enumerate(((9.0, 8.0), (3.5, 2.25))):
        manifest = f'{{"loss_before": {losses[0]}, "loss_after": {losses[1]}}}'
        at = datetime(2026, 1, 1 + number)
        row = {"recipe": "paper", "checkpoint_id": str(number), "path": f"/w/{number}", "created_at": at}
        story.add("training.student_checkpoints", **row, manifest=manifest)
    return story.tell()


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


def test_a_recipe_shows_its_newest_checkpoint_or_none(lake: Lake) -> None:
    columns = "recipe, policy, kept, checkpoint_id, path, loss_before, loss_after"
    rows = told(lake).read(f"select {columns} from training.recipe_checkpoints order by recipe").rows()
    assert rows == [("paper", "paper", 2, "1", "/w/1", 3.5, 2.25), ("raw", "original", 3, None, None, None, None)]


def test_a_lake_without_rows_shows_zeros(lake: Lake) -> None:
    assert set(lake.read("select row_count from selection.stage_counts")["row_count"]) == {0}
    assert lake.read("from selection.choice_outcomes").is_empty()
