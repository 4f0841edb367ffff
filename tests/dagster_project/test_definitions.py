"""The table of contents: every stage, in flow order, documented, and light to load."""

import json
from collections.abc import Set as AbstractSet
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlglot
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from sqlglot import exp

from dagster_project.definitions import build_definitions
from dagster_project.jobs import EVALUATE_JOB, MAIN_JOB, PHASES, WITHOUT_TRAINING_JOB
from dagster_project.lakehouse.sql_files import load_checks, load_models, pending_files, policies
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.steps.report_content import QUERIES
from dagster_project.steps.results import asset_keys
from dagster_project.up_to_date import BRING_UP_TO_DATE
from tests.support.processes import finish, python
from tests.support.profiles import toy_profile

STAGES = ["profile", "raw", "reflection", "scoring", "selection", "training", "evaluation", "lineage", "report"]
RECIPES = ["paper", "paper_gated", "paper_top", "original"]
REPORT = dg.AssetKey(["report", "selection_report"])
PER_RECIPE = {"training_pairs", "student_checkpoint"}


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return load_profile(toy_profile(tmp_path_factory.mktemp("profile")), policies=policies())


@pytest.fixture(scope="module")
def definitions(profile: Profile) -> dg.Definitions:
    return build_definitions(profile)


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> BaseAssetGraph[Any]:
    return definitions.resolve_asset_graph()


def _names(keys: AbstractSet[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_the_toy_loads_and_validates(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_folders_are_the_schemas_and_groups_the_phases(graph: BaseAssetGraph[Any]) -> None:
    keys = graph.get_all_asset_keys()
    assert {key.path[0] for key in keys} == set(STAGES)
    assert {graph.get(key).group_name for key in keys} == set(PHASES)


def test_no_edge_runs_from_a_group_back_to_an_earlier_one(graph: BaseAssetGraph[Any]) -> None:
    place = {phase: number for number, phase in enumerate(PHASES)}
    backward = [
        (parent.to_user_string(), key.to_user_string())
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
        if place[str(graph.get(parent).group_name)] > place[str(graph.get(key).group_name)]
    ]
    assert backward == []


def test_the_checkpoint_is_the_last_asset(graph: BaseAssetGraph[Any]) -> None:
    for recipe in RECIPES:
        below = graph.get(dg.AssetKey(["training", recipe, "student_checkpoint"])).child_keys
        views = {"training/current_checkpoints", "lineage/row_lineage", "lineage/data_versions"}
        assert _names(below) == views  # which show them
    checkpoint = dg.AssetKey(["training", "paper", "student_checkpoint"])
    upstream = _names(dg.AssetSelection.assets(checkpoint).upstream().resolve(graph))
    assert {
        "raw/raw_pairs",
        "reflection/response_reflections",
        "scoring/response_scores",
        "profile/base_students",
    } <= upstream
    assert "training/original/training_pairs" not in upstream


def test_the_flow_is_a_straight_line(graph: BaseAssetGraph[Any]) -> None:
    flow = [
        "raw/raw_pairs",
        "reflection/instruction_reflections",
        "selection/instruction_candidates",
        "scoring/instruction_scores",
        "selection/instruction_choices",
        "reflection/response_reflections",
        "selection/response_candidates",
        "scoring/response_scores",
        "scoring/chosen_scores",
        "selection/response_choices",
        "selection/recycled_pairs",
        "training/paper/training_pairs",
        "training/paper/student_checkpoint",
    ]
    order = [key.to_user_string() for key in graph.toposorted_asset_keys]
    assert [name for name in order if name in flow] == flow
    for earlier, later in pairwise(flow):
        upstream = dg.AssetSelection.assets(dg.AssetKey(later.split("/"))).upstream().resolve(graph)
        assert earlier in _names(upstream)


def test_every_asset_is_described_owned_and_versioned(graph: BaseAssetGraph[Any]) -> None:
    for key in graph.get_all_asset_keys():
        node, name = graph.get(key), key.to_user_string()
        assert node.is_materializable, name
        assert len(node.description or "") > 30, name
        assert "one row" in node.description or "Grain: one" in node.description, name
        assert node.owners == ["team:reflection-lake"], name
        assert node.kinds, name
        assert node.code_version, name


def test_every_model_is_an_asset_that_depends_on_what_it_reads(graph: BaseAssetGraph[Any]) -> None:
    for model in load_models().values():
        node = graph.get(dg.AssetKey([model.schema, model.name]))
        assert node.parent_keys == {key for table in model.depends_on for key in asset_keys(table, RECIPES)}
        assert node.description == f"{model.description}\n\n```sql\n{model.file.statement}\n```"
        assert not model.file.statement.startswith("--")
    selection = {".".join(key.path) for key in graph.get_all_asset_keys() if key.path[0] == "selection"}
    models = {table for table, model in load_models().items() if model.schema == "selection"}
    assert selection == models | {"selection.contaminated_texts"}


# What an asset reads beside its SQL: the models that score, and who of the profile they are.
BESIDE_SQL = {table: {"profile.students"} for table in pending_files() if table.startswith("scoring.")}


def test_the_report_depends_on_what_its_queries_name(graph: BaseAssetGraph[Any]) -> None:
    tables = {
        f"{table.db}.{table.name}"
        for query in QUERIES
        for table in sqlglot.parse_one(query, dialect="duckdb").find_all(exp.Table)
        if table.db not in ("", "lake")
    }
    assert {".".join(key.path) for key in graph.get(REPORT).parent_keys} == {
        table for table in tables if not table.startswith("evaluation.")
    }
    assert not graph.get(REPORT).child_keys


@pytest.mark.parametrize("table", pending_files())
def test_paid_work_depends_on_what_its_pending_file_reads(graph: BaseAssetGraph[Any], table: str) -> None:
    read, models = set(pending_files()[table].depends_on), load_models()
    declared = {".".join(key.path) for key in graph.get(dg.AssetKey(table.split("."))).parent_keys}
    own = {table, *(name for name in read & models.keys() if dg.AssetKey(table.split(".")) in _upstream(graph, name))}
    through_own = {deeper for name in own & models.keys() for deeper in models[name].depends_on}
    assert declared == (read | through_own | BESIDE_SQL.get(table, set())) - own


def _upstream(graph: BaseAssetGraph[Any], table: str) -> set[dg.AssetKey]:
    return set(dg.AssetSelection.assets(dg.AssetKey(table.split("."))).upstream().resolve(graph))


def test_a_score_waits_for_who_scores_for_whom(graph: BaseAssetGraph[Any]) -> None:
    parents = _names(graph.get(dg.AssetKey(["scoring", "instruction_scores"])).parent_keys)
    assert parents == {"profile/students", "selection/instruction_candidates", "selection/pairings"}
    parents = _names(graph.get(dg.AssetKey(["reflection", "instruction_reflections"])).parent_keys)
    assert parents == {"profile/teachers", "raw/raw_pairs"}


def test_copies_are_looked_for_in_all_candidates_before_a_recipe_decides(graph: BaseAssetGraph[Any]) -> None:
    copies = graph.get(dg.AssetKey(["selection", "contaminated_texts"]))
    assert _names(copies.parent_keys) == {"selection/candidates"}
    assert _names(copies.child_keys) == {"selection/pair_decisions"}
    repeats = graph.get(dg.AssetKey(["raw", "near_duplicates"]))
    assert _names(repeats.parent_keys) == {"raw/raw_pairs", "profile/sources"}
    assert _names(repeats.child_keys) == {"selection/pair_decisions", "report/selection_report"}


def test_a_tables_asset_is_called_like_the_table(graph: BaseAssetGraph[Any]) -> None:
    assets = {".".join(key.path) for key in graph.get_all_asset_keys() if len(key.path) == 2}
    shared_by_recipes = {"training.training_pairs", "training.student_checkpoints"}
    assert TABLES_BY_NAME.keys() - shared_by_recipes <= assets
    assert assets - TABLES_BY_NAME.keys() == {"profile.base_students", "report.selection_report", *load_models()}


def test_each_recipe_has_assets_of_its_own(graph: BaseAssetGraph[Any]) -> None:
    found = {tuple(key.path[1:]) for key in graph.get_all_asset_keys() if len(key.path) == 3}
    assert found == {(recipe, name) for recipe in RECIPES for name in PER_RECIPE}


def test_checks_are_attached_to_assets_that_exist(graph: BaseAssetGraph[Any]) -> None:
    keys = graph.asset_check_keys
    assert {key.name for key in keys} == {*(name for _, name in load_checks()), "rows_are_unique"}
    assert {key.asset_key for key in keys} <= graph.get_all_asset_keys()


def test_what_spends_is_gated_by_a_blocking_check(definitions: dg.Definitions) -> None:
    specs = [spec for check in definitions.asset_checks or [] for spec in check.check_specs]
    gated = {spec.asset_key.to_user_string() for spec in specs if spec.blocking}
    assert {
        "raw/raw_pairs",
        "scoring/instruction_scores",
        "selection/response_choices",
        "selection/recycled_pairs",
    } <= gated


# ── jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_phases_are_the_main_job_cut_in_pieces(definitions: dg.Definitions) -> None:
    jobs = {
        job.name: job.asset_layer.executable_asset_keys
        for job in definitions.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    assert jobs.pop(BRING_UP_TO_DATE) == set()  # it starts runs of the main job
    main = jobs.pop(MAIN_JOB)
    assert not set(jobs.pop(EVALUATE_JOB)) & set(main)
    assert jobs.pop(WITHOUT_TRAINING_JOB) == set(main) - set(jobs["train_students"]) - {REPORT}
    pieces = [key for keys in jobs.values() for key in keys]
    assert set(pieces) == main
    assert len(pieces) == len(main)
    assert all(jobs.values())


def test_phases_run_one_after_the_other(definitions: dg.Definitions, graph: BaseAssetGraph[Any]) -> None:
    names = [job.name for job in definitions.jobs or []]
    assert names == [
        MAIN_JOB,
        WITHOUT_TRAINING_JOB,
        *PHASES,
        BRING_UP_TO_DATE,
    ]
    done: set[dg.AssetKey] = set()
    for name in names[2:-1]:
        done |= set(definitions.resolve_job_def(name).asset_layer.executable_asset_keys)
        missing = {parent for key in done for parent in graph.get(key).parent_keys} - done
        assert not missing, (name, _names(missing))


def test_the_main_job_is_everything_but_evaluation(definitions: dg.Definitions, graph: BaseAssetGraph[Any]) -> None:
    main = definitions.resolve_job_def(MAIN_JOB).asset_layer.executable_asset_keys
    assert main == {key for key in graph.get_all_asset_keys() if key.path[0] != "evaluation"}
    # Else the UI asks whether one is sure, before it starts the job.
    assert {parent for key in main for parent in graph.get(key).parent_keys} <= main


@pytest.mark.parametrize("executor", ["in_process", "multiprocess", "ray"])
def test_the_profile_chooses_the_executor(tmp_path: Path, executor: str) -> None:
    file = toy_profile(tmp_path, executor=executor)
    job = build_definitions(load_profile(file)).resolve_job_def(MAIN_JOB)
    assert job.executor_def.name == executor


LOAD = """
import json, os, sys
from dagster_project.definitions import build_definitions
from dagster_project.profile.load import load_profile
build_definitions(load_profile(sys.argv[1])).resolve_asset_graph()
heavy = ["torch", "transformers", "trl", "peft", "vllm", "datasets", "accelerate", "ray", "dagster_ray", "lm_eval"]
heavy += ["matplotlib", "pandas"]
print(json.dumps([[name for name in heavy if name in sys.modules], os.path.exists(sys.argv[2])]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in_process", "ray"])
def test_loading_imports_nothing_heavy_and_touches_nothing(tmp_path: Path, executor: str) -> None:
    out = finish(python(LOAD, toy_profile(tmp_path, executor=executor), tmp_path / "warehouse"))
    assert json.loads(out.splitlines()[-1]) == [[], False]
