"""Whether DuckDB understands the files under sql/, found within half a second and without a row.

    problems()   ('sql/policies/calm.sql:9: Referenced column "answer_tokes" not found in FROM clause! Candidate ...',)

A lake in memory gets the tables of tables.py, the macros and the models in their order: a name that is nowhere and
types that do not go together show when a file is bound to those. The files of sql/ read the lake and nothing else. So
that lake is locked, and what opens a file or a server is refused: what it gave would be in no snapshot, and no data
version would tell that it changed.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from dagster_project.lakehouse.attached import load_extension
from dagster_project.lakehouse.locked import literal, lock
from dagster_project.lakehouse.sql_files import (
    POLICY_COLUMNS,
    SQL_DIR,
    Model,
    SqlFile,
    load_checks,
    load_macros,
    load_models,
    pending_files,
)
from dagster_project.lakehouse.tables import SCHEMAS, TABLES
from models_py.errors import UserError

_WHOLE = {f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
# Column of a policy -> what it is compared or sorted as, and the types that are such, without their arguments. With a
# text among them a union of policies is text.
_POLICY_TYPES = dict.fromkeys(POLICY_COLUMNS, ("VARCHAR", {"VARCHAR"})) | {
    "seed": ("a whole number", _WHOLE),
    "rank_by": ("a number", {*_WHOLE, "DECIMAL", "FLOAT", "DOUBLE"}),
}
_KIND = re.compile(r"^\w+ Error: ")
_LINE = re.compile(r"\n\s*LINE (\d+): .*", re.DOTALL)


@cache
def problems(sql_dir: Path = SQL_DIR) -> tuple[str, ...]:
    """What is wrong with the files, a line each; what reads a wrong model is not looked at.

    Raises:
        UserError: a file breaks a rule of sql_files.py.

    """
    with TemporaryDirectory() as folder, duckdb.connect(config={"autoinstall_known_extensions": "false"}) as lake:
        load_extension(lake, "ducklake")
        lake.execute(f"attach 'ducklake::memory:' as lake (data_path {literal(folder)})")
        lake.execute("use lake")
        lock(lake, folder)
        lake.execute("begin")  # and no commit: one a statement takes ten times as long
        for schema in SCHEMAS:
            lake.execute(f"create schema {schema}")
        for table in TABLES:
            lake.execute(table.ddl)
        return tuple(_problems(lake, sql_dir))


def in_words(file: SqlFile, error: duckdb.Error) -> str:
    """What DuckDB said of a file, in one line that begins with file and line."""
    said, line = str(error), _LINE.search(str(error))
    words = " ".join(_KIND.sub("", _LINE.sub("", said)).split())
    where = file.at(int(line[1])) if line else file.shown
    if isinstance(error, duckdb.PermissionException):
        return (
            f"{where}: opens a file or a server ({words.partition(' - ')[0]}); what is under sql/ reads the tables and "
            "models of the lake and nothing else. Bring it into the lake as a source"
        )
    return f"{where}: {words.rstrip('.')}; correct the file"


def _problems(lake: duckdb.DuckDBPyConnection, sql_dir: Path) -> Iterator[str]:
    for macro in load_macros(sql_dir).values():
        try:
            lake.execute(macro.sql)
        except duckdb.Error as error:
            yield in_words(macro, error)
    missing = set[str]()
    for model in load_models(sql_dir).values():
        if not missing.isdisjoint(model.depends_on):
            missing.add(model.table)
            continue
        try:
            _create(lake, model)
        except duckdb.Error as error:
            missing.add(model.table)
            yield in_words(model.file, error)
            continue
        if model.is_policy:
            yield from _wrong_types(lake, model)
    told = dict[Path, str]()  # of a check that is made of several tables what is wrong with the first
    for file in (*load_checks(sql_dir).values(), *pending_files(sql_dir).values()):
        try:
            if missing.isdisjoint(file.depends_on):
                lake.execute(f"describe {file.sql}")
        except UserError as error:  # it is no SELECT
            told.setdefault(file.path, str(error))
        except duckdb.Error as error:
            told.setdefault(file.path, in_words(file, error))
    yield from told.values()


def _create(lake: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Computes nothing: an error in what was computed would end the transaction."""
    if model.materialized == "view":
        lake.execute(f"create view {model.table} as {model.file.sql}")
        return
    described = lake.execute(f"describe {model.file.sql}").fetchall()
    columns = ", ".join('"{}" {}'.format(name.replace('"', '""'), type) for name, type, *_ in described)
    lake.execute(f"create table {model.table} ({columns})")


def _wrong_types(lake: duckdb.DuckDBPyConnection, policy: Model) -> Iterator[str]:
    for name, type, *_ in lake.execute(f"describe {policy.table}").fetchall():
        wanted, types = _POLICY_TYPES.get(name.lower(), ("anything", None))
        if types is not None and type.partition("(")[0] not in types:
            yield f"{policy.file.shown}: selects `{name}` as {type}, not as {wanted}; correct the file"
