"""One Dagster asset a view of sql/: its dependencies, description and columns come from the file."""

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import VIEW_SCHEMA, View, load_views
from dagster_project.steps.results import OWNERS, asset_key, table_result
from models_py.content import fingerprint


def sql_assets() -> list[dg.AssetsDefinition]:
    """Every view as an asset of the group `selection`."""
    return [_asset(view) for view in load_views().values()]


def _asset(view: View) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(view.table),
        deps=[asset_key(table) for table in view.depends_on],
        description=view.description,
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        code_version=fingerprint(view.file.sql)[:12],
        group_name=VIEW_SCHEMA,
        tags={"policy": ""} if view.is_policy else None,
    )
    def select(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        lake.refresh(view, Commit(f"rows of {view.table}", asset=view.table, run_id=context.run_id))
        return table_result(lake, view.table)

    return select
