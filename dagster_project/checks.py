"""One Dagster asset check a claim of sql/checks/: the file selects the violations, none is a pass."""

from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import SqlFile, load_checks

_OFFENDERS_SHOWN = 10


def asset_checks() -> list[dg.AssetChecksDefinition]:
    """Every claim as a check; a blocking one keeps downstream assets from running."""
    return [_check(claim) for claim in load_checks().values()]


def _check(claim: SqlFile) -> dg.AssetChecksDefinition:
    severity = dg.AssetCheckSeverity[claim.header.severity.upper()]

    @dg.asset_check(
        asset=dg.AssetKey(claim.header.assets[0].split("/")),
        name=claim.name,
        description=claim.description,
        blocking=claim.header.blocking,
    )
    def check(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        return evaluate(claim, lake, severity)

    return check


def evaluate(claim: SqlFile, lake: Lake, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    """Run the claim's SELECT; its rows are the violations, the first of which go into the metadata."""
    violations = lake.recall(claim.sql)
    metadata: dict[str, Any] = {"violations": violations.height}
    if violations.height:
        rows = violations.head(_OFFENDERS_SHOWN).to_dicts()
        metadata["first_violations"] = dg.MetadataValue.json([{k: str(v) for k, v in row.items()} for row in rows])
    return dg.AssetCheckResult(passed=violations.is_empty(), severity=severity, metadata=metadata)
