"""The tables' definitions agree with those who may not read them."""

from typing import Any

import pytest

from dagster_project.lakehouse.tables import TABLES_BY_NAME
from models_py.sources.read import PAIRS_SCHEMA, QUARANTINED_SCHEMA


@pytest.mark.parametrize(("table", "schema"), [("raw_pairs", PAIRS_SCHEMA), ("quarantined_rows", QUARANTINED_SCHEMA)])
def test_what_is_read_of_sources_has_the_columns_of_its_table(table: str, schema: dict[str, Any]) -> None:
    assert dict(schema) == TABLES_BY_NAME[f"raw.{table}"].polars_schema
