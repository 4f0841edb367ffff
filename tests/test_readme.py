"""What the README promises is there: commands, folders, policies."""

import os
import re
import subprocess

from dagster_project.lakehouse.sql_files import policies
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text()


def test_every_documented_command_is_a_make_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    documented = set(re.findall(r"`make ([a-z-]+)", README))
    assert documented >= {
        "run",
        "test",
        "ui",
        "sql",
        "lint",
        "bench",
        "evidence",
        "serve",
        "export",
        "push",
        "estimate",
        "prompt",
        "export-replies",
        "import-replies",
    }
    assert documented <= targets


def test_the_tree_is_the_tree() -> None:
    block = README.split("## The tree")[1].split("```")[1]
    folders = re.findall(r"^([a-z_]+)/", block, re.MULTILINE)
    assert all((PROJECT / folder).is_dir() for folder in folders)
    tracked = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert tracked - {"warehouse"} == set(folders)


def test_every_policy_is_named() -> None:
    section = README.split("- **Policy.**")[1].split("- **Training.**")[0]
    assert set(policies()) <= set(re.findall(r"`([a-z_]+)`", section))


def test_every_variable_of_the_makefile_that_people_set_is_documented() -> None:
    for variable in (
        "PROFILE",
        "AS_OF",
        "Q",
        "FORMAT",
        "OUT",
        "PORT",
        "PAIR",
        "TEACHER",
        "FILE",
        "DATA",
        "RECIPE",
        "FILES",
        "CANDIDATES",
        "REPO",
        "CONFIRM",
        "PUBLIC",
        "ALL",
        "ARGS",
        "WITH",
        "WORKERS",
    ):
        assert f"{variable}=" in README


def test_what_args_says_reaches_pytest_with_its_quotes() -> None:
    said = """-m 'not slow' -k "one or other" tests/sql"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # make ran this
    command = ["make", "-n", "test", f"ARGS={said}"]
    shown = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.endswith(f"-m pytest -n 2 --dist loadfile --no-loadscope-reorder {said}\n")
