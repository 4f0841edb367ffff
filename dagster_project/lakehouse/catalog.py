"""DuckLake's own tables of a lake: which files hold its rows.

They are read, never written, but for files that are gone and never held anything (`forget`).
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from dagster_project.lakehouse.locked import literal

CATALOG = "__ducklake_metadata_lake"  # in any connection that has attached a lake as `lake`
# Paths of data and delete files: relative to their table's, that to its schema's, that to the data path.
_FILES = f"""
select distinct concat(
    if(schemas.path_is_relative, schemas.path, ''), if(tables.path_is_relative, tables.path, ''), file.path
)
from (
    select table_id, path, path_is_relative, begin_snapshot, end_snapshot
    from {CATALOG}.ducklake_data_file
    union all
    select table_id, path, path_is_relative, begin_snapshot, end_snapshot
    from {CATALOG}.ducklake_delete_file
) as file
inner join {CATALOG}.ducklake_table as tables using (table_id)
inner join {CATALOG}.ducklake_schema as schemas using (schema_id)
where file.path_is_relative and file.begin_snapshot {{which}}
order by all
"""


def data_files(connection: duckdb.DuckDBPyConnection, since: int | None = None) -> list[str]:
    """The files of the latest snapshot's rows, relative to the data path; or those that snapshot `since` added."""
    which = f"= {since}" if since is not None else ">= 0 and file.end_snapshot is null"
    files = connection.execute(_FILES.format(which=which)).fetchall()
    return [path for (path,) in files]


def is_there(connection: duckdb.DuckDBPyConnection, data_path: str, file: str) -> bool:
    """Whether there is a data file."""
    if "://" not in data_path:
        return (Path(data_path) / file).exists()
    found = connection.execute(f"select count(*) from glob({literal(data_path + file)})").fetchone()
    return found is not None and found[0] > 0


def forget(connection: duckdb.DuckDBPyConnection, snapshot: int, files: Iterable[str]) -> None:
    """Take data and delete files that a snapshot brought out of the catalog, as though it had not brought them."""
    names = ", ".join(literal(file.rpartition("/")[2]) for file in files)  # unique: DuckLake names them by a UUID
    brought = f"begin_snapshot = {snapshot} and path in ({names})"
    ids = connection.execute(f"select data_file_id from {CATALOG}.ducklake_data_file where {brought}").fetchall()
    connection.execute("begin")
    connection.execute(f"delete from {CATALOG}.ducklake_delete_file where {brought}")
    if ids:
        of_files = f"data_file_id in ({', '.join(str(one) for (one,) in ids)})"
        for table in ("file_column_stats", "file_variant_stats", "file_partition_value", "data_file"):
            connection.execute(f"delete from {CATALOG}.ducklake_{table} where {of_files}")
    connection.execute("commit")
