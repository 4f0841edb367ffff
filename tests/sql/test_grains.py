"""No two rows of any model agree in its grain: what runs check of stored models only, here of every one."""

from collections.abc import Iterator

import duckdb
import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_models, pending_files, policies
from models_py.content import canonical_json
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze

MODELS = load_models()
OK = {"prompt_version": "v1", "status": "ok"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Two teachers, two students, every policy under two seeds, and what tempts to double rows: tries, equal texts."""
    story = Story(Lake(tmp_path_factory.mktemp("grains")), response_reflection="all")
    story.add("profile.teachers", teacher="b", instruction_prompt_version="v1", response_prompt_version="v1")
    story.student("other", "fp-toy")
    story.student("new", "fp-new")
    for policy in policies():
        story.recipe(f"{policy}_1", policy)
        story.recipe(f"{policy}_2", policy, seed=2, mix=0.5, student="other")
    story.recipe("unscored", "paper", teacher="b", student="new")
    for pair in ("a", "b", "c"):
        story.pair(pair, Text(ifd=0.4), Text(ifd=0.5, r_ifd=0.9), response=Text(r_ifd=0.7), both=Text(r_ifd=0.3))
    story.pair("d", Text(), "refused")
    rewritten = {"pair_id": "a", "content_id": "b-instruction", "instruction": "x' b", "output": "y' b"}
    story.add("reflection.instruction_reflections", teacher="b", **OK, **rewritten)  # the text of another pair
    story.add("reflection.instruction_reflections", teacher="b", pair_id="c", prompt_version="v1", status="failed")
    story.add("reflection.instruction_reflections", teacher="b", pair_id="c", prompt_version="v0", status="ok")
    for source in ("one", "two"):
        story.add("raw.source_counts", source=source)
        for place, reason in enumerate(("row 1 is no pair", "row 22 is no pair", "field 'a' is empty")):
            story.add("raw.quarantined_rows", source=source, file="f", source_row=place, reason=reason)
    for recipe in ("paper_1", "paper_2"):
        for number in (1, 2):
            made = checkpoint_id(recipe, "v", "fp-toy", TrainingSettings(seed=number))
            row = {"recipe": recipe, "checkpoint_id": made, "data_version": "v", "path": "p", "manifest": "{}"}
            story.add("training.student_checkpoints", **row)
            settings = canonical_json(TrainingSettings(seed=number).hashed).decode()
            story.add("profile.training_settings", recipe=recipe, training_seed=number, settings=settings)
    _add_evaluation(story)
    _evaluate(story)
    for number, phase in enumerate(("instruction_reflection", "response_reflection") * 2):
        story.add("reflection.teacher_replies", request_id=str(number), teacher="gpt", phase=phase, status="ok")
    with freeze(story.tell(), "v").connect() as connection:
        yield connection


def _evaluate(story: Story) -> None:
    """Two held-out sets that share a row, two tasks that make a mean, for a checkpoint and its base."""
    groups = '[{"group": "all", "metric": "acc", "filters": null, "is_weighted": true}]'
    for task in ("one", "two"):
        story.add("evaluation.benchmark_tasks", benchmark_id=task, task=task, groups=groups)
    for held_out, content_id in (("one", "a"), ("one", "b"), ("two", "a")):
        story.add("evaluation.held_out_rows", held_out=held_out, content_id=content_id)
    for model in ("fp-toy", checkpoint_id("paper_1", "v", "fp-toy", TrainingSettings(seed=1))):
        story.add("evaluation.held_out_scores", model=model, content_id="a", nll=1.0, tokens=2, status="ok")
        for task, metric in (("one", "acc"), ("one", "acc_norm"), ("two", "acc")):
            figure = {"model": model, "benchmark_id": task, "task": task, "metric": metric, "filter": "none", "n": 2}
            story.add("evaluation.benchmark_runs", **figure, value=0.5)


def _add_evaluation(story: Story) -> None:
    """Two checkpoints of a recipe, compared by two judges on two instructions that two sets have, and on a file."""
    checkpoints = [checkpoint_id("paper_1", "v", "fp-toy", TrainingSettings(seed=number)) for number in (1, 2)]
    for place, model in enumerate(checkpoints):
        for instruction in ("i", "j"):
            answer = {"model": model, "generation": "g", "instruction_id": instruction}
            story.add("evaluation.answers", **answer, answer=f"by {model}", status="ok")
        for name in ("one", "two"):
            asked = {"instruction_set": name, "instruction_id": "ij"[place], "generation": "g"}
            story.add("evaluation.instructions", **asked)
    story.add("evaluation.opponents", model=checkpoints[0], opponent=checkpoints[1], why="original")
    for judge in ("strict", "mild"):
        story.add("evaluation.judges", judge=judge, prompt_version="v1")
    for status in ("failed", "unreadable"):
        judged = {"judge": "strict", "prompt_version": "v1", "generation": "g", "instruction_id": "i", "status": status}
        for first, second in (checkpoints, reversed(checkpoints)):
            story.add("evaluation.verdicts", **judged, model_1=first, model_2=second)
        story.add("evaluation.annotations", annotation="file", source_row=len(status), annotator="gpt", preference=2.0)


@pytest.mark.parametrize("table", MODELS)
def test_no_two_rows_of_a_model_agree_in_its_grain(lake: duckdb.DuckDBPyConnection, table: str) -> None:
    columns = ", ".join(MODELS[table].header.grain)
    rows, grains = lake.execute(f"select count(*), count(distinct ({columns})) from {table}").fetchone() or (0, 0)
    assert rows == grains
    assert rows > 1


@pytest.mark.parametrize("table", pending_files())
def test_nothing_is_pending_twice(lake: duckdb.DuckDBPyConnection, table: str) -> None:
    file = pending_files()[table]
    query = f"select count(*), count(distinct ({', '.join(file.header.grain)})) from ({file.sql})"
    rows, grains = lake.execute(query).fetchone() or (0, 0)
    assert rows == grains
