"""raw.raw_pairs, raw.quarantined_rows, raw.source_counts: one reading of the sources; good rows, bad rows, sums."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, key, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.sources.read import SourcesRead, check_bad_fraction, read_sources, told

PAIRS, QUARANTINED, COUNTS = "raw.raw_pairs", "raw.quarantined_rows", "raw.source_counts"


def _spec(table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(table),
        deps=[key("profile", "sources")],
        description=TABLES_BY_NAME[table].description,
        kinds={"python", "polars", "ducklake"},
        owners=OWNERS,
        code_version=code_version(__name__),
    )


@dg.multi_asset(specs=[_spec(QUARANTINED), _spec(COUNTS), _spec(PAIRS)], can_subset=True)
def raw_pairs(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> Iterator[dg.MaterializeResult]:
    read = read_sources(
        profile.sources,
        StepProgress(context, "reading sources", key("raw", "raw_pairs")),
        max_bad_fraction=profile.max_bad_fraction,
    )
    commit = Commit("pairs of the sources", asset="raw/raw_pairs", run_id=context.run_id)
    wanted = context.selected_asset_keys
    # One reading, so all tables are written whichever is asked for; bad rows also when there are too many of them:
    # that is when someone needs to see them.
    lake.mirror({QUARANTINED: _relative(read.quarantined, profile), COUNTS: _counts(read, profile)}, commit)
    for table in (QUARANTINED, COUNTS):
        if asset_key(table) in wanted:
            yield table_result(lake, table, asset=asset_key(table))
    check_bad_fraction(read, profile.max_bad_fraction)
    lake.mirror({PAIRS: _relative(read.pairs, profile)}, commit)
    if asset_key(PAIRS) in wanted:
        sentences = told(read, profile.sources)
        metadata = {
            "rows_read": sum(read.rows_by_source.values()),
            "duplicate_rows": int(read.pairs["duplicate_count"].sum()),
            "quarantined_rows": read.quarantined.height,
            **({TOLD_KEY: dg.MetadataValue.text("\n".join(sentences))} if sentences else {}),
        }
        yield table_result(lake, PAIRS, asset=asset_key(PAIRS), metadata=metadata)


def _relative(rows: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """File names as they are on every machine, so that the same sources make the same data version."""
    return rows.with_columns(file=pl.col("file").str.strip_prefix(f"{profile.root}/"))


def _counts(read: SourcesRead, profile: Profile) -> list[dict[str, object]]:
    rows = [asdict(counts) for counts in read.counts]
    for row in rows:
        for name in ("files_left_out", "files_without_rows"):
            row[name] = [file.removeprefix(f"{profile.root}/") for file in row[name]]
    return rows
