"""Dagster's own staleness after every kind of change: exactly the roots are unsynced, and one run mends it.

The project is copied and its files are edited; every look is a new process, as "reload definitions" is.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

DRIVER = """
import json, sys
import dagster as dg
from dagster_project.commands.run import job_of_profile
from dagster_project.definitions import build_definitions
from dagster_project.jobs import MAIN_JOB
from dagster_project.profile.load import load_profile
from dagster_project.up_to_date import BRING_UP_TO_DATE, to_materialize, unsynced

said, profile = {}, load_profile()
definitions = build_definitions(profile)
job = definitions.resolve_job_def(MAIN_JOB)

def names(keys):
    return sorted(key.to_user_string() for key in keys)

with dg.DagsterInstance.get() as instance:
    said["unsynced"] = names(unsynced(job.asset_layer.asset_graph, instance))
    if sys.argv[1] == "run":
        keys = to_materialize(job, instance)
        again = dg.build_reconstructable_job("dagster_project.commands.run", "job_of_profile", (MAIN_JOB,))
        assert dg.execute_job(again, instance, asset_selection=keys).success
    if sys.argv[1] == "click":
        again = dg.build_reconstructable_job("dagster_project.commands.run", "job_of_profile", (BRING_UP_TO_DATE,))
        assert dg.execute_job(again, instance).success
    if sys.argv[1] == "sensor":
        cursor = sys.argv[2] or None
        tick = definitions.get_sensor_def("sources_changed")(dg.build_sensor_context(instance, cursor=cursor))
        said["requests"] = 0 if isinstance(tick, dg.SkipReason) else len(tick.run_requests)
        said["cursor"] = getattr(tick, "cursor", None) or getattr(tick, "skip_message", None)
    said["after"] = names(unsynced(job.asset_layer.asset_graph, instance))
print(json.dumps(said))
"""

# After each edit the definitions are loaded anew, by a fork of a process that has loaded everything but the project.
EDITS = """
import json, os, sys
from pathlib import Path
import dagster as dg, duckdb, polars, pydantic, sqlglot, yaml

for file, old, new in json.loads(sys.argv[1]):
    before = Path(file).read_text()
    assert old in before, (file, old)
    Path(file).write_text(before.replace(old, new, 1))
    if os.fork() == 0:
        from dagster_project.commands.run import job_of_profile
        from dagster_project.jobs import MAIN_JOB
        from dagster_project.up_to_date import unsynced
        with dg.DagsterInstance.get() as instance:
            keys = unsynced(job_of_profile(MAIN_JOB).asset_layer.asset_graph, instance)
        print(json.dumps(sorted(key.to_user_string() for key in keys)), flush=True)
        os._exit(0)
    os.wait()
    Path(file).write_text(before)
"""


@dataclass(frozen=True)
class Copy:
    """A copy of the project with a profile of its own, which has been run."""

    folder: Path

    def look(self, what: str = "look", cursor: str = "") -> dict[str, Any]:
        """What is unsynced in a new process, before and after it did `what`."""
        said: dict[str, Any] = json.loads(self._run(DRIVER, what, cursor)[-1])
        return said

    def look_after(self, edits: list[tuple[str, str, str]]) -> list[list[str]]:
        """What is unsynced after each edit alone."""
        return [json.loads(line) for line in self._run(EDITS, json.dumps(edits))]

    def _run(self, code: str, *arguments: str) -> list[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "REFLECTION_PROFILE": str(self.folder / "mine" / "profile.yaml"),
            "OMP_WAIT_POLICY": "passive",
        }
        ran = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        (self.folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("up_to_date") / "project"
    for name in ("assets", "dagster_project", "models_py", "sql"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    old = PROJECT / "tests" / "fixtures" / "version_0_1"
    shutil.copytree(old, folder / "mine", ignore=shutil.ignore_patterns("lake"))
    (folder / "dagster").mkdir()
    profile = json.loads((old / "profile.yaml").read_text())
    del profile["teachers"]["gpt"]
    profile["recipes"]["paper"]["teacher"] = "recorded"
    (folder / "mine" / "profile.yaml").write_text(json.dumps(profile, indent=1))
    copy = Copy(folder)
    everything = copy.look()["unsynced"]
    assert {"profile/sources", "selection/recycled_pairs", "training/paper/student_checkpoint"} <= set(everything)
    said = copy.look("run")
    assert (said["unsynced"], said["after"]) == (everything, [])
    return copy


@pytest.mark.slow
def test_nothing_changed_marks_nothing(project: Copy) -> None:
    assert project.look()["unsynced"] == []


# What a change touches: file, text, its replacement, the assets that are unsynced then.
MEND = {
    "source row": ("mine/pairs.jsonl", "Soft.", "Soft and warm.", ["profile/sources"]),
    "cut": ("mine/profile.yaml", '"top_fraction": 0.5', '"top_fraction": 0.9', ["profile/recipes"]),
    "prompt": (
        "models_py/teacher/prompts/record_first/response_reflection.jinja",
        "{% block user %}",
        "{% block user %}\nMind the tone.\n",
        ["profile/teachers"],
    ),
    "policy": ("sql/policies/paper_gated.sql", "r_ifd < 1", "r_ifd < 0.999", ["selection/paper_gated"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", MEND)
def test_one_run_of_what_is_unsynced_and_all_below_leaves_nothing_unsynced(project: Copy, change: str) -> None:
    file, old, new, roots = MEND[change]
    project.edit(file, old, new)
    said = project.look("click" if change == "cut" else "run")
    assert said["unsynced"] == roots
    # The definitions of that process were loaded before the run, like those of a running UI.
    assert project.look()["unsynced"] == said["after"] == []


SCORES = ["scoring/chosen_scores", "scoring/instruction_scores", "scoring/response_scores"]
# An edit, the assets that are unsynced then (whatever else is), the groups of which none is.
CODE = {
    "score_pending": (("assets/scoring/score_pending.py", "20_000", "10_000"), SCORES, ("selection/", "training/")),
    "pending SQL": (
        ("sql/pending/response_scores.sql", "candidates.pair_id, candidates.candidate)", "candidates.candidate)"),
        ["scoring/response_scores"],
        ("scoring/instruction", "scoring/chosen", "selection/", "training/"),
    ),
    "macro": (
        ("sql/macros/lower_wins.sql", "challenger < base", "base > challenger"),
        ["scoring/chosen_scores", "selection/response_choices"],
        ("scoring/response", "training/"),
    ),
    "chat": (
        ("models_py/student/chat.py", "\n\n\nclass ", "\n\n\nADDED = 1\n\n\nclass "),
        [*SCORES, "training/paper/student_checkpoint"],
        ("selection/",),
    ),
    "estimate": (("models_py/teacher/estimate.py", "ENOUGH_REPLIES = 20", "ENOUGH_REPLIES = 30"), [], ("",)),
    "wiring": (("dagster_project/steps/results.py", "_PREVIEW_ROWS = 5", "_PREVIEW_ROWS = 6"), [], ("",)),
}


@pytest.mark.slow
def test_code_marks_the_steps_that_compute_with_it(project: Copy) -> None:
    found = project.look_after([edit for edit, _, _ in CODE.values()])
    for (name, (_, expected, without)), unsynced in zip(CODE.items(), found, strict=True):
        assert set(expected) <= set(unsynced), name
        assert not [asset for asset in unsynced if asset.startswith(without)], name
        assert not [asset for asset in unsynced if asset.startswith(("raw/", "reflection/"))], name
    assert project.look()["unsynced"] == []


COMMENTS = [
    ("assets/scoring/score_pending.py", '"""What every', '"""Now: what every'),
    ("models_py/teacher/parser.py", "PARSER_VERSION", "# A comment.\nPARSER_VERSION"),
    ("sql/policies/paper.sql", "-- ", "-- Once more: "),
    ("sql/pending/response_scores.sql", "-- ", "-- Once more: "),
    ("sql/macros/lower_wins.sql", "-- ", "-- Once more: "),
    ("mine/profile.yaml", '"training"', '\n\n "training"'),
]


@pytest.mark.slow
def test_comments_mark_nothing(project: Copy) -> None:
    for edit in COMMENTS:
        project.edit(*edit)
    assert project.look()["unsynced"] == []


@pytest.mark.parametrize(
    ("file", "text"), sorted({edit[:2] for edit in [*(edit for edit, _, _ in CODE.values()), *COMMENTS]})
)
def test_what_is_edited_here_is_there(file: str, text: str) -> None:
    """The slow tests edit copies: what became another text is seen before they run."""
    if not file.startswith("mine/"):
        assert text in (PROJECT / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_sensor_starts_it_once_for_a_change_of_a_source(project: Copy) -> None:
    assert project.look("sensor")["requests"] == 0
    project.edit("mine/pairs.jsonl", "Wise.", "Wise and quiet.")
    first = project.look("sensor")
    assert first["requests"] == 1
    assert project.look("sensor", str(first["cursor"]))["requests"] == 0
    assert project.look("click")["unsynced"] == ["profile/sources"]
    assert project.look("sensor", str(first["cursor"]))["requests"] == 0
