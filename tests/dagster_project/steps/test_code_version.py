"""A code version changes with what a step computes, wherever it is written, and with nothing else."""

from pathlib import Path

import pytest

from dagster_project.steps import code_version as module
from dagster_project.steps.code_version import code_version, reached
from tests.conftest import PROJECT

STEP = '''"""What the step does."""

from models_py.used import answer


def step() -> int:
    """Twice."""
    return 2 * answer()  # as always
'''
FILES = {
    "assets/stage/step.py": STEP,
    "models_py/used.py": "def answer() -> int:\n    from models_py.lazily import BASE\n\n    return BASE\n",
    "models_py/lazily.py": "BASE = 21\n",
    "models_py/unused.py": "X = 1\n",
    "dagster_project/wiring.py": "Y = 1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of five files."""
    monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def version(*sql: str) -> str:
    for function in (module.reached, module.file_meaning, module._tree, module._imports):
        function.cache_clear()
    return code_version("assets.stage.step", *sql)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("assets/stage/step.py", "2 *", "3 *", True),
        ("models_py/used.py", "return BASE", "return -BASE", True),
        ("models_py/lazily.py", "21", "22", True),
        ("models_py/lazily.py", "21", "21.0", True),
        ("assets/stage/step.py", "# as always", "# a comment", False),
        ("assets/stage/step.py", "What the step does", "What it is", False),
        ("assets/stage/step.py", '"""Twice."""', "", False),
        ("assets/stage/step.py", "2 * answer()", "(2 * (answer()))", False),
        ("models_py/lazily.py", "BASE = 21", "\n\nBASE  =  21", False),
        ("models_py/unused.py", "1", "2", False),
        ("dagster_project/wiring.py", "1", "2", False),
    ],
)
def test_it_follows_what_is_computed(project: Path, file: str, old: str, new: str, changes: bool) -> None:
    before = version()
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    assert (version() != before) is changes


def test_it_follows_the_sql_that_is_read(project: Path) -> None:
    assert len({version(), version("select 1"), version("select 2"), version("select 1", "select 2")}) == 4


def test_what_is_imported_for_types_alone_is_not_reached(project: Path) -> None:
    (project / "models_py/lazily.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from models_py.unused import X\nBASE = 21\n"
    )
    version()
    assert reached("assets.stage.step") == ("assets.stage.step", "models_py.lazily", "models_py.used")


def test_steps_reach_their_domain_and_no_estimate_stales_what_was_paid_for() -> None:
    module.reached.cache_clear()
    reflections = reached("assets.reflection.instruction_reflections")
    assert {"models_py.teacher.parser", "assets.reflection.reflect_pending"} <= set(reflections)
    assert "models_py.teacher.estimate" not in reflections
    scores = reached("assets.scoring.response_scores")
    assert {"assets.scoring.score_pending", "models_py.student.chat", "models_py.student.packed"} <= set(scores)
    assert not [name for name in (*reflections, *scores) if name.startswith("dagster_project")]
    assert (PROJECT / "models_py" / "teacher" / "parser.py").is_file()
