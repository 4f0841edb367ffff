"""models_py/student needs torch and transformers alone: it runs on a machine that has nothing else of this project."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models_py.student.spec import ResolvedStudent

PROJECT = Path(__file__).resolve().parents[3]
CODE = """
import importlib, pkgutil, sys

class Absent:
    '''Finds no package but torch's and transformers' own world.'''
    names = ("duckdb", "polars", "dagster", "trl", "vllm", "ray", "openai", "sqlglot")
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not on this machine")

sys.meta_path.insert(0, Absent())
import models_py.student
modules = [f"models_py.student.{m.name}" for m in pkgutil.iter_modules(models_py.student.__path__)]
for name in modules:
    importlib.import_module(name)

from models_py.student.loading import load_chat, load_model
from models_py.student.resolve import find_student
from models_py.student.scorer import ScoreRequest, Scorer
from models_py.student.spec import Student
from pathlib import Path

student = find_student(Student("mine", model=sys.argv[1], max_length=512), Path(sys.argv[2]))
row = next(Scorer(load_model(student, "cpu"), load_chat(student)).score([ScoreRequest("a", "Why", "", "Blue sky")]))
assert row.status == "ok" and row.answer_nll > 0, row
print(len(modules), *sorted(set(Absent.names) & sys.modules.keys()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama"])
def test_the_student_scores_where_nothing_else_is_installed(
    student: Callable[[str], ResolvedStudent], tmp_path: Path, family: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE, student(family).model, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    count, *others = ran.stdout.split()
    assert int(count) >= 10 and others == []
