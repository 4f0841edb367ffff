"""Asset checks: each is a claim whose SELECT finds the violations, none is a pass.

Claims are written in sql/checks/, or follow from what the lake says of itself: no two rows of a table agree in all
columns of its grain. That is checked of what is stored, the tables of tables.py and the models with `materialized:
table`, in one pass over a few columns. A view is made anew by whoever reads it: checking it would compute it once more
on every run, to learn about its SQL and not about its rows. tests/sql/test_grains.py does that once, of every model.

A step costs Dagster more time than most of these queries take. So the claims of an asset of which something is written
share a step, beside what comes next; the grains of all other assets are one step at the end.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
import duckdb

from dagster_project.lakehouse.answers import Answer
from dagster_project.lakehouse.binding import in_words
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import SqlFile, load_checks, load_models
from dagster_project.lakehouse.tables import SHARED_BY_RECIPES, TABLES
from dagster_project.steps.results import asset_keys
from models_py.errors import UserError

UNIQUE = "rows_are_unique"
FIRST_VIOLATIONS = "first_violations"  # metadata: some of the rows that the SELECT finds
_BLOCKING = {"raw.raw_pairs", *(table.name for table in TABLES if table.name.startswith("scoring."))}
_OFFENDERS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of an asset; `sql`, with `params`, selects the rows that violate it."""

    name: str
    asset: dg.AssetKey
    description: str
    sql: str
    params: tuple[str, ...] = ()
    blocking: bool = False  # whether a violation keeps downstream assets from running
    severity: Literal["error", "warn"] = "error"
    file: SqlFile | None = None  # where it is written, if anywhere


def asset_checks(recipes: Sequence[str] = ()) -> list[dg.AssetChecksDefinition]:
    """Every claim as a check of its asset."""
    told = {claim.asset for claim in claims(recipes) if claim.name != UNIQUE}
    steps = defaultdict(list)
    for claim in claims(recipes):
        steps["_".join(claim.asset.path) if claim.asset in told else "grains"].append(claim)
    return [_step(f"check_{name}", together) for name, together in steps.items()]


def claims(recipes: Sequence[str] = ()) -> list[Claim]:
    """The claims of sql/checks/, then the uniqueness of everything that is stored."""
    written = [
        Claim(
            name,
            asset,
            file.description,
            file.sql,
            blocking=file.header.blocking,
            severity=file.header.severity,
            file=file,
        )
        for (table, name), file in load_checks().items()
        for asset in asset_keys(table, recipes)
    ]
    grains = {table.name: table.grain for table in TABLES}
    grains |= {table: model.header.grain for table, model in load_models().items() if model.materialized == "table"}
    return written + [
        _rows_are_unique(table, grain, asset)
        for table, grain in grains.items()
        if grain
        for asset in asset_keys(table, recipes)
    ]


def _rows_are_unique(table: str, grain: Sequence[str], asset: dg.AssetKey) -> Claim:
    """Where recipes share a table, each asset is told of its own rows."""
    columns, shared = ", ".join(grain), table in SHARED_BY_RECIPES
    where = "where recipe = ? " if shared else ""
    return Claim(
        UNIQUE,
        asset,
        f"No two rows agree in {columns}.",
        f"select {columns}, count(*) as copies from {table} {where}group by {columns} having count(*) > 1",
        params=(asset.path[1],) if shared else (),
        blocking=table in _BLOCKING,
    )


def _step(name: str, together: Sequence[Claim]) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(claim.name, asset=claim.asset, description=claim.description, blocking=claim.blocking)
        for claim in together
    ]

    @dg.multi_asset_check(name=name, specs=specs, can_subset=True)
    def step(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
        asked = [
            claim for claim, spec in zip(together, specs, strict=True) if spec.key in context.selected_asset_check_keys
        ]
        yield from evaluate_all(asked, lake)

    return step


def evaluate_all(together: Sequence[Claim], lake: Lake) -> list[dg.AssetCheckResult]:
    """What comes of each claim, all of one snapshot. Raises UserError that names the file whose query fails."""
    results: list[dg.AssetCheckResult] = []
    try:
        with lake.recalling() as recall:
            for claim in together:
                results.append(evaluate(claim, recall))
    except (duckdb.ProgrammingError, duckdb.DataError) as error:  # all else is about the lake, not about the query
        if (file := together[len(results)].file) is None:
            raise
        raise UserError(in_words(file, error)) from error
    return results


def evaluate(claim: Claim, recall: Callable[[str, Sequence[str]], Answer]) -> dg.AssetCheckResult:
    """Run the claim's SELECT; its rows are the violations, the first of which go into the metadata."""
    violations = recall(claim.sql, claim.params).rows
    metadata: dict[str, Any] = {"violations": violations.height}
    if violations.height:
        rows = violations.head(_OFFENDERS_SHOWN).to_dicts()
        metadata[FIRST_VIOLATIONS] = dg.MetadataValue.json([{k: str(v) for k, v in row.items()} for row in rows])
    return dg.AssetCheckResult(
        passed=violations.is_empty(),
        asset_key=claim.asset,
        check_name=claim.name,
        severity=dg.AssetCheckSeverity[claim.severity.upper()],
        metadata=metadata,
    )
