"""What every folder of tests shares: fixtures, the searches of property tests, the work of two workers."""

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dagster_project.lakehouse.lake import Lake
from dagster_project.root import PROJECT_ROOT

pytest_plugins = ["tests.support.postgres", "tests.support.s3"]

PROJECT = PROJECT_ROOT
FLOWS = PROJECT / "tests"  # right in it: tests of the whole
SHARED = PROJECT.parent / "shared"

# `make test` looks at the same examples every time: it fails where code is wrong, not where luck has it, and never for
# being slow. `make fuzz` searches at random and longer, keeps what failed, and prints what repeats it.
_common: dict[str, Any] = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, **_common)
settings.register_profile("fuzz", max_examples=2000, **_common)
settings.load_profile("ci")

# TRL silences vLLM's log in every process that imports it, unless somebody has said what is to be logged.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")

# One thread a worker, in the processes that tests start too: two workers with two each fight for two cores, and what
# fights spins. Set before torch or polars is imported.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long forms run where they are asked for. Files with whole flows come first, then those with other slow tests.

    So no worker begins with a long one when the others end.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent != FLOWS or item.path not in slow, item.path not in slow))
    for item in items:
        if {"postgres", "postgres_server"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker("postgres")
    if "soak" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


RunHere = Callable[..., tuple[int, str]]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[RunHere]:
    """`make run` in this process: its exit status and what it said. For tests of what it says and leaves behind.

    Half of what a process of its own takes are imports, which are here already.
    """
    from dagster_project.commands import run

    root, hang_up = logging.getLogger(), signal.getsignal(signal.SIGHUP)
    handlers, level = root.handlers, root.level

    def main(profile: Path, *options: str) -> tuple[int, str]:
        monkeypatch.setenv("REFLECTION_PROFILE", str(profile))
        monkeypatch.setenv("DAGSTER_HOME", str(profile.parent / "dagster"))
        capfd.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in a process of its own they would be nobody's errors
            status = run.main(["--profile", str(profile), *options])
        said = capfd.readouterr()
        return status, said.out + said.err

    try:
        yield main
    finally:
        root.handlers = handlers
        root.setLevel(level)
        signal.signal(signal.SIGHUP, hang_up)


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the whole schema and no rows, to be copied: that is quicker than making one."""
    warehouse = tmp_path_factory.mktemp("empty") / "warehouse"
    Lake(warehouse).prepare()
    return warehouse


@pytest.fixture
def lake(empty_warehouse: Path, tmp_path: Path) -> Lake:
    """A real, empty DuckLake with the whole schema."""
    return Lake(shutil.copytree(empty_warehouse, tmp_path / "warehouse"))
