"""Fixtures that every folder of tests shares."""

import shutil
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.root import PROJECT_ROOT

PROJECT = PROJECT_ROOT
SHARED = PROJECT.parent / "shared"


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
