"""Whatever is selected in the UI or on the command line with all above it runs on a fresh lake, and makes rows.

Assets of sql/ read what their file reads, which is what they depend on (tested beside the reader of sql/); here are
all the others, each in a lake of its own, so that a dependence that is not declared shows.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.definitions import build_definitions
from dagster_project.jobs import EVALUATE_JOB
from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from tests.conftest import PROJECT

pytestmark = pytest.mark.slow
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
REPORT = dg.AssetKey(["report", "selection_report"])
FIXTURE = PROJECT / "tests" / "fixtures" / "version_0_1"


SKY = "Because short waves of light are scattered most."


VERDICT = {
    "instruction": "Why?",
    "output_1": "So.",
    "generator_1": "base",
    "output_2": "Therefore.",
    "generator_2": "paper",
    "annotator": "gpt",
    "preference": 2,
}


def small_profile(folder: Path) -> Path:
    """The profile of the fixture with its recorded teacher alone, and no lake yet; one pair more, for cleaning."""
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("lake"), dirs_exist_ok=True)
    profile = json.loads((folder / "profile.yaml").read_text())
    del profile["teachers"]["gpt"]
    profile["recipes"]["paper"]["teacher"] = "recorded"
    profile["first_choice"] = "guarded"  # else nobody asks for its scores
    with (folder / "pairs.jsonl").open("a") as pairs:
        pairs.write(json.dumps({"instruction": "Why is the sky blue?", "output": f"{SKY[:-1]} of all."}) + "\n")
    (folder / "questions.jsonl").write_text(json.dumps({"prompt": SKY}))
    profile["near_duplicates"] = {"threshold": 0.8}
    (folder / "verdict.json").write_text(json.dumps([VERDICT]))
    profile["evaluation"] = {
        "contamination": [{"name": "sky", "path": "questions.jsonl"}],
        "instructions": [{"name": "asked", "path": "questions.jsonl"}],
        "generation": {"max_tokens": 4},
        "held_out": [{"name": "pairs", "path": "pairs.jsonl"}],
        "benchmarks": {"tasks": ["everyday_choice"], "include": str(PROJECT / "seeds" / "evaluation"), "limit": 2},
        "annotations": [{"name": "published", "path": "verdict.json"}],
    }
    (folder / "profile.yaml").write_text(json.dumps(profile, indent=1))
    return folder / "profile.yaml"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return load_profile(small_profile(tmp_path_factory.mktemp("selections")))


def _of_no_sql_file() -> list[str]:
    folder = PROJECT / "assets"
    names = [".".join(file.relative_to(folder).with_suffix("").parts) for file in folder.glob("*/*.py")]
    helpers = ("__init__", "mirror_replies", "reflect_pending", "score_pending", "provenance")
    tables = sorted(
        name.replace(".", "/")
        for name in names
        if not name.endswith(helpers) and not name.startswith(("evaluation.", "report."))
    )
    per_recipe = ("training_pairs", "student_checkpoint")
    return [
        "raw/quarantined_rows",
        *(n.replace("training/", "training/paper/") if n.endswith(per_recipe) else n for n in tables),
    ]


@pytest.mark.parametrize("name", _of_no_sql_file())
def test_it_runs_with_all_above_it_and_makes_rows(profile: Profile, tmp_path: Path, name: str) -> None:
    mine = profile.model_copy(update={"warehouse": tmp_path / "warehouse"})
    definitions = build_definitions(mine)
    graph = definitions.resolve_asset_graph()
    selected = dg.AssetSelection.from_string(f'+key:"{name}"').resolve(graph)
    assert selected < graph.get_all_asset_keys()
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=sorted(selected), run_config=QUIET)
        rows = _rows(result, name)
    assert result.success
    assert rows > 0
    assert open_lake(mine).exists() or name == "profile/base_students"


def test_evaluation_and_report_run_with_all_above_them_and_make_rows(profile: Profile, tmp_path: Path) -> None:
    """All in one lake: each of these assets trains first, and the report reads them all."""
    mine = profile.model_copy(update={"warehouse": tmp_path / "warehouse"})
    definitions = build_definitions(mine)
    above = dg.AssetSelection.groups(EVALUATE_JOB) | dg.AssetSelection.assets(REPORT)
    selected = above.upstream().resolve(definitions.resolve_asset_graph())
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=sorted(selected), run_config=QUIET)
    assert result.success
    shown = [key for key in selected if key.path[0] == "evaluation" or key == REPORT]
    rows = {key.path[1]: _rows(result, key.to_user_string()) for key in shown}
    # Nobody judges: there is no server. tests/assets/test_verdicts.py has one.
    assert {name for name, count in rows.items() if count == 0} == {"judges", "verdicts", "current_verdicts"}


def _rows(result: dg.ExecuteInProcessResult, name: str) -> int:
    events = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    metadata: Mapping[str, dg.MetadataValue] = {e.asset_key.to_user_string(): e.metadata for e in events}[name]
    count = metadata["dagster/row_count"].value
    assert isinstance(count, int)
    return count


def test_so_it_does_on_the_command_line(tmp_path: Path) -> None:
    arguments = ["asset", "materialize", "-m", "dagster_project.definitions"]
    ran = subprocess.run(
        [sys.executable, "-m", "dagster", *arguments, "--select", '+key:"scoring/instruction_scores"'],
        cwd=PROJECT,
        env={
            "PATH": str(Path(sys.executable).parent),
            "DAGSTER_HOME": str(tmp_path),
            "PYTHONPATH": str(PROJECT),
            "REFLECTION_PROFILE": str(small_profile(tmp_path / "mine")),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lake = open_lake(load_profile(tmp_path / "mine" / "profile.yaml"))
    assert lake.scalar("select count(*) from scoring.instruction_scores") == 16
