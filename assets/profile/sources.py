"""profile.sources: where the pairs come from, as the profile says now."""

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.results import OWNERS, key, table_result

TABLE = "profile.sources"


@dg.asset(
    key=key("profile", "sources"),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version="1",
)
def sources(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    rows = [
        {
            "source": spec.name,
            "paths": [str(path).removeprefix(f"{profile.root}/") for path in spec.paths],
            "max_bad_fraction": profile.max_bad_fraction,
        }
        for spec in profile.source_specs()
    ]
    frame = pl.DataFrame(
        rows, schema={"source": pl.String, "paths": pl.List(pl.String), "max_bad_fraction": pl.Float64}
    )
    lake.mirror({TABLE: frame}, Commit("sources of the profile", asset="profile/sources", run_id=context.run_id))
    return table_result(lake, TABLE)
