"""What every asset reports when it has materialized: rows, schema, preview, snapshot, data version.

Assets return `MaterializeResult`, never a pickled value: the lake holds the rows, Dagster holds what is known of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import dagster as dg

from dagster_project.lakehouse.lake import Facts, Lake
from dagster_project.lakehouse.sql_files import Lineage, column_lineage, lineage_inputs, load_models, pending_reads
from dagster_project.lakehouse.tables import SHARED_BY_RECIPES, TABLES_BY_NAME

OWNERS = ["team:reflection-lake"]
TOLD_KEY = "told"  # of an asset's metadata: what a person should read, a sentence a line
_PREVIEW_ROWS = 5
_NARROW = 4  # columns that fit beside each other on the page of an asset
_PREVIEW_CHARS = 300
_HASH = re.compile("^[0-9a-f]{64}$")
_HASH_CHARS = 12


def table_result(
    lake: Lake,
    table: str,
    *,
    asset: dg.AssetKey | None = None,
    where: str = "true",
    params: Sequence[object] = (),
    data_version: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    recipes: Sequence[str] = (),
) -> dg.MaterializeResult:
    """The result of an asset whose rows are those of `table` that satisfy `where` (SQL, with `params`).

    The data version is a hash of those rows without their volatile columns, unless the asset knows a better one.
    `recipes` are those of the profile, where a model may read tables that they share.
    """
    unused = TABLES_BY_NAME[table].unused if table in TABLES_BY_NAME else {}
    rows = f"(from {table} where {where})"
    facts = lake.facts(rows, stable_columns(table), params, unused=unused, preview_rows=_PREVIEW_ROWS)
    return dg.MaterializeResult(
        asset_key=asset,
        data_version=dg.DataVersion(data_version or facts.data_version),
        metadata={
            "dagster/row_count": facts.rows,
            "dagster/table_name": table,
            "dagster/column_schema": _column_schema(table, facts),
            **_lineage_metadata(lake, table, recipes),
            **(metadata or {}),
            "snapshot_id": facts.snapshot_id,
            "preview": _preview(facts),
        },
    )


def asset_key(table: str) -> dg.AssetKey:
    """`schema.table` -> the asset that makes it: group and name."""
    return dg.AssetKey(table.split("."))


def asset_keys(table: str, recipes: Sequence[str]) -> list[dg.AssetKey]:
    """The assets that make a table's rows: one, or one a recipe."""
    if table in SHARED_BY_RECIPES:
        schema, _ = table.split(".")
        return [key(schema, recipe, SHARED_BY_RECIPES[table]) for recipe in recipes]
    return [asset_key(table)]


def pending_deps(table: str) -> list[dg.AssetKey]:
    """What the asset of `table` depends on by its pending file."""
    return [asset_key(read) for read in pending_reads(table)]


def key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey(list(parts))


def stable_columns(table: str) -> Sequence[str]:
    if table in TABLES_BY_NAME:
        return TABLES_BY_NAME[table].stable_columns
    return list(load_models()[table].columns)


def _column_schema(table: str, facts: Facts) -> dg.TableSchema:
    if table in TABLES_BY_NAME:
        descriptions = {column.name: column.description for column in TABLES_BY_NAME[table].columns}
    else:
        descriptions = dict(load_models()[table].columns)
    return dg.TableSchema(
        [dg.TableColumn(name, type, description=descriptions.get(name)) for name, type in facts.columns]
    )


def _lineage_metadata(lake: Lake, table: str, recipes: Sequence[str]) -> dict[str, dg.TableColumnLineage]:
    if table in TABLES_BY_NAME:
        return {}
    return {
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(key, name) for read, name in sources for key in asset_keys(read, recipes)]
                for column, sources in column_lineage_of(lake)[table].items()
                if sources
            }
        )
    }


@lru_cache(maxsize=1)
def column_lineage_of(lake: Lake) -> Lineage:
    """What sql_files.column_lineage makes of the files; that takes a second, and they seldom change."""
    made = lake.remember("column lineage", lineage_inputs(), lambda: json.dumps(column_lineage()).encode())
    return cast(Lineage, json.loads(made))


def _preview(facts: Facts) -> dg.TableMetadataValue:
    """Its first rows. Many columns stand below each other, a row beside the next: the page is too narrow for them."""
    if len(facts.columns) <= _NARROW:
        return table_value(facts.columns, facts.preview)
    columns = [("column", "varchar"), *((f"row {place}", "varchar") for place in range(1, len(facts.preview) + 1))]
    names = [name for name, _ in facts.columns]
    return table_value(columns, [*zip(names, *facts.preview, strict=True)])


def table_value(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]) -> dg.TableMetadataValue:
    """Rows for the page of an asset; columns: name and type.

    A table and not Markdown: what stands in its cells the UI shows, and makes no link and no picture of it.
    """
    names = [name for name, _ in columns]
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(zip(names, map(_cell, row), strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, type) for name, type in columns]),
    )


def _cell(value: object) -> str:
    """One short line. All of it as text: of NaN the page's table can make nothing."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    if _HASH.match(text):
        return text[:_HASH_CHARS] + "…"
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - 1] + "…"
