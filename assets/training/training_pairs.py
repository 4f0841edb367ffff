"""training.training_pairs: each recipe's training set, frozen under the version of its rows."""

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import duckdb
import polars as pl

from dagster_project.lakehouse.frozen import snapshot_of
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.locked import literal
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.errors import UserError
from models_py.training.rows_version import ROW_COLUMNS, rows_version

TABLE = "training.training_pairs"
_CURRENT = "select data_version from training.current_training_sets where recipe = ?"
_STORED = "recipe = ? and data_version = ?"
_READ_ROWS = 10_000  # held in memory at once
# Where a row comes from is no part of what it is: it is frozen beside it.
_SELECTED = f"""
select {", ".join(ROW_COLUMNS)}, content_id, origins.* exclude (recipe, pair_id)
from selection.recycled_pairs
left join selection.recycled_pair_origins as origins using (recipe, pair_id)
where recipe = {{recipe}}
order by rank
"""


def training_pairs(recipe: str) -> dg.AssetsDefinition:
    """The asset `training/<recipe>/training_pairs`."""

    @dg.asset(
        key=key("training", recipe, "training_pairs"),
        deps=[key("selection", "recycled_pairs")],
        description=f"The rows of recipe {recipe}, frozen. {TABLES_BY_NAME[TABLE].description}",
        kinds={"python", "ducklake"},
        owners=OWNERS,
        code_version=code_version(__name__),
    )
    def frozen(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
        version = freeze(lake, recipe, context.run_id)
        return table_result(lake, TABLE, where=_STORED, params=[recipe, version], data_version=version)

    return frozen


def freeze(lake: Lake, recipe: str, run_id: str = "") -> str:
    """The data version of the rows that the recipe selects now, which are stored under it unless they are already."""
    with lake.exclusively(f"{TABLE}.{recipe}"):
        lake.prepare()  # a lake of before may lack the view that is read now
        version = _frozen_version(lake, recipe)
        if version is None:
            version = _freeze_selected(lake, recipe, run_id)
    return version


@dataclass(frozen=True, slots=True)
class CurrentSet:
    """The rows that a recipe selects now, as they lie frozen. snapshot_id: of the lake, on which it selects these."""

    recipe: str
    data_version: str
    snapshot_id: int


def current_set(lake: Lake, recipe: str) -> CurrentSet:
    """The frozen set of the rows that the recipe selects now.

    Neither a clock nor Dagster's event log has a say, so a copied lake, and one whose selection went back to an earlier
    one, know it as well. Its snapshot is that on which it was frozen, which `make compact` keeps, while that selects
    these rows. Raises UserError where they are not frozen.
    """
    with lake.recalling() as recall:
        version, now = _version_in(recall(_CURRENT, [recipe]).rows), recall.state.snapshot
    if version is None:
        raise UserError(
            f"recipes.{recipe}: the rows that it selects now are not frozen yet; "
            f"materialize training/{recipe}/training_pairs with all above it."
        )
    then = lake.read(f"select {snapshot_of('$recipe', '$version')}", {"recipe": recipe, "version": version}).item()
    is_kept = then is not None and _selects(lake, recipe, version, then)
    return CurrentSet(recipe, version, then if is_kept else now)


def _selects(lake: Lake, recipe: str, version: str, snapshot_id: int) -> bool:
    """Whether the recipe selects that set on a snapshot, which an earlier version of the project may have made."""
    try:
        return _version_in(lake.read(_CURRENT, [recipe], as_of=snapshot_id)) == version
    except duckdb.Error:
        return False


def _frozen_version(lake: Lake, recipe: str) -> str | None:
    """The frozen set whose rows are those that the recipe selects now, None where there is none."""
    return _version_in(lake.recall(_CURRENT, [recipe]))


def _version_in(current: pl.DataFrame) -> str | None:
    return str(current.item()) if current.height else None


def _freeze_selected(lake: Lake, recipe: str, run_id: str) -> str:
    """The rows as they are selected at one moment: hashed, then stored, a batch in memory at a time."""
    with lake.set_aside(_SELECTED.format(recipe=literal(recipe))) as file:
        rows = f"read_parquet({literal(str(file))})"
        if not lake.scalar(f"select count(*) from {rows}"):
            raise UserError(
                f"recipes.{recipe} keeps no pair, so there is nothing to train on. See why with: make sql "
                'Q="select drop_reason, choice_reason, count(*) from selection.pair_decisions '
                f"where recipe = '{recipe}' group by all\" and loosen its policy or its cuts in the profile."
            )
        version = rows_version(lake.batches(f"select {', '.join(ROW_COLUMNS)} from {rows}", rows=_READ_ROWS))

        def store(connection: duckdb.DuckDBPyConnection) -> int:
            values = "? as recipe, ? as data_version, ? as created_at"
            now = datetime.now(UTC).replace(tzinfo=None)
            told = connection.execute(
                f"insert into {TABLE} by name select *, {values} from {rows}", [recipe, version, now]
            ).fetchone()
            return int(told[0]) if told else 0

        # The selection may have gone back between the two looks.
        if lake.scalar(f"select count(*) from {TABLE} where {_STORED}", [recipe, version]) == 0:
            asset = f"training/{recipe}/training_pairs"
            lake.write(store, Commit(f"training set of {recipe}", asset, run_id, version))
    return version
