"""A lake that tests only read, and a process that is in the middle of writing to one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from tests.support.lakes import append
from tests.support.processes import first_line, python

WRITER = """
import sys, time
from pathlib import Path
from dagster_project.lakehouse.lake import Commit, Lake

def change(connection):
    connection.execute("insert into raw.raw_pairs (pair_id) values ('half')")
    print("open", flush=True)
    time.sleep(600)

lake = Lake(Path(sys.argv[1]))
with lake.exclusively("scoring"):
    lake.write(change, Commit("never finished"))
"""


@pytest.fixture
def shared_lake(empty_warehouse: Path) -> Lake:
    """The empty lake itself, for tests that do not write."""
    return Lake(empty_warehouse)


@pytest.fixture
def written_lake(lake: Lake) -> Lake:
    """A lake with one committed pair, `whole`."""
    append(lake, "whole")
    return lake


@pytest.fixture
def writer(written_lake: Lake) -> Iterator["subprocess.Popen[str]"]:
    """A process with an open transaction on `written_lake`, which also holds its `scoring` work exclusively."""
    process = python(WRITER, written_lake.warehouse)
    try:
        assert first_line(process) == "open"
        yield process
    finally:
        process.kill()
        process.communicate()
