"""The files under sql/, read once: models with their documentation, dependencies and lineage, checks, macros.

    sql/<model>.sql            one SELECT; becomes selection.<model>, a view or stored rows
    sql/policies/<model>.sql   the same; also one more policy that recipes can name
    sql/<schema>/<model>.sql   one SELECT; becomes <schema>.<model>
    sql/checks/<claim>.sql     selects the rows that violate the claim
    sql/pending/<table>.sql    the rows that a paid step has still to compute
    sql/macros/<macro>.sql     one CREATE MACRO selection.<macro>

A file begins with a comment: sentences, then `key: value` lines (see `Header`). A comment beside each column of the
last SELECT documents the column. sqlglot reads the rest: which tables a statement reads, which macros it calls, where
each column of a model comes from.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import version
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal, TypeVar

import jinja2
import sqlglot
import sqlglot.lineage
from sqlglot import exp
from sqlglot.optimizer.scope import build_scope

from dagster_project.lakehouse.tables import SCHEMAS, TABLES, TABLES_BY_NAME, grain_text
from dagster_project.profile.words import shown
from dagster_project.root import PROJECT_ROOT
from models_py.content import file_sha256, fingerprint
from models_py.errors import UserError, did_you_mean, unknown

SQL_DIR = PROJECT_ROOT / "sql"
MACRO_SCHEMA = "selection"
_FOLDER_SCHEMA = {"": "selection", "policies": "selection"}  # any other folder of models is called like its schema
_OTHER_FOLDERS = ("checks", "pending", "macros")
_KEY_LINE = re.compile(r"^([a-z_-]+)\s*:(?!//)\s*(.*)$")
_GRAIN = re.compile(r"^one row an? (?:(\w+)|\((\w+(?:, \w+)*)\))$")
_MACRO_CALL = re.compile(rf"\b(?<!macro ){MACRO_SCHEMA} \. (\w+) \(")
# What sql/kept_pairs.sql takes of every policy, and what it adds to it.
POLICY_COLUMNS = ("teacher", "student", "pair_id", "candidate")
_ADDED_TO_POLICIES = ("policy", "ranks")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Header:
    """What the `key: value` lines of a file's leading comment say."""

    grain: tuple[str, ...] = ()  # `one row a pair_id`, `one row a (recipe, pair_id)`: columns of the last SELECT
    materialized: Literal["view", "table"] = "view"  # table: stored rows, for results that many models read
    response_reflection: Literal["selected", "all"] = "selected"  # what a policy needs of the teacher
    assets: tuple[str, ...] = ()  # `asset: a/b` or `assets: a/b, c/d`: what a check is a claim about
    blocking: bool = False  # whether a check that fails keeps what is downstream from running
    severity: Literal["error", "warn"] = "error"
    history: bool = False  # of what the lake did, not of what it holds: no rows of it make a data version


@dataclass(frozen=True)
class SqlFile:
    """One file: `sql` as DuckDB gets it, the sentences of its leading comment, and what the keys below them say."""

    path: Path
    sql: str
    description: str
    header: Header
    folder: Path = field(repr=False)  # the sql/ it belongs to, where its macros are
    is_template: bool = False  # then the lines of `sql` are not those of the file

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def shown(self) -> str:
        """Its path as a person in the project's folder would write it."""
        return shown(self.path)

    def at(self, line: int) -> str:
        """Where a line of `sql` stands, as `sql/recycled_pairs.sql:9`; of a template the file."""
        return self.shown if self.is_template else f"{self.shown}:{line}"

    @cached_property
    def select(self) -> exp.Select:
        """The statement, parsed. Do not change it.

        Raises:
            UserError: it is not exactly one SELECT.

        """
        try:
            statements = sqlglot.parse(self.sql, dialect="duckdb")
        except sqlglot.errors.SqlglotError as error:
            raise self._unreadable(error) from error
        if len(statements) != 1 or not isinstance(statements[0], exp.Select):
            raise UserError(
                f"{self.shown}: must hold exactly one SELECT (CTEs first), found {len(statements)} statements."
            )
        return statements[0]

    @property
    def statement(self) -> str:
        """`sql` without its leading comment: what there is to read below the description."""
        return "\n".join(dropwhile(lambda line: line.startswith("--"), self.sql.splitlines())).strip()

    @cached_property
    def depends_on(self) -> tuple[str, ...]:
        """The tables and models it reads, those written `schema.table`, sorted."""
        tables = {f"{table.db}.{table.name}" for table in self.select.find_all(exp.Table) if table.db}
        return tuple(sorted(tables))

    @cached_property
    def macros(self) -> tuple[str, ...]:
        """The names of the macros it calls, and of those that they call, sorted."""
        known, found = load_macros(self.folder), set[str]()
        called = set(self._calls)
        while called:
            name = called.pop()
            if name not in known:
                raise UserError(f"{self.shown}: {unknown(f'a macro of {MACRO_SCHEMA}', name, known)}")
            found.add(name)
            called |= known[name]._calls - found
        return tuple(sorted(found))

    @cached_property
    def meaning(self) -> str:
        """What it computes, as text: its statement and those of its macros, without comments and layout."""
        macros = load_macros(self.folder)
        return "\n".join([self._tokens, *(macros[name]._tokens for name in self.macros)])

    @cached_property
    def _calls(self) -> frozenset[str]:
        """The macros it calls itself."""
        return frozenset(_MACRO_CALL.findall(self._tokens))

    @cached_property
    def _tokens(self) -> str:
        try:
            return " ".join(self.sql[t.start : t.end + 1] for t in sqlglot.tokenize(self.sql, dialect="duckdb"))
        except sqlglot.errors.TokenError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlglot.errors.SqlglotError) -> UserError:
        """Where it is no SQL, and what stands there; sqlglot's own text is chopped, with codes for a terminal."""
        if not isinstance(error, sqlglot.errors.ParseError) or not error.errors:
            why = f"a quoted text or a comment is not closed ({error.__cause__})"
            return UserError(f"{self.shown}: not readable as DuckDB SQL: {why}.")
        wrong = error.errors[0]
        line, what = int(wrong["line"] or 1), str(wrong["description"]).partition(" but got <Token ")[0]
        return UserError(
            f"{self.at(line)}: not readable as DuckDB SQL: {what}, at `{wrong['highlight']}` of "
            f"`{self.sql.splitlines()[line - 1].strip()}`."
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A SELECT that the lake knows by a name: a view, or with `materialized: table` stored rows."""

    file: SqlFile
    schema: str
    columns: Mapping[str, str]  # name -> description, in order
    is_policy: bool

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def table(self) -> str:
        """`schema.name`, as the lake knows it."""
        return f"{self.schema}.{self.file.name}"

    @property
    def description(self) -> str:
        return self.file.description

    @property
    def header(self) -> Header:
        return self.file.header

    @property
    def materialized(self) -> Literal["view", "table"]:
        return self.file.header.materialized

    @property
    def depends_on(self) -> tuple[str, ...]:
        return self.file.depends_on

    @property
    def definition(self) -> str:
        """What it is in the lake: `view selection.x` or `table selection.x`."""
        return f"{self.materialized} {self.table}"


# ── reading a file ─────────────────────────────────────────────────────────────────────────────────────────────────


def _read(path: Path, folder: Path, **variables: object) -> SqlFile:
    """The file, its template filled in with `variables`."""
    text = path.read_text(encoding="utf-8")
    description, header = _leading_comment(path, text)
    is_template = "{%" in text or "{{" in text
    if is_template:
        try:
            text = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(**variables)
        except jinja2.TemplateError as error:
            known = f"; there are: {', '.join(variables)}" if variables else ""
            raise UserError(f"{shown(path)}: not readable as a template: {error}{known}.") from error
    return SqlFile(path, text.strip(), description, header, folder, is_template)


def _leading_comment(path: Path, text: str) -> tuple[str, Header]:
    """Its sentences in one, ending with the grain, and what its keys say."""
    sentences, found = [], dict[str, Any]()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("--"):
            break
        comment = line.removeprefix("--").strip()
        if match := _KEY_LINE.match(comment):
            name, value = _key(match[1], match[2].strip(), f"{shown(path)}:{number}: `{comment}`")
            if name in found:
                raise UserError(f"{shown(path)}:{number}: `{comment}`: an earlier line says {name} too. Keep one.")
            found[name] = value
        else:
            sentences.append(comment)
    if not sentences:
        raise UserError(f"{shown(path)}: begins with no comment. Say in its first line what one row is for.")
    header = Header(**found)
    if header.grain:
        sentences.append(f"Grain: {grain_text(header.grain)}.")
    return " ".join(sentences), header


def _one_of(*allowed: Value) -> Callable[[str], Value]:
    by_text = {str(value).lower(): value for value in allowed}

    def parse(text: str) -> Value:
        if text not in by_text:
            raise ValueError(unknown("a value of this key", text, by_text))
        return by_text[text]

    return parse


def _grain(text: str) -> tuple[str, ...]:
    if not (match := _GRAIN.match(text)):
        raise ValueError(f"{text!r} is not a grain: write `one row a column` or `one row a (column, column)`")
    return tuple((match[1] or match[2]).split(", "))


def _assets(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _asset(text: str) -> tuple[str, ...]:
    if "," in text:
        raise ValueError("write `assets:` for more than one")
    return (text,)


_KEYS: dict[str, tuple[str, Callable[[str], object]]] = {  # as written -> field of Header, and how to read the value
    "grain": ("grain", _grain),
    "materialized": ("materialized", _one_of("view", "table")),
    "response_reflection": ("response_reflection", _one_of("selected", "all")),
    "asset": ("assets", _asset),
    "assets": ("assets", _assets),
    "blocking": ("blocking", _one_of(True, False)),
    "severity": ("severity", _one_of("error", "warn")),
    "history": ("history", _one_of(True, False)),
}


def _key(key: str, value: str, where: str) -> tuple[str, object]:
    """A line of the header as a field of `Header` and its value; `where` begins the complaint."""
    if key not in _KEYS:
        raise UserError(f"{where}: {unknown('a key of a header', key, _KEYS)}")
    name, parse = _KEYS[key]
    try:
        return name, parse(value)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _columns(file: SqlFile) -> dict[str, str]:
    columns = {}
    for projection in file.select.selects:
        name = projection.alias_or_name
        if name in {"", "*"} or not isinstance(projection, exp.Alias | exp.Column):
            raise UserError(f"{file.shown}: the last SELECT must name every column, found `{projection.sql()}`.")
        comments = list(projection.comments or [])
        for part in projection.walk():
            comments += part.comments or []
        columns[name] = " ".join(dict.fromkeys(comment.strip() for comment in comments))
    undocumented = [name for name, text in columns.items() if not text]
    if undocumented:
        raise UserError(f"{file.shown}: no comment beside the columns {', '.join(undocumented)} of the last SELECT.")
    for name in file.header.grain:
        if name not in columns:
            raise UserError(f"{file.shown}: grain: {unknown('a column of the last SELECT', name, columns)}")
    return columns


def _check_policy(file: SqlFile, columns: Iterable[str]) -> None:
    """Raise UserError for columns that would show only where all policies come together, late in a run."""
    selected = {name.lower() for name in columns}
    wrong = [f"no `{name}`" for name in POLICY_COLUMNS if name not in selected]
    wrong += [f"`{name}`, which selection.kept_pairs adds itself" for name in _ADDED_TO_POLICIES if name in selected]
    if wrong:
        raise UserError(
            f"{file.shown}: selects {', '.join(wrong)}; a policy selects {', '.join(POLICY_COLUMNS[:-1])} and "
            f"{POLICY_COLUMNS[-1]}, where it is random also seed, where it orders its rows itself also rank_by."
        )


# ── the files of each folder ───────────────────────────────────────────────────────────────────────────────────────


@cache
def load_models(sql_dir: Path = SQL_DIR) -> dict[str, Model]:
    """Every model by its table, `schema.name`, in an order in which they can be created."""
    policy_paths = sorted(sql_dir.glob("policies/*.sql"))
    variables = {
        "policies": [path.stem for path in policy_paths],
        "seeded_policies": [path.stem for path in policy_paths if _emits(path, "seed", sql_dir)],
        "ranking_policies": [path.stem for path in policy_paths if _emits(path, "rank_by", sql_dir)],
    }
    models: dict[str, Model] = {}
    stems: set[str] = set()
    for path in _model_paths(sql_dir):
        if path.stem in stems:
            raise UserError(f"{shown(path)}: another file under sql/ is called {path.name} too. Rename one of the two.")
        stems.add(path.stem)
        place = "" if path.parent == sql_dir else path.parent.name
        file = _read(path, sql_dir, **variables)
        model = Model(file, _FOLDER_SCHEMA.get(place, place), _columns(file), place == "policies")
        if model.is_policy:
            _check_policy(file, model.columns)
        if model.table in TABLES_BY_NAME:
            raise UserError(f"{shown(path)}: {model.table} is a table of the lake already. Rename the file.")
        models[model.table] = model
    _check_dependencies(models)
    files = {table: model.file for table, model in models.items()}
    return {table: models[table] for table in _in_order({t: file.depends_on for t, file in files.items()}, files)}


def _in_order(needs: Mapping[str, Iterable[str]], files: Mapping[str, SqlFile]) -> list[str]:
    """The names of the files, each after those of them that it needs."""
    graph = {name: [need for need in needed if need in files] for name, needed in needs.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = ", ".join(files[name].shown for name in sorted(set(error.args[1])))
        raise UserError(f"{circle}: read each other in a circle, so none can be created first.") from error


def _model_paths(sql_dir: Path) -> list[Path]:
    """The files of sql/ itself, of policies/, and of the folders called like a schema."""
    folders = sorted(path for path in sql_dir.iterdir() if path.is_dir() and path.name not in _OTHER_FOLDERS)
    for folder in folders:
        if folder.name not in {*_FOLDER_SCHEMA, *SCHEMAS} and any(folder.glob("*.sql")):
            known = ["policies", *_OTHER_FOLDERS, *SCHEMAS]
            raise UserError(f"{shown(folder)}: {unknown('a schema of the lake', folder.name, known)}")
    return [path for folder in [sql_dir, *folders] for path in sorted(folder.glob("*.sql"))]


def _emits(path: Path, column: str, sql_dir: Path) -> bool:
    return column in _read(path, sql_dir).select.named_selects


def _check_dependencies(models: Mapping[str, Model]) -> None:
    for model in models.values():
        for table in model.depends_on:
            if table not in models and table not in TABLES_BY_NAME:
                raise UserError(
                    f"{model.file.shown}: reads {table}, which is neither a table of the lake nor a model"
                    f"{did_you_mean(table, (*models, *TABLES_BY_NAME))}."
                )


@cache
def policies(sql_dir: Path = SQL_DIR) -> dict[str, str]:
    """Policy name -> the `response_reflection` it needs: `selected` (any profile has that) or `all`."""
    return {m.name: m.header.response_reflection for m in load_models(sql_dir).values() if m.is_policy}


@cache
def load_checks(sql_dir: Path = SQL_DIR) -> dict[tuple[str, str], SqlFile]:
    """Every claim by the table (`schema.name`) it is made of and its own name.

    A claim over several assets is made of each: `{{ table }}` stands for the table, `{{ name }}` for its last part.
    """
    known = {*TABLES_BY_NAME, *load_models(sql_dir)}
    checks = {}
    for path in sorted(sql_dir.glob("checks/*.sql")):
        _, header = _leading_comment(path, path.read_text(encoding="utf-8"))
        if not header.assets:
            raise UserError(f"{shown(path)}: names no asset. Add a line `-- asset: <group>/<name>`.")
        for asset in header.assets:
            table = asset.replace("/", ".")
            if table not in known:
                near = did_you_mean(asset, [name.replace(".", "/") for name in known])
                raise UserError(f"{shown(path)}: asset: {asset!r} is neither a table of the lake nor a model{near}.")
            checks[table, path.stem] = _read(path, sql_dir, table=table, name=table.split(".")[1])
    return checks


def self_contained_check(name: str, sql_dir: Path = SQL_DIR) -> Path | None:
    """The file of a claim that finds its violations as it stands; None of one that is made for several assets."""
    files = [file for (_, check), file in load_checks(sql_dir).items() if check == name]
    return files[0].path if len(files) == 1 else None


@cache
def pending_files(sql_dir: Path = SQL_DIR) -> dict[str, SqlFile]:
    """Table, `schema.name`, -> the query for what a paid step has still to add to it."""
    tables = {table.name.split(".")[1]: table.name for table in TABLES}
    files = {}
    for path in sorted(sql_dir.glob("pending/*.sql")):
        if path.stem not in tables:
            raise UserError(f"{shown(path)}: {unknown('a table of the lake', path.stem, tables)}")
        files[tables[path.stem]] = _read(path, sql_dir)
    return files


def load_pending(table: str, sql_dir: Path = SQL_DIR) -> SqlFile:
    """The query for what a paid step has still to add to `table`, `schema.name`."""
    return pending_files(sql_dir)[table]


def pending_reads(table: str, sql_dir: Path = SQL_DIR) -> tuple[str, ...]:
    """The tables and models that the pending file of `table` reads, sorted, as far as they do not depend on it.

    Such a file leaves out what `table` holds already: it reads `table` itself and models built on it. Those count as
    what they read in turn, for what is made later is no dependency.
    """
    models = load_models(sql_dir)

    def is_later(read: str) -> bool:
        return read == table or (read in models and any(map(is_later, models[read].depends_on)))

    found, waiting = set[str](), {*load_pending(table, sql_dir).depends_on}
    while waiting:
        read = waiting.pop()
        if not is_later(read):
            found.add(read)
        elif read != table:
            waiting |= {*models[read].depends_on}
    return tuple(sorted(found))


@cache
def load_macros(sql_dir: Path = SQL_DIR) -> dict[str, SqlFile]:
    """Every macro by its name, which is also its file's, in an order in which they can be created."""
    macros = {path.stem: _read(path, sql_dir) for path in sorted(sql_dir.glob("macros/*.sql"))}
    for name, file in macros.items():
        beginning = f"create or replace macro {MACRO_SCHEMA}.{name}("
        if beginning not in file.sql:
            raise UserError(f"{file.shown}: the statement must begin with `{beginning}`, as the file is called.")
    return {name: macros[name] for name in _in_order({name: file._calls for name, file in macros.items()}, macros)}


# ── lineage ────────────────────────────────────────────────────────────────────────────────────────────────────────


Lineage = dict[str, dict[str, list[tuple[str, str]]]]


def lineage_inputs(sql_dir: Path = SQL_DIR) -> str:
    """A hash of all that `column_lineage` is computed from: while it stays, so does the lineage."""
    models = [(model.table, model.file.sql) for model in load_models(sql_dir).values()]
    return fingerprint(version("sqlglot"), file_sha256(Path(__file__)), models, [table.ddl for table in TABLES])


@cache
def column_lineage(sql_dir: Path = SQL_DIR) -> Lineage:
    """Model's table -> column -> the (schema.table, column) pairs its values come from, one step up."""
    models = load_models(sql_dir)
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for table in TABLES:
        db, name = table.name.split(".")
        # Every table of DuckLake has a rowid beside its columns.
        schema.setdefault(db, {})[name] = {column.name: column.type for column in table.columns} | {"rowid": "bigint"}
    for model in models.values():
        schema.setdefault(model.schema, {})[model.name] = dict.fromkeys(model.columns, "unknown")
    return {model.table: _lineage_of(model, dict(schema)) for model in models.values()}


def _lineage_of(model: Model, schema: dict[str, object]) -> dict[str, list[tuple[str, str]]]:
    select = sqlglot.optimizer.qualify.qualify(
        model.file.select.copy(), schema=schema, dialect="duckdb", validate_qualify_columns=False, identify=False
    )
    nodes = sqlglot.lineage.lineage(None, select, schema, dialect="duckdb", scope=build_scope(select), copy=False)
    lineage = {}
    for column in model.columns:
        sources = set()
        for node in nodes[column].walk():
            if isinstance(node.expression, exp.Table) and node.expression.db:
                table = f"{node.expression.db}.{node.expression.name}"
                sources.add((table, node.name.rsplit(".", 1)[-1].strip('"')))
        lineage[column] = sorted(sources)
    return lineage
