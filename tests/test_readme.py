"""What the README promises is there: folders, policies. Its commands and queries: test_documents.py."""

import os
import re
import subprocess

from dagster_project.lakehouse.sql_files import policies
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text()


def test_the_tree_is_the_tree() -> None:
    block = README.split("## The tree")[1].split("```")[1]
    folders = re.findall(r"^([a-z_]+)/", block, re.MULTILINE)
    assert all((PROJECT / folder).is_dir() for folder in folders)
    tracked = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert tracked - {"warehouse"} == set(folders)


def test_every_policy_is_named() -> None:
    section = README.split("- **Policy.**")[1].split("- **Training.**")[0]
    assert set(policies()) <= set(re.findall(r"`([a-z_]+)`", section))


def test_what_args_says_reaches_pytest_with_its_quotes() -> None:
    said = """-m 'not slow' -k "one or other" tests/sql"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # make ran this
    command = ["make", "-n", "test", f"ARGS={said}"]
    shown = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.endswith(f"-m pytest -n 2 --dist loadfile --no-loadscope-reorder {said}\n")
