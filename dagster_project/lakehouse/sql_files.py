"""The files under sql/, read once: views with their documentation, dependencies and lineage, checks, macros.

    sql/<view>.sql            one SELECT; becomes the view selection.<view>
    sql/policies/<view>.sql   the same; also one more policy that recipes can name
    sql/checks/<claim>.sql    selects the rows that violate the claim
    sql/pending/<table>.sql   the rows that a paid step has still to compute
    sql/macros/<macro>.sql    one CREATE MACRO

A file begins with a comment: sentences, then `key: value` lines (`grain`, `materialized: table` for results that many
views read, `response_reflection`, `asset`, `blocking`, `severity`). A comment beside each column of the last SELECT
documents the column. sqlglot reads the rest: which tables a view is made from, where each of its columns comes from.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import jinja2
import sqlglot
import sqlglot.lineage
from sqlglot import exp
from sqlglot.optimizer.scope import build_scope

from dagster_project.lakehouse.tables import TABLES
from dagster_project.root import PROJECT_ROOT
from models_py.errors import UserError

SQL_DIR = PROJECT_ROOT / "sql"
VIEW_SCHEMA = "selection"
_HEADER_KEY = re.compile(r"^(grain|materialized|response_reflection|asset|blocking|severity):\s*(.+)$")


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file: `sql` as DuckDB gets it, the sentences of its leading comment, and the keys below them."""

    name: str
    path: Path
    sql: str
    description: str
    header: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """A SELECT that the lake knows as `selection.<name>`: a view, or with `materialized: table` stored rows."""

    file: SqlFile
    columns: dict[str, str]  # name -> description, in order
    depends_on: tuple[str, ...]  # schema.table, sorted
    is_policy: bool

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def table(self) -> str:
        return f"{VIEW_SCHEMA}.{self.file.name}"

    @property
    def description(self) -> str:
        return self.file.description

    @property
    def is_stored(self) -> bool:
        return self.file.header.get("materialized", "view") == "table"

    @property
    def definition(self) -> str:
        """What it is in the lake: `view selection.x` or `table selection.x`."""
        return f"{'table' if self.is_stored else 'view'} {self.table}"


def _read(path: Path, **variables: object) -> SqlFile:
    text = path.read_text(encoding="utf-8")
    if "{%" in text:
        text = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(**variables)
    sentences, header = [], {}
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        comment = line.removeprefix("--").strip()
        if match := _HEADER_KEY.match(comment):
            header[match[1]] = match[2].strip()
        else:
            sentences.append(comment)
    if not sentences:
        raise UserError(f"{path}: begins with no comment. Say in its first line what one row is for.")
    description = " ".join(sentences)
    if "grain" in header:
        description += f" Grain: {header['grain']}."
    return SqlFile(path.stem, path, text.strip(), description, header)


def _parse(file: SqlFile) -> exp.Select:
    try:
        statements = sqlglot.parse(file.sql, dialect="duckdb")
    except sqlglot.errors.ParseError as error:
        raise UserError(f"{file.path}: not readable as DuckDB SQL: {error}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise UserError(f"{file.path}: must hold exactly one SELECT (CTEs first), found {len(statements)} statements.")
    return statements[0]


def tables_read(select: exp.Expression) -> tuple[str, ...]:
    """The real tables and views a statement reads: those written `schema.table`."""
    return tuple(sorted({f"{table.db}.{table.name}" for table in select.find_all(exp.Table) if table.db}))


def _columns(file: SqlFile, select: exp.Select) -> dict[str, str]:
    columns = {}
    for projection in select.selects:
        name = projection.alias_or_name
        if name in {"", "*"} or not isinstance(projection, exp.Alias | exp.Column):
            raise UserError(f"{file.path}: the last SELECT must name every column, found `{projection.sql()}`.")
        comments = list(projection.comments or [])
        for part in projection.walk():
            comments += part.comments or []
        columns[name] = " ".join(dict.fromkeys(comment.strip() for comment in comments))
    undocumented = [name for name, text in columns.items() if not text]
    if undocumented:
        raise UserError(f"{file.path}: no comment beside the columns {', '.join(undocumented)} of the last SELECT.")
    return columns


@cache
def load_views(sql_dir: Path = SQL_DIR) -> dict[str, View]:
    """Every view by its name, in an order in which they can be created."""
    policy_paths = sorted(sql_dir.glob("policies/*.sql"))
    variables = {
        "policies": [path.stem for path in policy_paths],
        "seeded_policies": [path.stem for path in policy_paths if _emits_seed(path)],
    }
    views = {}
    for path in [*sorted(sql_dir.glob("*.sql")), *policy_paths]:
        if path.stem in views:
            raise UserError(f"{path}: another file under sql/ is called {path.name} too. Rename one of the two.")
        file = _read(path, **variables)
        select = _parse(file)
        views[path.stem] = View(file, _columns(file, select), tables_read(select), path in policy_paths)
    _check_dependencies(views)
    by_table = {view.table: name for name, view in views.items()}
    graph = {name: {by_table[t] for t in view.depends_on if t in by_table} for name, view in views.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        files = ", ".join(str(views[name].file.path) for name in sorted(set(error.args[1])))
        raise UserError(f"{files}: read each other in a circle, so none can be created first.") from error
    return {name: views[name] for name in order}


def _emits_seed(path: Path) -> bool:
    return "seed" in _parse(_read(path)).named_selects


def _check_dependencies(views: dict[str, View]) -> None:
    known = {view.table for view in views.values()} | {table.name for table in TABLES}
    for view in views.values():
        for table in view.depends_on:
            if table not in known:
                raise UserError(f"{view.file.path}: reads {table}, which is neither a table of the lake nor a view.")


@cache
def policies(sql_dir: Path = SQL_DIR) -> dict[str, str]:
    """Policy name -> the `response_reflection` it needs: `selected` (any profile has that) or `all`."""
    needs = {}
    for view in load_views(sql_dir).values():
        if view.is_policy:
            needs[view.name] = need = view.file.header.get("response_reflection", "selected")
            if need not in ("selected", "all"):
                raise UserError(f"{view.file.path}: response_reflection: {need!r} is unknown. Write selected or all.")
    return needs


@cache
def load_checks(sql_dir: Path = SQL_DIR) -> dict[str, SqlFile]:
    """Every claim by its name; `header['asset']` says what it is a claim about."""
    checks = {path.stem: _read(path) for path in sorted(sql_dir.glob("checks/*.sql"))}
    for check in checks.values():
        if "asset" not in check.header:
            raise UserError(f"{check.path}: names no asset. Add a line `-- asset: <group>/<name>`.")
    return checks


@cache
def load_pending(name: str, sql_dir: Path = SQL_DIR) -> str:
    """The query for what a paid step has still to compute."""
    return _read(sql_dir / "pending" / f"{name}.sql").sql


@cache
def load_macros(sql_dir: Path = SQL_DIR) -> dict[str, SqlFile]:
    return {path.stem: _read(path) for path in sorted(sql_dir.glob("macros/*.sql"))}


@cache
def column_lineage(sql_dir: Path = SQL_DIR) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """View -> column -> the (schema.table, column) pairs its values come from, one step up."""
    views = load_views(sql_dir)
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for table in TABLES:
        db, name = table.name.split(".")
        schema.setdefault(db, {})[name] = {column.name: column.type for column in table.columns}
    for view in views.values():
        schema.setdefault(VIEW_SCHEMA, {})[view.name] = dict.fromkeys(view.columns, "unknown")
    return {view.name: _lineage_of(view, schema) for view in views.values()}


def _lineage_of(view: View, schema: dict) -> dict[str, list[tuple[str, str]]]:
    select = sqlglot.optimizer.qualify.qualify(
        _parse(view.file), schema=schema, dialect="duckdb", validate_qualify_columns=False, identify=False
    )
    nodes = sqlglot.lineage.lineage(None, select, schema, dialect="duckdb", scope=build_scope(select), copy=False)
    lineage = {}
    for column in view.columns:
        sources = set()
        for node in nodes[column].walk():
            if isinstance(node.expression, exp.Table) and node.expression.db:
                table = f"{node.expression.db}.{node.expression.name}"
                sources.add((table, node.name.rsplit(".", 1)[-1].strip('"')))
        lineage[column] = sorted(sources)
    return lineage
