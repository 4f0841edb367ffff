"""What `make docs` tells: of the files what is claimed, of Dagster's records what came of it last.

Descriptions, columns and SQL come from tables.py and sql/, arrows from the definitions (so also what a step reads
beside SQL), types from a lake with just these definitions: the profile's, or an empty one where that is not there yet.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log.base import AssetEntry

from dagster_project.checks import Claim, claims
from dagster_project.commands.home import HOME_VARIABLE
from dagster_project.commands.run_view import profile_argument
from dagster_project.definitions import build_definitions
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import Lineage, Model, column_lineage, load_macros, load_models, pending_files
from dagster_project.lakehouse.tables import SCHEMAS, SHARED_BY_RECIPES, TABLES_BY_NAME, grain_text
from dagster_project.profile.schema import Profile
from dagster_project.root import PROJECT_ROOT
from dagster_project.steps.results import asset_keys, column_lineage_of
from models_py.site.content import Check, Column, Macro, Made, Outcome, Seed, Site, Table

_CUT = 400  # characters of a value of an offending row
_RESULTS = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def site_of(profile: Profile) -> Site:
    """All of the profile's definitions, its lake and its records; nothing is written."""
    definitions = build_definitions(profile)
    graph = definitions.resolve_asset_graph()
    recipes = [*profile.recipes]
    keys: dict[str, list[dg.AssetKey]] = defaultdict(list)  # table -> its assets, in an order in which they can be made
    page = {key: table for table in SHARED_BY_RECIPES for key in asset_keys(table, recipes)}
    for key in graph.toposorted_asset_keys:
        keys[page.setdefault(key, ".".join(key.path))].append(key)
    reads = {
        table: sorted({page[parent] for key in of_it for parent in graph.get(key).parent_keys} - {table})
        for table, of_it in keys.items()
    }
    lake = open_lake(profile)
    types, made_from = _types(lake), column_lineage_of(lake) if lake.exists() else column_lineage()
    checks = {check.key: check for one in definitions.asset_checks or () for check in one.check_specs}
    with _records(profile) as instance:
        records = (
            {one.asset_entry.asset_key: one.asset_entry for one in instance.get_asset_records([*page])}
            if instance
            else {}
        )
        made = {key: _made(key, table, records.get(key)) for key, table in page.items()}
        results = _results(instance, [*checks])
    known = {(claim.asset, claim.name): claim for claim in claims(recipes)}
    told: dict[str, list[Check]] = defaultdict(list)
    for check, spec in checks.items():
        claim = known.get((check.asset_key, check.name))
        told[page[check.asset_key]].append(_check(spec, claim, results.get(check)))
    tables = {
        table: _table(
            table,
            description=graph.get(of_it[0]).description or "",
            types=types.get(table, {}),
            made_from=made_from,
            reads=reads[table],
            read_by=[other for other in keys if table in reads[other]],
            checks=sorted(told[table], key=lambda check: (check.name, check.asset)),
            made=[made[key] for key in of_it],
        )
        for table, of_it in keys.items()
    }
    schemas = [*SCHEMAS, *dict.fromkeys(table.schema for table in tables.values())]
    sorted_tables = {one.name: one for one in sorted(tables.values(), key=lambda table: schemas.index(table.schema))}
    return Site(profile.name, profile_argument(profile), sorted_tables, [*_macros()], [*_seeds(profile)])


# ── what the files say ─────────────────────────────────────────────────────────────────────────────────────────────


def _table(name: str, *, description: str, types: Mapping[str, str], made_from: Lineage, **facts: Any) -> Table:
    if name in TABLES_BY_NAME:
        table, pending = TABLES_BY_NAME[name], pending_files().get(name)
        columns = [Column(one.name, types[one.name], one.description) for one in table.columns]
        facts |= {"grain": table.grain, "columns": columns, "file": None}
        if pending:
            facts |= {"pending_file": _relative(pending.path), "pending_sql": pending.sql, "macros": pending.macros}
        return Table(name=name, kind="table", description=table.about, **facts)
    if name in load_models():
        model = load_models()[name]
        columns = [Column(one, types[one], text, made_from[name].get(one, ())) for one, text in model.columns.items()]
        facts |= {"grain": model.header.grain, "columns": columns, "macros": model.file.macros}
        facts |= {"file": _relative(model.file.path), "sql": model.file.sql}
        return Table(name=name, kind=_kind(model), description=_without_grain(model), **facts)
    return Table(name=name, kind="asset", description=description, **facts)


def _kind(model: Model) -> str:
    stored = "stored rows" if model.materialized == "table" else "view"
    return f"policy, {stored}" if model.is_policy else stored


def _without_grain(model: Model) -> str:
    """A page says the grain beside it."""
    grain = model.header.grain
    return model.description.removesuffix(f"Grain: {grain_text(grain)}.").strip() if grain else model.description


def _relative(path: Path) -> str:
    return path.relative_to(PROJECT_ROOT).as_posix()


def _macros() -> Iterator[Macro]:
    models = load_models()
    for name, file in sorted(load_macros().items()):
        used_by = [table for table, model in models.items() if name in model.file.macros]
        yield Macro(name, _relative(file.path), file.description, file.sql, sorted(used_by))


def _seeds(profile: Profile) -> Iterator[Seed]:
    """The files of seeds/, of JSON Lines with their rows and fields."""
    folder = PROJECT_ROOT / "seeds"
    read = [(f"source {source.name}", pattern) for source in profile.sources for pattern in source.patterns]
    teachers = ((name, getattr(settings, "replies", None)) for name, settings in profile.teachers.items())
    read += [(f"teacher {name}", str(replies)) for name, replies in teachers if replies]
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"):
        rows: int | None = None
        fields: dict[str, None] = {}
        if file.suffix == ".jsonl":
            lines = file.read_text("utf-8").splitlines()
            rows = len(lines)
            for line in lines:
                fields |= dict.fromkeys(_fields(line))
        read_by = [who for who, pattern in read if fnmatch(str(file), pattern) or str(file.parent) == pattern]
        yield Seed(_relative(file), file.stat().st_size, rows, [*fields], read_by)


def _fields(line: str) -> Sequence[str]:
    try:
        row = json.loads(line)
    except ValueError:  # the bundled pairs hold broken rows on purpose
        return ()
    return [*row] if isinstance(row, dict) else ()


def _types(lake: Lake) -> Mapping[str, Mapping[str, str]]:
    """Table -> column -> type, of the lake as these definitions make it."""
    expected = {table.name: {column.name for column in table.columns} for table in TABLES_BY_NAME.values()}
    expected |= {name: {*model.columns} for name, model in load_models().items()}
    if lake.exists():
        found = _described(lake)
        if all(found.get(name, {}).keys() == columns for name, columns in expected.items()):
            return found
    with TemporaryDirectory() as folder:
        empty = Lake(Path(folder))
        empty.prepare()
        return _described(empty)


def _described(lake: Lake) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    query = """
    select concat(table_schema, '.', table_name), column_name, data_type
    from information_schema.columns
    where table_catalog = 'lake'
    order by table_schema, table_name, ordinal_position
    """
    with lake.connect() as connection:
        for table, column, type in connection.execute(query).fetchall():
            found[table][column] = type
    return found


# ── what Dagster's records say ─────────────────────────────────────────────────────────────────────────────────────


def _records(profile: Profile) -> Any:
    """The instance of the profile, None where nothing was ever run: looking makes no records."""
    home = Path(os.environ.get(HOME_VARIABLE) or profile.dagster_home)
    if not (home / "history").is_dir() and not (home / "dagster.yaml").is_file():
        return nullcontext()
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home.absolute())))


def _made(key: dg.AssetKey, table: str, entry: AssetEntry | None) -> Made:
    """Rows only where they are the table's: a checkpoint counts those that it was trained on."""
    name = key.to_user_string()
    event = entry.last_materialization if entry else None
    if event is None or event.asset_materialization is None:
        return Made(name)
    made = event.asset_materialization
    values = {label: value.value for label, value in made.metadata.items()}
    rows = values.get("dagster/row_count") if values.get("dagster/table_name") == table else None
    snapshot = values.get("snapshot_id")
    return Made(
        name,
        _time(event.timestamp),
        int(rows) if isinstance(rows, int) else None,
        (made.tags or {}).get("dagster/data_version"),
        None if snapshot is None else str(snapshot),
        event.run_id or None,
    )


def _results(
    instance: dg.DagsterInstance | None, keys: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    """The last one of each check that has an outcome: a run that stopped before it leaves a plan, which is none."""
    if instance is None:
        return {}
    storage = instance.event_log_storage
    latest = storage.get_latest_asset_check_execution_by_key(keys)
    for key in [key for key, record in latest.items() if record.status not in _RESULTS]:
        found = storage.get_asset_check_execution_history(key, limit=1, status=_RESULTS)
        latest = {**latest, key: found[0]} if found else {one: latest[one] for one in latest if one != key}
    return dict(latest)


def _check(spec: dg.AssetCheckSpec, claim: Claim | None, record: AssetCheckExecutionRecord | None) -> Check:
    found = record.event.asset_check_evaluation if record and record.event else None
    outcome: Outcome = "not run yet"
    facts: dict[str, Any] = {}
    if record is not None and record.event is not None and found is not None:
        is_warning = found.severity == dg.AssetCheckSeverity.WARN
        outcome = "passed" if found.passed else "warned" if is_warning else "failed"
        facts["at"] = _time(record.event.timestamp)
        facts["told"], facts["offenders"] = _told(found.metadata)
    return Check(
        name=spec.name,
        asset=spec.asset_key.to_user_string(),
        description=spec.description or (claim.description if claim else ""),
        blocking=spec.blocking,
        sql=claim.sql if claim else None,
        outcome=outcome,
        **facts,
    )


def _told(metadata: Mapping[str, dg.MetadataValue[Any]]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Figures and sentences, and the offending rows where some of it is rows."""
    told: dict[str, str] = {}
    offenders: list[dict[str, str]] = []
    for name, value in metadata.items():
        rows = value.records if isinstance(value, dg.TableMetadataValue) else value.value
        if isinstance(rows, Sequence) and not isinstance(rows, str) and rows:
            offenders += [_cut(row.data if isinstance(row, dg.TableRecord) else row) for row in rows]
        elif isinstance(rows, str | int | float):
            told[name] = str(rows)
    columns = dict.fromkeys(name for row in offenders for name in row)
    return told, [{name: row.get(name, "") for name in columns} for row in offenders]


def _cut(row: Any) -> dict[str, str]:
    values = row if isinstance(row, Mapping) else {"value": row}
    texts = {str(name): str(value) for name, value in values.items()}
    return {name: text if len(text) <= _CUT else f"{text[: _CUT - 1]}…" for name, text in texts.items()}


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"
