"""Commands on a lake: their common arguments, the lake, what is said where another version of the project made it."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from dagster_project.commands.terminal import Arguments
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.errors import UserError


def parser_of(command: str, doc: str | None, *, shows_rows: bool = False) -> Arguments:
    """With `--profile`, and of a command that shows rows `--format` and `--out`. doc: of the command's module."""
    parser = Arguments(prog=f"make {command}", description=(doc or "").split("\n", 1)[0])
    parser.add_argument("--profile", help="profile whose lake it is (default: REFLECTION_PROFILE, else quickstart)")
    if shows_rows:
        formats = "table, line, csv, json, jsonl or parquet (default: what fits)"
        parser.add_argument("--format", default="", help=formats)
        parser.add_argument("--out", default="", metavar="FILE", help="write there; its ending may name the format")
    return parser


@contextmanager
def lake_of(profile: str | None) -> Iterator[Lake]:
    """The lake of a profile, by its name or path. Raises UserError for one that lacks what is asked for."""
    with lake_and_profile(profile) as (lake, _):
        yield lake


@contextmanager
def lake_and_profile(profile: str | None) -> Iterator[tuple[Lake, Profile]]:
    """The same, for who asks more of the profile."""
    loaded = load_profile(profile, policies())
    lake = open_lake(loaded)
    with of_this_version(lake):
        yield lake, loaded


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
