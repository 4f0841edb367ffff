"""`make` of the project with a program in place of Python that only tells what it was called with."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from dagster_project.root import PROJECT_ROOT

# Stands for .venv/bin/python.
_ECHO = """#!/bin/sh
printf '%s\\0' "$@"
printf 'profile %s' "$REFLECTION_PROFILE"
"""


class Make:
    """`make`, with the environment set up."""

    def __init__(self, programs: Path, environment: Mapping[str, str]) -> None:
        """programs: an empty folder. environment: of make; what it sets itself when it runs something is left out."""
        (programs / "python").write_text(_ECHO)
        (programs / "python").chmod(0o755)
        kept = {name: value for name, value in environment.items() if not name.startswith("MAKE")}
        kept.pop("REFLECTION_PROFILE", None)
        self.programs, self.environment = programs, kept
        self.said = ""  # on standard error, when it was called last

    def __call__(self, target: str, *variables: str, **in_environment: str) -> tuple[list[str], str]:
        """The arguments after `-m`, and the profile."""
        done = subprocess.run(
            ["make", target, "SETUP=:", f"BIN={self.programs}", *variables],
            cwd=PROJECT_ROOT,
            env=self.environment | in_environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.said = done.stderr
        [_, *arguments, profile] = done.stdout.split("\0")
        return arguments, profile.removeprefix("profile ")
