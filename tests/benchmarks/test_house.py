"""benchmarks/house.py measures what it says it does; how fast that is on a machine full of tests is not looked at."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

HOUSE = PROJECT / "benchmarks" / "house.py"
MADE_BY_0_1 = PROJECT / "tests" / "fixtures" / "version_0_1"


@pytest.mark.slow
def test_a_quick_measurement_shows_each_command_beside_its_limit(tmp_path: Path) -> None:
    """Of a lake that is there already: what making one takes is not what is measured."""
    results, folder = tmp_path / "house.json", shutil.copytree(MADE_BY_0_1, tmp_path / "mine")
    arguments = ["--quick", "--profile", str(folder / "profile.yaml"), "--results", str(results)]
    shown = subprocess.run([sys.executable, HOUSE, *arguments], capture_output=True, text=True, check=True).stdout
    head, reference, sql, run = [line.split() for line in shown.splitlines()[-4:]]
    assert head == ["wall", "s", "CPU", "s", "wall", "CPU", "limit"]
    assert (reference[:2], sql[:2], run[:3]) == (["import", "dagster"], ["make", "sql"], ["make", "run,", "unchanged"])
    assert (sql[-1], run[-1]) == ("1.3x", "14.0x")
    measured = json.loads(results.read_text())
    for name, times in measured["times_import_dagster"].items():
        (round,) = measured["rounds"][name]
        assert times["cpu"] == round["command"]["cpu_s"] / round["reference"]["cpu_s"] > 0
    assert measured["first_run"]["cpu_s"] > 0


def test_what_fails_is_shown(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("warehous: here\n")
    arguments = ["--quick", "--profile", str(tmp_path / "wrong.yaml"), "--results", str(tmp_path / "house.json")]
    done = subprocess.run([sys.executable, HOUSE, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, "did you mean warehouse" in done.stderr) == (1, True)
    assert not (tmp_path / "house.json").exists()
