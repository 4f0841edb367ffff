"""Which state of this project runs: its version and, where it is a git checkout, the commit."""

import subprocess
from functools import cache
from importlib.metadata import version
from typing import Any

from dagster_project.root import PROJECT_ROOT

DISTRIBUTION = "reflection-lake"
_TIMEOUT_S = 10


@cache
def project_version() -> dict[str, Any]:
    """version, and of a checkout commit (hex) and changed: whether files that git follows differ from it."""
    known: dict[str, Any] = {"version": version(DISTRIBUTION)}
    if (PROJECT_ROOT / ".git").exists() and (commit := _git("rev-parse", "HEAD")):
        known |= {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    return known


def _git(*arguments: str) -> str | None:
    """What git says; None where it is not installed, or will not say it."""
    try:
        command = ["git", "-C", str(PROJECT_ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
