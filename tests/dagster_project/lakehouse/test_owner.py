"""A lake is one profile's: of two that name the same warehouse the second is refused, whatever it wants."""

import shutil
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from models_py.errors import UserError
from tests.conftest import PROJECT
from tests.support.lakes import append, ids, pairs, snapshots
from tests.support.processes import finish, python

MADE_BY_0_1 = PROJECT / "tests" / "fixtures" / "version_0_1" / "lake"


@pytest.fixture
def ours(empty_warehouse: Path, tmp_path: Path) -> Lake:
    lake = Lake(shutil.copytree(empty_warehouse, tmp_path / "warehouse"), owner="ours")
    append(lake, "whole")
    return lake


def test_another_profile_can_neither_write_nor_read(ours: Lake) -> None:
    theirs = Lake(ours.warehouse, owner="theirs")
    before = snapshots(ours)
    for what in (
        theirs.prepare,
        lambda: theirs.read("select 1"),
        lambda: theirs.recall("select count(*) from raw.raw_pairs"),
        lambda: append(theirs, "foreign"),
        lambda: theirs.mirror({"raw.raw_pairs": pairs()}, Commit("none")),
    ):
        with pytest.raises(UserError, match=r"that of profile ours.*`warehouse:`.*warehouse/theirs.*`reuse: \["):
            what()
    assert (ids(ours), snapshots(ours)) == (["whole"], before)


def test_its_own_profile_and_nobody_in_particular_may(ours: Lake) -> None:
    before = snapshots(ours)
    for lake in (Lake(ours.warehouse, owner="ours"), Lake(ours.warehouse)):
        lake.prepare()
        assert ids(lake) == ["whole"]
    assert snapshots(ours) == before


def test_a_lake_made_before_there_were_owners_is_whose_profile_opens_it_first(tmp_path: Path) -> None:
    warehouse = shutil.copytree(MADE_BY_0_1, tmp_path / "lake")
    first = Lake(warehouse, owner="first")
    assert first.scalar("select count(*) from raw.raw_pairs") == 8  # looking is no claim
    Lake(warehouse, owner="other").scalar("select 1")
    first.prepare()
    with pytest.raises(UserError, match="profile first"):
        Lake(warehouse, owner="other").scalar("select 1")


def test_a_moved_lake_keeps_its_owner(ours: Lake, tmp_path: Path) -> None:
    moved = ours.warehouse.rename(tmp_path / "elsewhere")
    assert ids(Lake(moved, owner="ours")) == ["whole"]
    with pytest.raises(UserError, match="profile ours"):
        ids(Lake(moved, owner="theirs"))


CREATE = """
import sys
from pathlib import Path
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError
from tests.support.lakes import append

try:
    append(Lake(Path(sys.argv[1]), owner=sys.argv[2]), sys.argv[3])
    print("written")
except UserError as error:
    print(str(error).split(",")[0])
"""


def test_of_two_that_create_a_lake_at_once_one_owns_it(tmp_path: Path) -> None:
    said = [finish(process) for process in [python(CREATE, tmp_path / "w", name, name) for name in ("one", "two")]]
    lake = Lake(tmp_path / "w")
    owner = str(lake.scalar("select profile from main.lake_owner"))
    assert sorted(line.split(" is ")[-1].strip() for line in said) == [f"that of profile {owner}", "written"]
    assert ids(lake) == [owner]


def test_of_one_profile_all_that_create_a_lake_at_once_write(tmp_path: Path) -> None:
    said = [finish(process) for process in [python(CREATE, tmp_path / "w", "same", str(i)) for i in range(3)]]
    assert said == ["written\n"] * 3
    lake = Lake(tmp_path / "w", owner="same")
    assert ids(lake) == ["0", "1", "2"]
    assert lake.read("from main.lake_owner").rows() == [("same",)]
