"""benchmarks/training.py measures what it says it does; how fast that is on a busy machine is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT


@pytest.mark.slow
def test_all_three_make_the_same_steps(tmp_path: Path) -> None:
    results = tmp_path / "training.json"
    command = [sys.executable, str(PROJECT / "benchmarks" / "training.py"), "--quick", "--results", str(results)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert [line.split()[1] for line in shown.splitlines()[-3:]] == ["loop", "paper", "fast"]
    modes = json.loads(results.read_text())["modes"]
    seen = {(mode["tokens"], mode["target_tokens"]) for mode in modes.values()}
    assert len(seen) == 1 and min(min(seen)) > 0
    assert all(len(mode["losses"]) == 2 and mode["cpu_s"] > 0 for mode in modes.values())
    assert max(mode["largest_difference_of_a_loss"] for mode in modes.values()) < 1e-4
    assert modes["loop"]["times_the_loop"] == modes["paper"]["times_paper"] == 1.0
