"""Warehouses in folders of any name, and in folders that cannot be written."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from tests.conftest import PROJECT
from tests.support.lakes import append, ids

LONG = "/".join(["d" * 140] * 4)
ODD = {
    "quotes": """it's "mine" ''""",
    "hash": "a#b",
    "percent": "100%25 %s",
    "question": "a?mode=ro&b=c",
    "glob": "[ab]*{1,2}",
    "semicolon": "a;b -- c",
    "dollar": "$HOME ${x} `id`",
    "braces": "{recipe} {{ x }}",
    "unicode": "ünï ☃ 日本語 🦆",
    "spaces": " a  b ",
    "equals": "a=b, c:d",
    "dots": "...",
    "line break": "a\nb",
    "dash": "-rf",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_warehouse_may_lie_in_any_folder(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / name / "warehouse", owner="mine")
    append(lake, "a")
    append(Lake(lake.warehouse, owner="mine"), "b")
    assert ids(lake) == ["a", "b"]
    assert lake.recall("select count(*) from raw.raw_pairs").item() == 2
    lake.check_sound()
    with Ledger(lake.warehouse / "teacher.sqlite") as ledger:
        assert ledger.spent("nobody").requests == 0
    with duckdb.connect() as connection:
        for extension in ("ducklake", "sqlite_scanner"):
            load_extension(connection, extension)
        connection.execute(lake.attach_statement())
        assert connection.execute("select count(*) from lake.raw.raw_pairs").fetchone() == (2,)
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(name).parts[0]]


AS_NOBODY = """
import os, sys
from pathlib import Path
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError

if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
lake = Lake(Path(sys.argv[1]))
try:
    lake.prepare()
    print("prepared")
except UserError as error:
    print(error)
try:
    print("read", lake.scalar("select count(*) from raw.raw_pairs"))
except UserError as error:
    print(error)
"""


def everything(folder: Path, mode: int) -> None:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            path.chmod(mode | (0o111 if path.is_dir() else 0))
    folder.chmod(mode | 0o111)


@pytest.fixture
def enterable() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("close", "named"),
    [
        (lambda w: w.chmod(0o555), ""),
        (lambda w: (w / "catalog.sqlite").chmod(0o444), "catalog.sqlite"),
        (lambda w: (w / "catalog.lock").chmod(0o444), "catalog.lock"),
        (lambda w: (w / "data").chmod(0o555), "data"),
        (lambda w: (w / "data" / "raw" / "raw_pairs").chmod(0o555), "data/raw/raw_pairs"),
        (lambda w: (w / "teacher.sqlite").chmod(0o444), "teacher.sqlite"),
        (lambda w: (w / "checkpoints").chmod(0o555), "checkpoints"),
        (lambda w: w.parent.chmod(0o700), ""),
        (lambda w: None, None),
    ],
    ids=["folder", "catalog", "lock", "data", "table", "ledger", "checkpoints", "above", "nothing"],
)
def test_what_cannot_be_written_is_told_before_anything_is_computed(
    empty_warehouse: Path, enterable: Path, close: Callable[[Path], None], named: str | None
) -> None:
    lake = Lake(shutil.copytree(empty_warehouse, enterable / "warehouse"))
    append(lake, "a")
    Ledger(lake.warehouse / "teacher.sqlite").close()
    (lake.warehouse / "checkpoints").mkdir()
    everything(lake.warehouse, 0o666)
    close(lake.warehouse)
    said = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, lake.warehouse],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    everything(lake.warehouse, 0o666)
    if named is None:
        assert said.stdout == "prepared\nread 1\n", said.stderr
    else:
        path = lake.warehouse / named
        assert said.stdout.startswith(f"warehouse: {path} cannot be written ("), said.stderr
        written, read = said.stdout.splitlines()
        assert "mend its permissions" in written
        assert read == "read 1" or read.startswith(f"warehouse: {lake.warehouse} cannot be written ("), read


def test_a_warehouse_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        with pytest.raises(UserError, match="cannot be written"):
            Lake(tmp_path / place).prepare()


@pytest.mark.parametrize("name", [LONG, "☃" * 80 + "/" + "☃" * 80, "a\\b"])
def test_a_path_that_sqlite_or_duckdb_cannot_open_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"has (more than 420 bytes \(\d+\)|a backslash): .* Name another"):
        Lake(tmp_path / name).prepare()
    assert list(tmp_path.iterdir()) == []


def test_a_long_path_is_no_trouble(tmp_path: Path) -> None:
    left = 420 - len(str(tmp_path)) - 2
    lake = Lake(tmp_path / ("d" * (left // 2)) / ("e" * (left - left // 2)))
    append(lake, "a")
    assert ids(lake) == ["a"]
