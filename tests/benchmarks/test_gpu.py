"""benchmarks/gpu.sh works where only torch and transformers are: here on a CPU, on shapes that take seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ABSENT = """
import sys

class Absent:
    names = {"duckdb", "polars", "dagster", "trl", "vllm", "ray", "sqlglot", "openai", "aiohttp", "lm_eval", "rensa"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not on this machine", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.slow
def test_it_measures_scoring_and_training_with_nothing_else_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    out = tmp_path / "gpu.json"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    command = ["bash", str(PROJECT / "benchmarks" / "gpu.sh"), "--out", str(out), "--dtype", "bfloat16"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    scored, trained = result["scoring"]["tiny"], result["training"]
    assert {*scored["modes"]} == {"a", "a-dtype", "b", "c"} and scored["path"].startswith("packs")
    exact = scored["exactness"]
    assert exact["packed"]["terms"] == exact["one_by_one"]["terms"] == 2 * 16
    # Half precision is as far from the truth in packs as one sequence at a time.
    assert exact["packed"]["median"] <= 1.5 * exact["one_by_one"]["median"] < 0.01
    assert scored["modes"]["c"]["rows"] == 4 and 0 < scored["modes"]["c"]["share_of_gemm_peak"] < 1
    assert trained["steps"] == 10 and trained["tokens_per_s"] > trained["target_tokens_per_s"] > 0
    assert result["left_out"] == []
    assert "| tiny | c ours, full | bfloat16 |" in done.stdout and "Training at tiny: " in done.stdout


def test_what_the_time_no_longer_allows_is_left_out_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = ["bash", str(PROJECT / "benchmarks" / "gpu.sh"), "--shapes", "7b", "--train-shape", "1.5b"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [*command, "--minutes", "0.5", "--out", str(out)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert json.loads(out.read_text())["left_out"] == [
        "scoring at 7b: 30 s are left of 0.5 minutes",
        "training at 1.5b: 30 s are left of 0.5 minutes",
    ]
    assert "Left out: scoring at 7b" in done.stdout
