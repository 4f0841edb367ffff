"""Errors of DuckDB in words: what is about the lake is told with its remedy, what is about the query is left alone."""

from pathlib import Path

import duckdb
import pytest

from dagster_project.lakehouse.trouble import DataStoreError, Trouble


def told(trouble: Trouble, error: duckdb.Error, *, writing: bool = False) -> str | None:
    said = trouble.of(error, writing=writing, data_files=list)
    return str(said) if said else None


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        duckdb.BinderException("Binder Error: there is no such column"),
        duckdb.TransactionException("Transaction conflict: somebody else was first"),
        duckdb.IOException("IO Error: Failed to commit DuckLake transaction"),
    ],
)
def test_a_wrong_query_and_a_conflict_are_left_to_whoever_asked(
    tmp_path: Path, error: duckdb.Error, *, writing: bool
) -> None:
    trouble = Trouble(tmp_path, str(tmp_path / "catalog.sqlite"), f"{tmp_path}/data/", None)
    assert told(trouble, error, writing=writing) is None


def test_who_has_no_key_is_told_which_variables_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    trouble = Trouble(tmp_path, "postgres:dbname=lake password=hidden", "s3://bucket/lake/", None)
    refused = duckdb.HTTPException("HTTP Error: HTTP GET error on 's3://bucket/lake/' (HTTP 403)")
    assert isinstance(trouble.of(refused, writing=False, data_files=list), DataStoreError)
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in (told(trouble, refused) or "")


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    trouble = Trouble(tmp_path, "postgres:dbname=lake password=hidden", "s3://bucket/lake/", "1GB")
    error = duckdb.IOException("IO Error: could not connect with dbname=lake password=hidden: no space left on device")
    for said in (trouble.shown_catalog, told(trouble, error, writing=True), str(trouble.not_attached(error, None))):
        assert said and "hidden" not in said and "dbname=lake" in said
