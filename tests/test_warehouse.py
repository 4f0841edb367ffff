"""Runs that share a warehouse: of one profile all succeed, of two the second is refused; the records lie in it."""

import os
import subprocess
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.jobs import PROFILE_TAG
from dagster_project.lakehouse.lake import Lake
from tests.support.processes import run_command
from tests.support.profiles import small_toy

pytestmark = pytest.mark.slow


def start(profile: Path) -> "subprocess.Popen[str]":
    """`make run`, with Dagster's records where the profile has them."""
    arguments, environment = run_command(profile)
    environment = {name: value for name, value in environment.items() if name != "DAGSTER_HOME"}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_first_runs_at_once_succeed_and_another_profile_is_refused(tmp_path: Path) -> None:
    profile = small_toy(tmp_path)
    other = profile.with_name("other.yaml")
    other.write_text(profile.read_text())
    first = [start(profile) for _ in range(2)]
    said = [process.communicate(timeout=900)[0] for process in first]
    assert [process.returncode for process in first] == [0, 0], said
    lake = Lake(tmp_path / "warehouse")
    paths = lake.read("select path from training.current_checkpoints order by 1")["path"].to_list()
    assert [path.split("/")[:2] for path in paths] == [["checkpoints", "original"], ["checkpoints", "paper"]]
    assert lake.scalar("select count(*) from training.student_checkpoints") == 2

    refused = start(other)
    told = refused.communicate(timeout=300)[0]
    assert refused.returncode == 1
    assert "that of profile mine" in told and "`warehouse:`" in told and "Traceback" not in told

    assert not (tmp_path / ".dagster").exists()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path / "warehouse" / ".dagster"))) as instance:
        runs = instance.get_runs()
    assert [run.tags[PROFILE_TAG] for run in runs] == ["mine", "mine"]
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    os.rename(tmp_path / "warehouse", tmp_path / "moved")  # noqa: PTH104
    profile.write_text(profile.read_text().replace("warehouse: warehouse", "warehouse: moved"))
    again = start(profile)
    told = again.communicate(timeout=900)[0]
    assert again.returncode == 0, told
    assert "ETA" not in told and "moved/checkpoints/paper/" in told
