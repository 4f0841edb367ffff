"""raw.near_duplicates: which pairs nearly repeat an earlier one, as whole conversations, where the profile asks."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.lakehouse.answers import relations_read
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.cleaning import near_duplicates as cleaning
from models_py.cleaning.settings import NearDuplicates
from models_py.content import fingerprint

TABLE = "raw.near_duplicates"
_READ_ROWS = 5_000  # texts held in memory at once
# `place` is the order of the sources, which `$1` names, however their rows are stored: of the ids alone, for sorting
# holds what it sorts in memory. Of a history only what was said counts.
_CONVERSATIONS = """
with places as (
    select
        pairs.pair_id,
        row_number() over (
            order by
                list_position($1, pairs.source), list_position(sources.paths, pairs.file), pairs.file,
                pairs.source_row, pairs.pair_id
        ) as place
    from raw.raw_pairs as pairs
    left join profile.sources as sources on sources.source = pairs.source
)

select
    places.place,
    pairs.pair_id,
    concat_ws(
        chr(10), pairs.system, array_to_string(json_extract_string(pairs.history, '$[*].content'), chr(10)),
        pairs.instruction, pairs.input, pairs.output
    ) as text
from raw.raw_pairs as pairs
inner join places on places.pair_id = pairs.pair_id
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=[asset_key(table) for table in relations_read(_CONVERSATIONS) or ()],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "duckdb", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def near_duplicates(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    commit = Commit("near duplicates among the pairs", asset="raw/near_duplicates", run_id=context.run_id)
    settings = profile.near_duplicates_sought
    with lake.exclusively(TABLE):
        if settings is None:
            lake.mirror({TABLE: []}, commit)
        else:
            made_with = fingerprint(code_version(__name__), observed(profile))
            lake.derive(TABLE, _CONVERSATIONS, made_with, lambda: _found(context, lake, profile, settings), commit)
    repeated = int(str(lake.scalar(f"select count(*) from {TABLE}")))
    is_told = repeated and not all(recipe.drop_near_duplicates for recipe in profile.recipes.values())
    told = (
        f"{repeated:,} pairs nearly repeat an earlier one (raw.near_duplicates); `drop_near_duplicates: true` leaves "
        "them out of a recipe"
    )
    return table_result(lake, TABLE, metadata={TOLD_KEY: dg.MetadataValue.text(told)} if is_told else None)


def observed(profile: Profile) -> list[Any]:
    """What decides about them beside the pairs."""
    settings = profile.near_duplicates_sought
    return [asdict(settings) if settings else None, [source.name for source in profile.sources] if settings else []]


def _found(context: dg.AssetExecutionContext, lake: Lake, profile: Profile, settings: NearDuplicates) -> pl.DataFrame:
    names = [source.name for source in profile.sources]
    progress = StepProgress(context, "looking for near duplicates", context.asset_key)
    total = int(str(lake.scalar("select count(*) from raw.raw_pairs")))
    with lake.spilling() as folder:
        return cleaning.near_duplicates(
            lambda: lake.batches(_CONVERSATIONS, [names], rows=_READ_ROWS),
            settings,
            folder,
            total=total,
            on_progress=progress,
        )
