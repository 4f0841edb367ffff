"""Fixtures that every folder of tests shares."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dagster_project.lakehouse.lake import Lake
from dagster_project.root import PROJECT_ROOT

PROJECT = PROJECT_ROOT
SHARED = PROJECT.parent / "shared"

# `make test` looks at the same examples every time: it fails where code is wrong, not where luck has it, and never for
# being slow. `make fuzz` searches at random and longer, keeps what failed, and prints what repeats it.
_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, **_common)
settings.register_profile("fuzz", max_examples=2000, **_common)
settings.load_profile("ci")


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
