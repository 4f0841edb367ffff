"""evaluation.comparison_subjects: who stands beside whom, and who is no rival because its rows are more or fewer."""

import json
from pathlib import Path

from dagster_project.lakehouse.lake import Lake
from models_py.content import canonical_json
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze


def test_each_recipe_has_the_rivals_of_its_number_of_rows(tmp_path: Path) -> None:
    story = Story(Lake(tmp_path / "lake"), response_reflection="all")
    rows = {"paper": 40, "gated": 30, "original": 60, "a_random": 30, "random": 40, "longest": 40}
    policies = {"gated": "paper_gated", "a_random": "random_rows", "random": "random_rows"}
    for recipe in rows:
        story.recipe(recipe, policies.get(recipe, recipe))
    story.pair("a", Text(ifd=0.4), Text(ifd=0.5, r_ifd=0.9), response=Text(r_ifd=0.7), both=Text(r_ifd=0.3))
    settings = TrainingSettings()
    for recipe, count in rows.items():
        made = checkpoint_id(recipe, "v", "fp-toy", settings)
        manifest = json.dumps({"rows": count, "target_tokens": 10 * count, "steps": 5})
        checkpoint = {"recipe": recipe, "checkpoint_id": made, "data_version": "v", "path": "p", "manifest": manifest}
        story.add("training.student_checkpoints", **checkpoint, student_fingerprint="fp-toy")
        hashed = canonical_json(settings.hashed).decode()
        story.add("profile.training_settings", recipe=recipe, training_seed=0, settings=hashed)
    lake = freeze(story.tell(), "v")
    found = lake.read(
        "select subject, row_count, target_tokens, base, original, random_rows, longest "
        "from evaluation.comparison_subjects order by kind = 'base', subject"
    )
    toy = "toy (base)"
    assert found.rows() == [
        ("a_random", 30, 300, toy, "original", None, None),
        ("gated", 30, 300, toy, "original", "a_random", None),
        ("longest", 40, 400, toy, "original", "random", None),
        ("original", 60, 600, toy, None, None, None),
        ("paper", 40, 400, toy, "original", "random", "longest"),
        ("random", 40, 400, toy, "original", None, "longest"),
        (toy, None, None, None, None, None, None),
    ]
