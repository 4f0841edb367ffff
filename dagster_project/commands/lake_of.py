"""The lake that a command reads, and what is said where an older version of the project made it."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from models_py.errors import UserError


@contextmanager
def lake_of(profile: str | None) -> Iterator[Lake]:
    """The lake of a profile, by its name or path. Raises UserError for one that lacks what is asked for."""
    lake = open_lake(load_profile(profile, policies()))
    with of_this_version(lake):
        yield lake


@contextmanager
def of_this_version(lake: Lake) -> Iterator[None]:
    """Say it where a table or a column is asked for that the lake does not have yet."""
    try:
        yield
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise UserError(
            f"The lake at {lake.shown_catalog} was made by another version of this project "
            f"({str(error).splitlines()[0]}). `make run` brings it up to date."
        ) from error
