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
        columns = ", ".join(_CONTENT)
        rows = lake.read(f"select {columns} from selection.recycled_pairs where recipe = ? order by rank", [recipe])
        if rows.is_empty():
            raise UserError(
                f"recipes.{recipe} keeps no pair, so there is nothing to train on. See why with: make sql "
                'Q="select drop_reason, choice_reason, count(*) from selection.pair_decisions '
                f"where recipe = '{recipe}' group by all\" and loosen its policy or its cuts in the profile."
            )
        version = fingerprint([list(row) for row in rows.iter_rows()])[:16]
        stored = "recipe = ? and data_version = ?"
        with lake.exclusively(f"{TABLE}.{recipe}"):
            if lake.scalar(f"select count(*) from {TABLE} where {stored}", [recipe, version]) == 0:
                frame = rows.with_columns(recipe=pl.lit(recipe), data_version=pl.lit(version))
                asset = f"training/{recipe}/training_pairs"
                lake.append({TABLE: frame}, Commit(f"training set of {recipe}", asset, context.run_id, version))
        return table_result(lake, TABLE, where=stored, params=[recipe, version], data_version=version)

    return frozen
