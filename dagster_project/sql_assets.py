"""One Dagster asset a model of sql/: its dependencies, description and columns come from the file."""

import re
from collections.abc import Sequence

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import Model, load_models
from dagster_project.steps.pictures import shown_of
from dagster_project.steps.results import OWNERS, asset_key, asset_keys, table_result
from models_py.content import fingerprint


def sql_assets(recipes: Sequence[str]) -> list[dg.AssetsDefinition]:
    """Every model as an asset of the group that is called like its schema."""
    return [_asset(model, recipes) for model in load_models().values()]


def _asset(model: Model, recipes: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(model.table),
        deps=[key for table in model.depends_on for key in asset_keys(table, recipes)],
        description=_page_text(model),
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        code_version=fingerprint(model.file.meaning)[:12],
        tags={"policy": ""} if model.is_policy else None,
    )
    def select(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        lake.refresh(model, Commit(f"rows of {model.table}", asset=model.table, run_id=context.run_id))
        version = fingerprint(model.file.meaning)[:12] if model.file.header.history else None
        return table_result(
            lake, model.table, metadata=shown_of(lake, model.table), data_version=version, recipes=recipes
        )

    return select


def _page_text(model: Model) -> str:
    """What the page of its asset says: its description and below it the statement, which nothing in it can end."""
    sql = model.file.statement
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", sql)), default=0))
    return f"{model.description}\n\n{fence}sql\n{sql}\n{fence}"
