"""A lake as tests look at it: pairs of which only the id matters, ids, snapshots."""

import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake


def pairs(*pair_ids: str) -> pl.DataFrame:
    """Rows of raw.raw_pairs of which only the id matters."""
    return pl.DataFrame({"pair_id": pair_ids}, schema={"pair_id": pl.String})


def append(lake: Lake, *pair_ids: str) -> int:
    return lake.append({"raw.raw_pairs": pairs(*pair_ids)}, Commit("pairs"))


def ids(lake: Lake, as_of: int | None = None) -> list[str]:
    return lake.read("select pair_id from raw.raw_pairs order by all", as_of=as_of)["pair_id"].to_list()


def snapshots(lake: Lake) -> int:
    return int(str(lake.scalar("select count(*) from lake.snapshots()")))


def attachment(lake: Lake, *, read_only: bool = True) -> object:
    """The DuckDB instance and its number of the attached lake, another one for each ATTACH."""
    with lake.connect(read_only=read_only) as connection:
        number = "select database_oid from duckdb_databases() where database_name = 'lake'"
        return id(connection), connection.execute(number).fetchone()
