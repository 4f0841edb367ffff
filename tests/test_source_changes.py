"""A source of which a row is edited, one removed, all restored: what differs, what is trained, what checkpoints know.

Whole runs of a toy on twelve of the bundled pairs, and the commands that people ask about versions with.
"""

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from dagster_project.commands import diff, reproduce, rows, trace
from dagster_project.commands.diff import changes, sets_meant
from dagster_project.commands.serve import checkpoint_of
from dagster_project.lakehouse.lake import Lake
from tests.support.processes import run
from tests.support.profiles import SEEDS, small_toy

pytestmark = pytest.mark.slow

PAIRS = 12
EDITED, REMOVED = 4, 7  # lines, from 1


@dataclass(frozen=True)
class History:
    """Three runs: as it was, with a line edited and another removed, and as it was again; what each run said."""

    profile: Path
    checkpoints: list[str]
    said: list[str]

    @property
    def lake(self) -> Lake:
        return Lake(self.profile.parent / "warehouse")


def whole_seeds() -> list[str]:
    """The bundled pairs that are pairs: a few lines are broken on purpose."""
    lines = (SEEDS / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if _is_pair(line)]


def changed_lines(seeds: list[str]) -> list[str]:
    """Another pair in the place of the fourth, and without the seventh."""
    return [*seeds[: EDITED - 1], seeds[PAIRS + 1], *seeds[EDITED : REMOVED - 1], *seeds[REMOVED:PAIRS]]


def _is_pair(line: str) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return all(isinstance(row.get(name), str) and row[name].strip() for name in ("instruction", "output"))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder, seeds = tmp_path_factory.mktemp("changed"), whole_seeds()
    file = folder / "pairs.jsonl"
    profile = small_toy(
        folder,
        sources=[{"name": "mine", "path": str(file)}],
        recipes={"all": {"policy": "original", "teacher": "recorded", "student": "toy"}},
    )
    told = History(profile, [], [])
    first = seeds[:PAIRS]
    for lines in (first, changed_lines(seeds), first):
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        done = run(profile)
        assert done.returncode == 0, done.stdout + done.stderr
        told.said.append(done.stdout)
        told.checkpoints.append(str(told.lake.scalar("select checkpoint_id from training.current_checkpoints")))
    return told


def differing(lake: Lake, before: str, after: str) -> list[tuple[str, int | None]]:
    return [(one.change, one.source_row) for one in changes(lake, *sets_meant(lake, before, after, ""))]


def test_a_diff_names_just_the_lines_that_changed(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    first, changed, restored = history.checkpoints
    there = [("left", EDITED), ("left", REMOVED), ("entered", EDITED)]
    back = [("left", EDITED), ("entered", EDITED), ("entered", REMOVED)]
    assert sorted(differing(history.lake, first, changed)) == sorted(there)
    assert sorted(differing(history.lake, changed, restored)) == sorted(back)
    assert diff.main(["--from", first, "--to", changed, "--profile", str(history.profile)]) == 0
    said = capsys.readouterr().out
    assert "1 entered, 2 left, 0 with another choice, 0 with another text; 10 the same" in said
    assert re.search(rf"pairs\.jsonl, row {EDITED}\n +source: the pair is no longer in the sources", said)


def test_what_is_restored_is_the_version_and_the_checkpoint_of_before(history: History) -> None:
    first, changed, restored = history.checkpoints
    assert restored == first != changed
    assert "training all" not in history.said[2]  # nothing was trained again
    for checkpoint, said in zip(history.checkpoints, history.said, strict=True):
        assert f"checkpoints/all/{checkpoint}" in said
        assert sum(f"checkpoints/all/{other}" in said for other in (first, changed)) == 1


@pytest.mark.parametrize("place", range(2))
def test_every_checkpoint_knows_its_rows_as_they_were(history: History, tmp_path: Path, place: int) -> None:
    out = tmp_path / "rows.csv"
    arguments = [history.checkpoints[place], "--out", str(out), "--profile", str(history.profile)]
    assert rows.main(arguments) == 0
    with out.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    seeds = whole_seeds()
    lines = dict(enumerate([seeds[:PAIRS], changed_lines(seeds)][place], start=1))
    assert {Path(row["file"]).name for row in table} == {"pairs.jsonl"}
    assert sorted(int(row["source_row"]) for row in table) == sorted(lines)
    assert [row["output"] for row in table] == [json.loads(lines[int(row["source_row"])])["output"] for row in table]


def test_a_copied_warehouse_traces_reproduces_and_serves_from_there(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, changed, _ = history.checkpoints
    shutil.copytree(history.lake.warehouse, tmp_path / "copy" / "warehouse")
    profile = Path(shutil.copy(history.profile, tmp_path / "copy"))
    aside = history.lake.warehouse.rename(history.lake.warehouse.with_name("not_here"))
    try:
        lake = Lake(profile.parent / "warehouse")
        recipe, folder = checkpoint_of(lake, None)
        assert (recipe, folder) == ("all", lake.warehouse / "checkpoints" / "all" / first)
        assert (folder / "model.safetensors").is_file()
        capsys.readouterr()
        assert reproduce.main([changed, "--profile", str(profile)]) == 0
        assert "the same" in capsys.readouterr().out
        assert trace.main(["--file", "pairs.jsonl", "--row", str(EDITED), "--profile", str(profile)]) == 0
        told = capsys.readouterr().out
        assert first in told and changed in told
    finally:
        aside.rename(history.lake.warehouse)
