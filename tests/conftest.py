"""Fixtures that every folder of tests shares."""

from pathlib import Path

import pytest

from dagster_project.lake import Lake

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A real, empty DuckLake with the whole schema."""
    lake = Lake(tmp_path / "warehouse")
    lake.prepare()
    return lake
