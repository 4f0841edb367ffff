"""Profiles: what is accepted, and that everything wrong is said at once, where it stands, with the remedy."""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import PROFILE_VARIABLE, PROFILES_DIR, load_profile
from dagster_project.profile.schema import Profile
from models_py.errors import UserError
from models_py.student.spec import Student
from models_py.teacher.request import Sampling
from models_py.teacher.spec import PromptSettings, RecordedSettings
from models_py.training.settings import Budget, Lora, TrainingSettings
from tests.support.profiles import SMALLEST, write_profile
from tests.support.properties import SHARED_FIXTURES, examples
from tests.support.values import as_a, known

# Each line ten times the one above.
BOMB = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))
MERGED = "m0: &m0 {a: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 30))
POLICIES = {"paper": "selected", "paper_gated": "selected", "original": "selected", "reflect_both": "all"}


def changed(path: str = "", value: object = None) -> dict[str, Any]:
    """The smallest profile with one value set; `path` has dots, a list's places are numbers."""
    profile: dict[str, Any] = copy.deepcopy(dict(SMALLEST))
    if path:
        steps: list[Any] = [int(part) if part.isdigit() else part for part in path.split(".")]
        *parents, last = steps
        place: Any = profile
        for part in parents:
            place = place[part] if isinstance(place, list) else place.setdefault(part, {})
        place[last] = value
    return profile


def load(folder: Path, profile: Mapping[str, Any] | str) -> Profile:
    return load_profile(write_profile(folder, profile), POLICIES)


def complaint(folder: Path, profile: Mapping[str, Any] | str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, profile)
    return str(caught.value)


# --- what is accepted


def test_the_smallest_profile_has_the_defaults(tmp_path: Path) -> None:
    profile = load(tmp_path, SMALLEST)
    assert (profile.name, profile.file, profile.root) == ("mine", tmp_path / "mine.yaml", tmp_path)
    assert (profile.executor, profile.max_bad_fraction, profile.response_reflection) == ("in_process", 0.05, "selected")
    assert (profile.lake.catalog, profile.lake.data_path) == (None, None)
    assert profile.training == TrainingSettings()
    assert profile.recipes["first"].model_dump() == {
        "policy": "paper",
        "teacher": "tape",
        "student": "toy",
        "top_fraction": None,
        "top_k": None,
        "ifd_below": None,
        "r_ifd_below": None,
        "mix": 0.0,
        "seed": 0,
        "rows_as": None,
        "drop_near_duplicates": False,
        "drop_contaminated": False,
        "training": None,
        "training_seeds": None,
    }
    assert (profile.near_duplicates_sought, profile.evaluation.contamination) == (None, ())


def test_paths_are_absolute_and_lie_in_the_warehouse(tmp_path: Path) -> None:
    profile = load(tmp_path, SMALLEST)
    assert profile.warehouse == tmp_path / "house"
    assert profile.ledger_path == tmp_path / "house" / "teacher.sqlite"
    assert profile.students_dir == tmp_path / "house" / "students"
    assert profile.checkpoints_dir == tmp_path / "house" / "checkpoints"
    assert load(tmp_path, changed("warehouse", "../elsewhere")).warehouse == tmp_path.parent / "elsewhere"


def test_paths_of_a_profile_in_a_profiles_folder_start_at_the_project(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    assert load(tmp_path / "profiles", SMALLEST).warehouse == tmp_path / "house"


def test_the_lake_may_lie_elsewhere(tmp_path: Path) -> None:
    lake = load(tmp_path, changed("lake", {"catalog": "postgres:dbname=lake", "data_path": "s3://b/f/"})).lake
    assert (lake.catalog, lake.data_path) == ("postgres:dbname=lake", "s3://b/f/")
    assert load(tmp_path, changed("lake.data_path", "data")).lake.data_path == f"{tmp_path}/data/"


def test_teacher_specs(tmp_path: Path) -> None:
    settings = {
        "engine": "recorded",
        "replies": "replies.jsonl",
        "prompts": {"response_reflection": "r.jinja"},
        "sampling": {"temperature": 0.5, "max_tokens": 100},
    }
    (spec,) = load(tmp_path, changed("teachers.tape", settings)).teacher_specs()
    assert (spec.name, spec.settings.engine) == ("tape", "recorded")
    assert as_a(RecordedSettings, spec.settings).replies == tmp_path / "replies.jsonl"
    assert spec.settings.prompts == PromptSettings(response_reflection=tmp_path / "r.jinja")
    assert spec.settings.sampling == Sampling(temperature=0.5, top_p=1.0, max_tokens=100)


def test_students(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    students = {
        "toy": {"scratch": {"texts": ["a.txt"], "max_length": 512}},
        "hub": {"model": "some/name", "revision": "abc", "dtype": "bfloat16"},
        "folder": {"model": "model", "chat_template": "chat.jinja", "max_length": 100},
        "absent": {"model": "./absent"},
    }
    toy, hub, folder, absent = load(tmp_path, changed("students", students)).students.values()
    assert (known(toy.scratch).texts, toy.longest_sequence) == ((tmp_path / "a.txt",), 512)
    assert hub == Student("hub", model="some/name", revision="abc", dtype="bfloat16")
    assert hub.longest_sequence == 2048
    assert (folder.model, folder.chat_template) == (str(tmp_path / "model"), tmp_path / "chat.jinja")
    assert (folder.max_length, absent.model) == (100, str(tmp_path / "absent"))


def test_a_student_can_leave_scoring_to_another(tmp_path: Path) -> None:
    students = {"small": {"model": "a/small"}, "big": {"model": "a/big", "scored_by": "small"}, "own": {"model": "a/o"}}
    profile = load(
        tmp_path, {**SMALLEST, "students": students, "recipes": changed("recipes.first.student", "big")["recipes"]}
    )
    assert [profile.scorer_of(name) for name in students] == ["small", "small", "own"]
    assert [student.name for student in profile.scorers()] == ["small", "own"]


def test_training_settings_take_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = yaml.safe_dump(SMALLEST) + "training: {learning_rate: 2e-5, epochs: 1, max_steps: 7}\n"
    settings = load(tmp_path, text).training
    assert (settings.learning_rate, settings.epochs, settings.max_steps, settings.batch_size) == (2e-5, 1.0, 7, 128)


def test_a_profile_means_the_same_beside_a_library_that_changes_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lm-format-enforcer does, which vLLM imports."""
    tag = "tag:yaml.org,2002:timestamp"
    monkeypatch.setitem(yaml.SafeLoader.yaml_constructors, tag, yaml.SafeLoader.construct_yaml_str)
    with pytest.raises(UserError, match=r"not valid YAML: month must be in 1\.\.12"):
        load(tmp_path, "a: 2024-13-45\n")


def test_a_recipe_may_train_in_another_way(tmp_path: Path) -> None:
    recipe = dict(SMALLEST["recipes"]["first"])
    recipes = {"first": recipe, "longer": {**recipe, "training": {"epochs": 5, "loss_on": "all_answers"}}}
    profile = load(tmp_path, {**SMALLEST, "recipes": recipes, "training": {"epochs": 1, "batch_size": 4}})
    common = TrainingSettings(epochs=1, batch_size=4, device_batch_size=8)
    assert profile.trainings_of("first") == [profile.training] == [common]
    assert profile.trainings_of("longer") == [replace(common, epochs=5, loss_on="all_answers")]


def test_a_preset_a_budget_and_an_adapter_are_read_from_the_profile(tmp_path: Path) -> None:
    recipe = dict(SMALLEST["recipes"]["first"])
    own = {"method": "lora", "lora": {"rank": 4, "target_modules": ["q_proj"]}, "budget": {"rows": 90}}
    training = {"preset": "fast", "epochs": 1}
    profile = load(
        tmp_path, {**SMALLEST, "recipes": {"first": recipe, "other": {**recipe, "training": own}}, "training": training}
    )
    common = TrainingSettings(epochs=1, packing=True, device_batch_size=4)
    lora = Lora(rank=4, target_modules=("q_proj",))
    assert profile.trainings_of("first") == [common]
    assert profile.trainings_of("other") == [replace(common, method="lora", lora=lora, budget=Budget(rows=90))]


def test_a_training_seed_is_a_training_of_its_own_and_leaves_the_selections_seed(tmp_path: Path) -> None:
    recipe = {**SMALLEST["recipes"]["first"], "seed": 9}
    recipes = {"first": recipe, "once": {**recipe, "training": {"epochs": 5}, "training_seeds": [4]}}
    profile = load(tmp_path, {**SMALLEST, "recipes": recipes, "training_seeds": [2, 0]})
    assert [settings.seed for settings in profile.trainings_of("first")] == [2, 0]
    assert [(settings.seed, settings.epochs) for settings in profile.trainings_of("once")] == [(4, 5)]
    assert {profile.recipes[name].columns["seed"] for name in recipes} == {9}
    assert "training_seeds" not in profile.recipes["once"].columns


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"training_seeds": []}, "training_seeds"),
        ({"training_seeds": [1, 1]}, "training_seeds: names a seed twice"),
        ({"training_seeds": [-1]}, "training_seeds"),
        ({"training_seeds": [0], "training": {"seed": 3}}, r"training\.seed: the training_seeds say it already"),
        ({"training_seed": [0]}, "training_seeds"),
    ],
)
def test_training_seeds_that_say_nothing_are_refused(tmp_path: Path, keys: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load(tmp_path, {**SMALLEST, **keys})


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"epochs": 0}, r"recipes\.longer\.training: training\.epochs is 0"),
        ({"epoch": 2}, r"recipes\.longer\.training\.epoch: .*epochs"),
        ({"preset": "quick"}, r"recipes\.longer\.training\.preset: 'quick' is not a preset.*paper, fast"),
        ({"budget": {"rows": 3, "steps": 2}}, r"training\.budget says rows: 3, steps: 2; give exactly one"),
        ({"budget": {"row": 3}}, r"recipes\.longer\.training\.budget\.row: 'row' is not a key here.*rows"),
        ({"method": "lora", "lora": {"rank": "big"}}, r"recipes\.longer\.training\.lora\.rank: "),
        ({"loss_on": "answers"}, r"training\.loss_on is answers; it must be one of last_answer, all_answers"),
    ],
)
def test_what_is_wrong_with_a_recipes_training_is_told(tmp_path: Path, training: dict[str, object], told: str) -> None:
    recipes = {"longer": {**SMALLEST["recipes"]["first"], "training": training}}
    with pytest.raises(UserError, match=told):
        load(tmp_path, {**SMALLEST, "recipes": recipes})


def test_folders_and_globs_become_sorted_files(tmp_path: Path) -> None:
    for name in (
        "d/b.jsonl",
        "d/a.csv.gz",
        "d/notes.md",
        "d/.hidden.json",
        "e/x/1.parquet",
        "e/y/2.parquet",
        "one.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    said = {"name": "mine", "paths": ["d", "e/**/*.parquet", "d/b.jsonl", "one.txt"], "format": None}
    (source,) = load(tmp_path, changed("sources.0", said)).sources
    assert [str(path.relative_to(tmp_path)) for path in source.files()] == [
        "d/a.csv.gz",
        "d/b.jsonl",
        "e/x/1.parquet",
        "e/y/2.parquet",
        "one.txt",
    ]


def test_a_pattern_without_files_is_refused_when_the_sources_are_wanted(tmp_path: Path) -> None:
    profile = load(tmp_path, changed("sources.0.path", "no/*.jsonl"))
    with pytest.raises(UserError, match=r"^sources\.mine\.path: .*no/\*\.jsonl holds no file to read"):
        profile.sources[0].files()


# --- what is refused


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("warehose", "x", "warehose: 'warehose' is not a key here (did you mean warehouse?); there are: warehouse, "),
        (
            "recipes.first.top_fracton",
            1,
            "recipes.first.top_fracton: 'top_fracton' is not a key here (did you mean top_fr",
        ),
        (
            "students.toy.name",
            "toy",
            "students.toy.name: 'name' is not a key here; there are: model, revision, scratch, ",
        ),
        ("students.toy.scratch.step", 5, "students.toy.scratch.step: 'step' is not a key here (did you mean steps?)"),
        ("training.epoch", 5, "training.epoch: 'epoch' is not a key here (did you mean epochs?)"),
        ("lake.catalogue", "x", "lake.catalogue: 'catalogue' is not a key here (did you mean catalog?)"),
        ("sources.0.pth", "x", "sources.mine.pth: 'pth' is not a key here (did you mean path?)"),
        ("sources.0.section", "x", "sources.mine.section: 'section' is not a key here; there are: name, path, "),
        (
            "near_duplicates",
            {"treshold": 1},
            "near_duplicates.treshold: 'treshold' is not a key here (did you mean thres",
        ),
        (
            "near_duplicates",
            {"threshold": 2},
            "near_duplicates.threshold: 2.0 is no similarity to ask for; use 0.5 to 1",
        ),
        ("near_duplicates", True, "near_duplicates: expected keys, found True"),
        ("evaluation.benchmarks", {}, "evaluation.benchmarks.tasks: is missing; name at least one task or group of lm"),
        ("evaluation.benchmarks", {"tasks": ["a", "a"]}, "evaluation.benchmarks.tasks: a is named twice"),
        ("evaluation.benchmarks", {"tasks": ["a"], "limit": 0}, "evaluation.benchmarks.limit: 0 is below 1"),
        (
            "evaluation.benchmarks",
            {"task": ["a"]},
            "evaluation.benchmarks.task: 'task' is not a key here (did you mean tasks?)",
        ),
        ("evaluation.held_out", [{"name": "exam"}], "evaluation.held_out.exam: give either path or paths"),
        (
            "evaluation.held_out",
            [{"name": "A b", "path": "x"}],
            "evaluation.held_out.A b.name: 'A b' is no usable name",
        ),
        (
            "evaluation.held_out",
            [{"name": "exam", "path": "x", "turn": "each"}],
            "evaluation.held_out.exam.turn: 'turn' is not a key here (did you mean turns?)",
        ),
        (
            "evaluation.held_out",
            [{"name": "exam", "path": "x"}, {"name": "exam", "path": "y"}],
            "evaluation.held_out: two held-out sets are called exam",
        ),
        (
            "evaluation.contaminaton",
            [],
            "evaluation.contaminaton: 'contaminaton' is not a key here (did you mean contam",
        ),
        (
            "evaluation.contamination",
            [{"name": "exam", "path": "x", "feilds": ["q"]}],
            "evaluation.contamination.exam.feilds: 'feilds' is not a key here (did you mean fields?)",
        ),
        ("evaluation.contamination", [{"name": "exam"}], "evaluation.contamination.exam: give either path or paths"),
        ("evaluation.contamination", [{"path": "x"}], "evaluation.contamination.1.name: is missing; add it"),
        (
            "evaluation.contamination",
            [{"name": "exam", "path": "x", "words": 2}],
            "evaluation.contamination.exam.words: 2 words are no run to look for; use 8 to 50",
        ),
        (
            "evaluation.contamination",
            [{"name": "exam", "path": "x"}, {"name": "exam", "path": "y"}],
            "evaluation.contamination: two evaluations are called exam; give each its own name",
        ),
        (
            "evaluation.contamination",
            [{"name": "My Exam", "path": "x"}],
            "evaluation.contamination.My Exam.name: 'My Exam' is no usable name",
        ),
        (
            "teachers.tape.sampling.top_q",
            1,
            "teachers.tape.sampling.top_q: 'top_q' is not a key here (did you mean top_p?)",
        ),
        (
            "teachers.tape.prompts.answer",
            "x",
            "teachers.tape.prompts.answer: 'answer' is not a key here (did you mean new_answer?); there are: variant",
        ),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest(tmp_path: Path, path: str, value: object, line: str) -> None:
    assert f"\n  {line}" in complaint(tmp_path, changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("executor", "threads", "executor: found 'threads'; use 'in_process', 'multiprocess' or 'ray'"),
        ("ray", {"adress": "auto"}, "ray.adress: 'adress' is not a key here (did you mean address?)"),
        ("scoring", {"actors": 0}, "scoring.actors: found 0; use a number from 1 on, or auto"),
        ("response_reflection", "both", "response_reflection: found 'both'; use 'selected' or 'all'"),
        ("max_bad_fraction", 5, "max_bad_fraction: input should be less than or equal to 1, found 5"),
        ("lake.catalog", "postgres:dbname=x password=y", "lake.catalog: holds a password, and a profile is no place"),
        ("lake.catalog", "x.sqlite", "lake.catalog: 'x.sqlite' does not begin with postgres:"),
        ("lake.memory_limit", "4", "lake.memory_limit: '4' is no size; write a number and its unit, such as 4GB"),
        ("sources", [], "sources: is empty; name at least one"),
        (
            "sources.0.name",
            "My Pairs",
            "sources.My Pairs.name: 'My Pairs' is no usable name; names are lower snake case",
        ),
        ("sources.0", {"name": "mine", "paths": []}, "sources.mine.paths: is empty; name at least one file"),
        ("sources.0.paths", ["x"], "sources.mine: give either path or paths (a list)"),
        ("sources.0.path", "hf://data", "sources.mine.path: hf://data is no address of a data set; write"),
        (
            "sources.0.format",
            "xml",
            "sources.mine.format: 'xml' is not one of the formats; there are: json, jsonl, csv, parquet",
        ),
        ("sources.0.format", "jsnl", "sources.mine.format: 'jsnl' is not one of the formats (did you mean jsonl?)"),
        (
            "sources.0.path",
            "~no.such.body/x",
            "sources.mine.path: ~no.such.body/x cannot be resolved; write the folder's",
        ),
        ("sources.0.fields", {"instruction": "q"}, "sources.mine.fields: output is missing; write output: <the file's"),
        (
            "teachers.tape.engine",
            "vlm",
            "teachers.tape.engine: 'vlm' is not an engine (did you mean vllm?); there are: rec",
        ),
        ("teachers.tape.sampling", {"top_p": 0}, "teachers.tape.sampling.top_p: 0.0 is not above 0 and at most 1"),
        ("teachers.tape", {"engine": "recorded"}, "teachers.tape.replies: is missing; add it"),
        ("students.toy.model", "x", "students.toy: give either model (a hub id, a folder or a .gguf file) or scratch"),
        ("students.toy", {}, "students.toy: give either model (a hub id, a folder or a .gguf file) or scratch"),
        ("students.toy", None, "students.toy: expected keys, found None"),
        ("students.toy.max_length", 5, "students.toy.max_length: 5 is below 8"),
        (
            "students.toy.scratch.texts",
            ["~no.such.body/x"],
            "students.toy.scratch.texts: ~no.such.body/x cannot be res",
        ),
        ("teachers.tape.budget", {"max_usd": 0}, "teachers.tape.budget.max_usd: 0.0 is not above 0"),
        ("teachers.tape.replies", "~no.such.body/x", "teachers.tape.replies: ~no.such.body/x cannot be resolved"),
        ("warehouse", "~no.such.body/x", "warehouse: ~no.such.body/x cannot be resolved; write the folder's path"),
        ("students.toy.revision", "x", "students.toy.revision: only a model has a revision"),
        ("students.toy.scratch.steps", 0, "students.toy.scratch.steps: 0 is not above 0"),
        ("students.toy.max_length", 4000, "students.toy.max_length: 4000 is more than the 2048 of scratch.max_length"),
        (
            "students.toy.dtype",
            "int4",
            "students.toy.dtype: found 'int4'; use 'auto', 'float32', 'bfloat16' or 'float16'",
        ),
        ("recipes.A-1", SMALLEST["recipes"]["first"], "recipes.A-1: 'A-1' is no usable name"),
        ("recipes.first.top_k", 0, "recipes.first.top_k: input should be greater than or equal to 1, found 0"),
        ("recipes.first.top_fraction", 1.5, "recipes.first.top_fraction: input should be less than or equal to 1"),
        ("recipes.first.mix", 1, "recipes.first.mix: input should be less than 1, found 1"),
        (
            "recipes.first.teacher",
            "tap",
            "recipes.first.teacher: 'tap' is not one of the teachers above (did you mean tape?)",
        ),
        (
            "students.toy.scored_by",
            "tyo",
            "students.toy.scored_by: 'tyo' is not one of the students here (did you mean toy?); there are: toy",
        ),
        ("recipes.first.student", "x", "recipes.first.student: 'x' is not one of the students above; there are: toy"),
        (
            "recipes.first.policy",
            "papr",
            "recipes.first.policy: 'papr' is not a policy (a file in sql/policies) (did you me",
        ),
        (
            "recipes.first.policy",
            "reflect_both",
            "recipes.first.policy: reflect_both needs the second reflection of both",
        ),
        ("training.epochs", -1, "training.epochs is -1.0; it must be above 0."),
        ("recipes", {}, "recipes: is empty; name at least one"),
    ],
)
def test_a_wrong_value_names_its_path_and_the_remedy(tmp_path: Path, path: str, value: object, line: str) -> None:
    message = complaint(tmp_path, changed(path, value))
    assert f"\n  {line}" in message
    assert message.splitlines()[0].endswith("mine.yaml: one thing to correct")


def test_both_cuts_in_one_recipe_are_refused(tmp_path: Path) -> None:
    recipe = SMALLEST["recipes"]["first"] | {"top_k": 5, "top_fraction": 0.5}
    message = complaint(tmp_path, changed("recipes.first", recipe))
    assert "recipes.first.top_k: give top_fraction or top_k, not both" in message


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"rows_as": "frist"}, "rows_as: 'frist' is not another recipe of this profile (did you mean first?)"),
        ({"rows_as": "second"}, "rows_as: 'second' is not another recipe of this profile"),
        ({"rows_as": "third"}, "rows_as: third takes its number of rows from a third recipe"),
        ({"rows_as": "first", "top_k": 3}, "rows_as: the other recipe says how many rows; leave out top_fraction"),
    ],
)
def test_a_recipe_has_as_many_rows_as_another(tmp_path: Path, more: dict[str, object], told: str) -> None:
    first = SMALLEST["recipes"]["first"]
    recipes = {"first": first, "second": first | more, "third": first | {"rows_as": "first"}}
    assert f"recipes.second.{told}" in complaint(tmp_path, changed("recipes", recipes))
    assert load(tmp_path, changed("recipes", recipes | {"second": first})).recipes["third"].rows_as == "first"


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    message = complaint(tmp_path, changed("sources", SMALLEST["sources"] * 2))
    assert "sources: two sources are called mine; give each its own name" in message


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    profile = changed("recipes.first", {"policy": "nope", "teacher": "who", "top_fraction": 2})
    profile |= {"executor": "rey", "warehose": "x", "sources": [{"name": "A", "path": "x", "format": "xml"}]}
    message = complaint(tmp_path, profile)
    paths = [line.split(":")[0].strip() for line in message.splitlines()[1:]]
    assert sorted(paths) == [
        "executor",
        "recipes.first.policy",
        "recipes.first.student",
        "recipes.first.teacher",
        "recipes.first.top_fraction",
        "sources.A.format",
        "sources.A.name",
        "warehose",
    ]
    assert "8 things to correct" in message


def test_everything_wrong_with_one_value_is_said_at_once(tmp_path: Path) -> None:
    profile = changed("students.toy.scratch", {"steps": 0, "layers": -1})
    profile["sources"] = [{"name": "mine", "path": "s3://x", "format": "xml", "fields": {"output": "a", "answer": "a"}}]
    budget = {"max_usd": 0, "max_requests": 0}
    profile["teachers"] = {
        "gpt": {"engine": "openai", "model": "m", "base_url": "x", "attempts": 0, "concurrency": 0},
        "tape": {"engine": "recorded", "replies": "r.jsonl", "budget": budget},
    }
    profile["training"] = {"epochs": 0, "batch_size": -1, "schedule": "x"}
    paths = [re.split(r":| is", line)[0].strip() for line in complaint(tmp_path, profile).splitlines()[1:]]
    assert sorted(paths) == [
        "sources.mine.fields",
        "sources.mine.fields",
        "sources.mine.format",
        "sources.mine.path",
        "students.toy.scratch.layers",
        "students.toy.scratch.steps",
        "teachers.gpt.attempts",
        "teachers.gpt.base_url",
        "teachers.gpt.concurrency",
        "teachers.tape.budget.max_requests",
        "teachers.tape.budget.max_usd",
        "training.batch_size",
        "training.epochs",
        "training.schedule",
    ]


def test_a_policy_that_needs_all_is_accepted_with_all(tmp_path: Path) -> None:
    profile = changed("recipes.first.policy", "reflect_both") | {"response_reflection": "all"}
    assert load(tmp_path, profile).recipes["first"].policy == "reflect_both"


def test_policies_are_not_checked_when_not_known(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changed("recipes.first.policy", "anything")))
    assert load_profile(tmp_path / "mine.yaml").recipes["first"].policy == "anything"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected keys such as warehouse"),
        ("- a\n- b\n", "expected keys such as warehouse"),
        ("a: [1\n", "not valid YAML: line 2"),
        ("lake: {}\nlake: {}\n", "not valid YAML: line 2, column 1: the key 'lake' stands there twice"),
        ("a: !!python/name:os.system\n", "not valid YAML: line 1"),
        ("1: 2\n", "1: keys should be strings"),
        ("a: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
        ("a: &a [*a]\n", "not valid YAML: its aliases stand for more than 50,000 values"),
        (BOMB, "not valid YAML: its aliases stand for more than 50,000 values"),
        (MERGED, "not valid YAML: its aliases stand for more than 50,000 values"),
        ("# " + "x" * 200_000, "is larger than 200,000 bytes"),
        (
            "recipes: {false: 3}\nsources: [1, a]\nstudents: 4\n",
            "students: input should be a valid dictionary, found 4",
        ),
    ],
)
def test_a_file_that_is_no_profile(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in complaint(tmp_path, text)


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = yaml.safe_dump(SMALLEST, sort_keys=False).replace("  first:", "  first: &first")  # recipes come last
    assert load(tmp_path, text + "  second: {<<: *first, seed: 3}\n").recipes["second"].seed == 3


PATHS = [
    "warehouse", "sources", "sources.0", "sources.0.path", "sources.0.fields", "teachers", "teachers.tape",
    "teachers.tape.engine", "teachers.tape.sampling", "students", "students.toy", "students.toy.scratch",
    "students.toy.model", "recipes", "recipes.first", "recipes.first.policy", "recipes.first.top_k", "lake", "executor",
    "response_reflection", "training", "training.epochs", "max_bad_fraction", "other",
]  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["~no.such.body/x", "/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@examples(100, suppress=SHARED_FIXTURES)
@given(path=st.sampled_from(PATHS), value=values)
def test_any_value_anywhere_is_accepted_or_refused_in_words(tmp_path: Path, path: str, value: object) -> None:
    try:
        load(tmp_path, changed(path, value))
    except UserError as error:
        assert len(str(error)) > 20


# --- which profile


def test_a_missing_profile_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such profile \(did you mean quickstart\?\).*quickstart"):
        load_profile("quikstart")
    monkeypatch.setenv(PROFILE_VARIABLE, "absent/mine.yaml")
    with pytest.raises(UserError, match=r"absent/mine\.yaml: no such profile"):
        load_profile()


def test_the_environment_names_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, SMALLEST)
    monkeypatch.setenv(PROFILE_VARIABLE, str(tmp_path / "mine.yaml"))
    assert load_profile().name == "mine"
    monkeypatch.delenv(PROFILE_VARIABLE)
    assert load_profile().name == "quickstart"


@pytest.mark.parametrize("file", sorted(PROFILES_DIR.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_bundled_profile_loads(file: Path) -> None:
    assert load_profile(file, policies()).file == file


def test_the_quickstart_is_what_the_readme_says() -> None:
    profile = load_profile("quickstart", POLICIES)
    assert list(profile.recipes) == ["paper", "original"]
    assert profile.students["smollm2"].longest_sequence == 1024
    assert profile.sources[0].sample is not None and profile.sources[0].sample.rows == 20


def test_the_ablations_try_every_policy() -> None:
    profile = load_profile("ablations", policies())
    assert {recipe.policy for recipe in profile.recipes.values()} == set(policies())
