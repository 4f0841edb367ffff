"""training.training_pairs: each recipe's training set, frozen under the version of its rows."""

import dagster as dg
import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.content import fingerprint
from models_py.errors import UserError

TABLE = "training.training_pairs"
_CONTENT = ("rank", "pair_id", "candidate", "instruction", "input", "output")


def training_pairs(recipe: str) -> dg.AssetsDefinition:
    """The asset `training/<recipe>/training_pairs`."""

    @dg.asset(
        key=key("training", recipe, "training_pairs"),
        deps=[key("selection", "recycled_pairs")],
        description=f"The rows of recipe {recipe}, frozen. {TABLES_BY_NAME[TABLE].description}",
        kinds={"python", "ducklake"},
        owners=OWNERS,
        code_version=code_version(__name__),
        group_name="training",
    )
    def frozen(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        with lake.exclusively(f"{TABLE}.{recipe}"):
            rows = _selected(lake, recipe)
            version = _version(rows)
            if not _is_frozen(lake, recipe, version):
                frame = rows.with_columns(recipe=pl.lit(recipe), data_version=pl.lit(version))
                asset = f"training/{recipe}/training_pairs"
                lake.append({TABLE: frame}, Commit(f"training set of {recipe}", asset, context.run_id, version))
        return table_result(
            lake, TABLE, where="recipe = ? and data_version = ?", params=[recipe, version], data_version=version
        )

    return frozen


def frozen_version(lake: Lake, recipe: str) -> str:
    """The data version of the rows that the recipe selects now: under it they lie frozen in the lake.

    Neither a clock nor Dagster's event log has a say, so a copied lake, and one whose selection went back to an earlier
    one, know it as well. Raises UserError where these rows were never frozen.
    """
    version = _version(_selected(lake, recipe))
    if not _is_frozen(lake, recipe, version):
        raise UserError(
            f"recipes.{recipe} selects rows that are not frozen yet (data version {version}): "
            f"materialize training/{recipe}/training_pairs first."
        )
    return version


def _selected(lake: Lake, recipe: str) -> pl.DataFrame:
    columns = ", ".join(_CONTENT)
    rows = lake.read(f"select {columns} from selection.recycled_pairs where recipe = ? order by rank", [recipe])
    if rows.is_empty():
        raise UserError(
            f"recipes.{recipe} keeps no pair, so there is nothing to train on. See why with: make sql "
            'Q="select drop_reason, choice_reason, count(*) from selection.pair_decisions '
            f"where recipe = '{recipe}' group by all\" and loosen its policy or its cuts in the profile."
        )
    return rows


def _version(rows: pl.DataFrame) -> str:
    return fingerprint([list(row) for row in rows.iter_rows()])[:16]


def _is_frozen(lake: Lake, recipe: str, version: str) -> bool:
    return lake.scalar(f"select count(*) from {TABLE} where recipe = ? and data_version = ?", [recipe, version]) != 0
