"""What an asset reports: counts, schema, preview, versions."""

from typing import Any

import dagster as dg
import polars as pl
import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.steps import results
from dagster_project.steps.results import asset_key, stable_columns, table_result, table_value
from tests.support.lakes import append
from tests.support.values import known

ATTACK = "![x](/graphql?query=mutation{a}) <b>x</b>"


def test_keys_are_group_and_name() -> None:
    assert asset_key("selection.paper") == dg.AssetKey(["selection", "paper"])


def test_volatile_columns_stay_out_of_data_versions() -> None:
    assert "created_at" not in stable_columns("reflection.instruction_reflections")
    assert {"created_at", "latency_s"}.isdisjoint(stable_columns("reflection.teacher_replies"))
    assert stable_columns("selection.paper") == ["teacher", "student", "pair_id", "candidate"]


def shown(result: dg.MaterializeResult[None]) -> dict[str, Any]:
    return dict(result.metadata or {})


def test_a_table_reports_its_rows_and_columns(lake: Lake) -> None:
    append(lake, "a", "b", "c")
    result = table_result(lake, "raw.raw_pairs", where="pair_id <> ?", params=["c"], metadata={"extra": 7})
    metadata = shown(result)
    assert (metadata["dagster/row_count"], metadata["dagster/table_name"], metadata["extra"]) == (2, "raw.raw_pairs", 7)
    assert metadata["snapshot_id"] == lake.snapshot_id()
    column = metadata["dagster/column_schema"].columns[0]
    assert (column.name, column.type, column.description[:10]) == ("pair_id", "varchar", "content id")
    assert "dagster/column_lineage" not in metadata


def test_a_view_reports_its_documentation_and_lineage(lake: Lake) -> None:
    metadata = shown(table_result(lake, "selection.paper"))
    assert [c.description for c in metadata["dagster/column_schema"].columns][-1] == "response | both"
    [dep] = metadata["dagster/column_lineage"].deps_by_column["candidate"]
    assert (dep.asset_key, dep.column_name) == (dg.AssetKey(["selection", "response_choices"]), "choice")


def test_lineage_that_is_known_is_not_made_again_until_a_file_changes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shown(table_result(lake, "selection.paper"))["dagster/column_lineage"]
    monkeypatch.setattr(results, "column_lineage", lambda: {"selection.paper": {"candidate": [("raw.raw_pairs", "x")]}})
    results.column_lineage_of.cache_clear()
    assert shown(table_result(lake, "selection.paper"))["dagster/column_lineage"] == before
    monkeypatch.setattr(results, "lineage_inputs", lambda: "changed")
    results.column_lineage_of.cache_clear()
    [dep] = shown(table_result(lake, "selection.paper"))["dagster/column_lineage"].deps_by_column["candidate"]
    assert dep.asset_key == dg.AssetKey(["raw", "raw_pairs"])


def test_the_data_version_forgets_when_and_remembers_what(lake: Lake) -> None:
    table = "training.training_pairs"

    def version() -> str:
        return known(table_result(lake, table).data_version).value

    lake.append({table: pl.DataFrame({"recipe": ["r"]})}, Commit("first"))
    first = version()
    lake.write(lambda connection: connection.execute(f"update {table} set created_at = now()"), Commit("later"))
    assert version() == first
    lake.append({table: pl.DataFrame({"recipe": ["s"]})}, Commit("more"))
    assert version() != first
    assert known(table_result(lake, table, data_version="known").data_version).value == "known"


def test_a_preview_of_many_columns_has_one_below_the_other_as_short_lines_whatever_they_hold(lake: Lake) -> None:
    frame = pl.DataFrame(
        {
            "pair_id": ["0123456789ab" + "c" * 52, "d" * 64],
            "instruction": ["x | y\n\nz", ""],
            "input": [ATTACK, ""],
            "output": ["long " * 80, "short"],
            "source_row": [3, 4],
        }
    )
    lake.append({"raw.raw_pairs": frame}, Commit("odd text"))
    preview = shown(table_result(lake, "raw.raw_pairs"))["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert [column.name for column in preview.schema.columns] == ["column", "row 1", "row 2"]
    lines = {str(record.data["column"]): record.data for record in preview.records}
    assert [*lines] == [column.name for column in TABLES_BY_NAME["raw.raw_pairs"].columns]
    first = {name: str(line["row 1"]) for name, line in lines.items()}
    assert (first["pair_id"], first["instruction"], first["source_row"]) == ("0123456789ab…", "x | y z", "3")
    assert first["input"] == ATTACK
    assert (len(first["output"]), first["output"][-1]) == (300, "…")
    assert first["category"] == ""
    assert lines["output"]["row 2"] == "short"


def test_a_preview_of_few_columns_has_a_line_a_row(lake: Lake) -> None:
    table = "selection.paper"
    preview = shown(table_result(lake, table))["preview"]
    assert [column.name for column in preview.schema.columns] == [*load_models()[table].columns]


def test_numbers_that_json_has_not_are_shown_as_words() -> None:
    [record] = table_value([("ifd", "double"), ("n", "bigint")], [(float("nan"), 7)]).records
    assert record.data == {"ifd": "nan", "n": "7"}


def test_a_preview_shows_five_rows(lake: Lake) -> None:
    append(lake, *"abcdefgh")
    columns = shown(table_result(lake, "raw.raw_pairs"))["preview"].schema.columns
    assert [column.name for column in columns] == ["column", *(f"row {place}" for place in range(1, 6))]
