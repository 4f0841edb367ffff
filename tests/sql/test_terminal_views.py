"""What the terminal ends a run with: rows at each stage, what was chosen, which model came of it."""

import json
from datetime import datetime

import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from models_py.content import canonical_json
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze, refresh

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
        its_settings = {"training_seed": its.seed, "settings": canonical_json(its.hashed).decode()}
        story.add("profile.training_settings", recipe=recipe, **its_settings)
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


def test_what_was_reflected_on_and_is_no_longer_in_the_sources_does_not_count(lake: Lake) -> None:
    told(lake).write(lambda c: c.execute("delete from raw.raw_pairs where pair_id = 'a'"), Commit("a is gone"))
    refresh(lake)
    counts = dict(lake.read("select stage, row_count from selection.stage_counts").rows())
    assert (counts["raw pairs"], counts["instructions reflected"], counts["answers reflected"]) == (3, 1, 2)


def test_every_outcome_has_a_row_also_where_nobody_chose_it(lake: Lake) -> None:
    rows = told(lake).read("select outcome, pairs, share from selection.choice_outcomes order by place").rows()
    assert rows == [
        ("original", 0, 0.0),
        ("instruction", 1, 0.25),
        ("response", 1, 0.25),
        ("both", 1, 0.25),
        ("dropped", 1, 0.25),
    ]


def test_one_pair_that_a_rewrite_bettered_and_one_whose_rewrite_was_refused(lake: Lake) -> None:
    ratios = ("ifd_original", "ifd_instruction", "r_ifd_base", "r_ifd_reflected")
    columns = ", ".join(["kind, pair_id, kept, other", *(f"round({ratio}, 6)" for ratio in ratios)])
    told(lake)
    assert lake.read(f"select {columns} from selection.choice_examples order by kind").rows() == [
        ("rescued", "a", "both", "original", 0.5, 0.9, 0.9, 0.3),
        ("vetoed", "b", "instruction", "both", 0.5, 0.9, 0.9, 0.95),
    ]


@pytest.mark.parametrize("guarded", [False, True])
def test_a_refused_instruction_shows_more_than_a_refused_answer(lake: Lake, guarded: bool) -> None:
    story = Story(lake, first_choice="guarded" if guarded else "ifd")
    story.recipe("paper", "paper")
    story.pair("a", Text(ifd=0.5, r_ifd=0.99), REWRITE, both=Text(r_ifd=0.95))
    lost = Text(ifd=0.6, r_ifd=0.99) if guarded else Text(ifd=0.4)
    story.pair("b", Text(ifd=0.5, r_ifd=0.2), lost, response=Text(r_ifd=0.1))
    story.pair("c", Text(ifd=0.5, r_ifd=0.2), lost, response=Text(r_ifd=0.3))
    examples = story.tell().read(
        "select pair_id, kept, other, kept_output, other_output from selection.choice_examples where kind = 'vetoed'"
    )
    kept, other = examples["kept_output"].item(), examples["other_output"].item()
    assert examples.select("pair_id", "kept", "other").rows() == [("c", "original", "instruction")]
    assert kept != other


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
    assert lake.read("from selection.choice_examples").is_empty()


def test_what_is_evaluated_are_the_current_checkpoints_and_their_bases(lake: Lake) -> None:
    columns = "model, kind, name, recipe, training_seed, student, path"
    current = checkpoint_id("paper", "v1", "fp-toy", TrainingSettings(seed=1))
    assert told(lake).read(f"select {columns} from evaluation.models order by kind").rows() == [
        ("fp-toy", "base", "toy (base)", None, None, "toy", None),
        (current, "checkpoint", "paper", "paper", 1, "toy", "checkpoints/paper/1"),
    ]
