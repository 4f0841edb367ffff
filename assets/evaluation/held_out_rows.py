"""evaluation.held_out_rows: the pairs of evaluation.held_out as they are now, each once a set."""

from typing import Any

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.content import FileHashes
from models_py.evaluation.held_out import HeldOutSet
from models_py.sources.hub import shown
from models_py.sources.read import SourcesRead, check_bad_fraction, read_sources, readable_files
from models_py.sources.read import told as told_of_reading

TABLE = "evaluation.held_out_rows"


@dg.asset(
    key=asset_key(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def held_out_rows(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    frames = [TABLES_BY_NAME[TABLE].empty]
    told: list[str] = []
    for one in profile.evaluation.held_out:
        read = read_sources([one], StepProgress(context, f"reading {one.name}", context.asset_key))
        check_bad_fraction(read, profile.max_bad_fraction, HeldOutSet.section)
        rows = read.pairs.rename({"pair_id": "content_id", "source": "held_out"}).drop("duplicate_count")
        frames.append(rows.with_columns(file=pl.col("file").str.strip_prefix(f"{profile.root}/")))
        told += [*told_of_reading(read, [one]), *_left_out(read, one)]
    commit = Commit("held-out rows", asset="evaluation/held_out_rows", run_id=context.run_id)
    lake.mirror({TABLE: pl.concat(frames, how="diagonal")}, commit)
    return table_result(lake, TABLE, metadata={TOLD_KEY: dg.MetadataValue.text("\n".join(told))} if told else None)


def observed(profile: Profile) -> list[Any]:
    """How the sets are read, and the bytes of their files. Raises UserError or OSError."""
    hashes = FileHashes(profile.file_hashes)
    files = readable_files(profile.evaluation.held_out)
    seen = [
        [one.name, one.settings, [[shown(path), hashes.of(path)] for path in files[one.name]]]
        for one in profile.evaluation.held_out
    ]
    hashes.save()
    return seen


def _left_out(read: SourcesRead, one: HeldOutSet) -> list[str]:
    """What of the set is no row: copies and bad rows."""
    copies, bad = int(read.pairs["duplicate_count"].sum()), read.quarantined.height
    said = [f"{one.name}: {copies:,} further copies count once"] if copies else []
    if bad:
        first = read.quarantined.row(0, named=True)
        said.append(f"{one.name}: {bad:,} rows are no pairs (first: row {first['source_row']}: {first['reason']})")
    return said
