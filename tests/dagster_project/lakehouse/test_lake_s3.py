"""A lake whose data lie in an object store: a real one's protocol, on loopback."""

from pathlib import Path

import duckdb
import pytest

from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.locked import check
from tests.support.lakes import append, ids
from tests.support.object_store import object_store


def test_a_lake_in_an_object_store_is_written_asked_and_attached_with_the_users_own_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where DuckDB keeps secrets
    with object_store() as store:
        with duckdb.connect() as connection:
            load_extension(connection, "httpfs")
            connection.execute(
                "create persistent secret mine (type s3, key_id 'me', secret 'mine', url_style 'path', use_ssl false, "
                f"endpoint '{store.endpoint}')"
            )
        (tmp_path / "warehouse").mkdir()
        lake = Lake(tmp_path / "warehouse", data_path="s3://bucket/lake/")
        append(lake, "whole")
        assert ids(lake) == ["whole"]
        assert any(key.startswith("/bucket/lake/raw/raw_pairs/") for key in store.objects)

        query = "select pair_id from raw.raw_pairs"
        with lake.locked() as connection:  # as `make sql` does
            check(connection, query)
            assert connection.execute(query).fetchall() == [("whole",)]
            for other in ("s3://bucket/other.parquet", "s3://bucket/lake2/x.parquet", f"{tmp_path}/x.csv"):
                with pytest.raises(duckdb.PermissionException):
                    connection.execute(f"from '{other}'")
        with duckdb.connect() as connection:
            connection.execute(lake.attach_line())
            assert connection.execute("select pair_id from lake.raw.raw_pairs").fetchall() == [("whole",)]
