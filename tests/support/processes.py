"""Processes that a test starts: Python with a few lines of its own, and `make run`."""

import os
import subprocess
import sys
from pathlib import Path

from dagster_project.root import PROJECT_ROOT as PROJECT


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process that runs `code` from the project's folder; its output can be read, its kill is real."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """What it printed; fails with what it complained of."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def first_line(process: "subprocess.Popen[str]") -> str:
    """Waits for the line by which a process says that it is where the test wants it."""
    assert process.stdout is not None and process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def run_command(profile: Path) -> tuple[list[str], dict[str, str]]:
    """What `make run` starts for a profile, and its environment; Dagster's home lies beside the profile."""
    environment = {**os.environ, "DAGSTER_HOME": str(profile.parent / "dagster"), "PYTHONPATH": str(PROJECT)}
    environment.pop("REFLECTION_PROFILE", None)
    return [sys.executable, "-m", "dagster_project.commands.run", "--profile", str(profile)], environment


def run(profile: Path, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`make run`, to its end. variables: further ones of its environment."""
    arguments, environment = run_command(profile)
    return subprocess.run(
        [*arguments, *options],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
