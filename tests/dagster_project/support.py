"""What several tests of the wiring need: a process of one's own, a profile of one's own."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.root import PROJECT_ROOT as PROJECT


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process that runs `code` from the project's folder; its output can be read, its kill is real."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """What it printed; fails with what it complained of."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def first_line(process: "subprocess.Popen[str]") -> str:
    """Waits for the line by which a process says that it is where the test wants it."""
    assert process.stdout is not None and process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def quickstart(folder: Path, **replaced: str) -> Path:
    """A copy of the quickstart's profile whose warehouse lies below `folder`; further lines replaced by text."""
    text = (PROJECT / "profiles" / "quickstart.yaml").read_text(encoding="utf-8")
    text = text.replace("warehouse/quickstart", str(folder / "warehouse")).replace("seeds/", f"{PROJECT}/seeds/")
    for old, new in replaced.items():
        text = text.replace(old, new)
    file = folder / "quickstart.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def pairs(*pair_ids: str) -> pl.DataFrame:
    """Rows of raw.raw_pairs of which only the id matters."""
    return pl.DataFrame({"pair_id": pair_ids}, schema={"pair_id": pl.String})


def append(lake: Lake, *pair_ids: str) -> int:
    return lake.append({"raw.raw_pairs": pairs(*pair_ids)}, Commit("pairs"))


def ids(lake: Lake, as_of: int | None = None) -> list[str]:
    return lake.read("select pair_id from raw.raw_pairs order by all", as_of=as_of)["pair_id"].to_list()


def snapshots(lake: Lake) -> int:
    return int(str(lake.scalar("select count(*) from lake.snapshots()")))
