"""What the static site of a project's data says: tables, macros, bundled files, checks, and when each was made last.

Plain values, collected by dagster_project/commands/docs_content.py and drawn by pages.py. A text is only a text: what
it holds of HTML, Markdown or SQL is shown as it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["failed", "warned", "passed", "not run yet"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True)
class Column:
    """made_from: (table, column) of all that its values come from, where its SQL says it."""

    name: str
    type: str
    description: str
    made_from: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A claim and what its last run found; offenders: the first rows that violate it."""

    name: str
    asset: str
    description: str
    blocking: bool
    sql: str | None = None
    outcome: Outcome = "not run yet"
    at: str | None = None
    told: Mapping[str, str] | None = None
    offenders: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """The last materialization of an asset; all but its name None where there is none."""

    asset: str
    at: str | None = None
    rows: int | None = None
    data_version: str | None = None
    snapshot: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, a view or an asset without rows. reads, read_by: names of others, directly."""

    name: str  # schema.table
    kind: str
    description: str
    grain: Sequence[str] = ()
    columns: Sequence[Column] = ()
    file: str | None = None
    sql: str | None = None
    pending_file: str | None = None
    pending_sql: str | None = None
    macros: Sequence[str] = ()
    reads: Sequence[str] = ()
    read_by: Sequence[str] = ()
    checks: Sequence[Check] = ()
    made: Sequence[Made] = ()

    @property
    def schema(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_made(self) -> bool:
        return any(one.at for one in self.made)

    @property
    def rows(self) -> int | None:
        """Of all its assets together, as far as they were made and have rows."""
        counts = [one.rows for one in self.made if one.rows is not None]
        return sum(counts) if counts else None


@dataclass(frozen=True, slots=True)
class Macro:
    name: str
    file: str
    description: str
    sql: str
    used_by: Sequence[str]  # tables


@dataclass(frozen=True, slots=True)
class Seed:
    """A file of seeds/. read_by: what of the profile reads it, such as `source mine`."""

    file: str
    size: int
    rows: int | None
    fields: Sequence[str]
    read_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class Site:
    """command: what `make` needs to be told for this profile, such as ` PROFILE=toy`."""

    profile: str
    command: str
    tables: Mapping[str, Table]  # by name; schemas in the order of the flow, in a schema each behind what it reads
    macros: Sequence[Macro]
    seeds: Sequence[Seed]

    @property
    def schemas(self) -> list[str]:
        return list(dict.fromkeys(table.schema for table in self.tables.values()))

    @property
    def checks(self) -> list[tuple[Table, Check]]:
        return [(table, check) for table in self.tables.values() for check in table.checks]
