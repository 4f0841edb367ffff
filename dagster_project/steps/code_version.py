"""`code_version`: what a step computes with, so that Dagster marks an asset unsynced when that changes, and only then.

    code_version("assets.scoring.instruction_scores", pending.meaning)      "5f0c3a1b9d2e"

A step computes with the Python files that its module reaches by imports (those inside functions too) below assets/ and
models_py/, and with the SQL it reads. The wiring in dagster_project/ says how results are stored and shown, not what
they are, and is no part of it. Neither are comments, docstrings and layout: a file counts as its syntax tree.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dagster_project.root import PROJECT_ROOT
from models_py.content import fingerprint

DOMAIN = ("assets", "models_py")
_CHARS = 12
_LAYOUT = frozenset({"ctx", "kind", "type_comment"})  # fields of a syntax tree that say nothing of what is computed


def code_version(module: str, *sql: str) -> str:
    """A hash of the domain files that `module` reaches, by their dotted names, and of the SQL texts a step reads."""
    return fingerprint([[name, file_meaning(_file(name))] for name in reached(module)], *sql)[:_CHARS]


@cache
def reached(module: str) -> tuple[str, ...]:
    """The module and all that it imports below DOMAIN, directly or not, sorted."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(_file(name))
    return tuple(sorted(found))


@cache
def file_meaning(file: Path) -> str:
    """A hash of a Python file's syntax tree without docstrings: the same after any change of comments and layout."""
    return fingerprint(_meaning(_tree(file)))


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _imports(file: Path) -> tuple[str, ...]:
    return tuple(
        name for node in _executed(_tree(file)) for name in _names(node) if name.startswith(DOMAIN) and _exists(name)
    )


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those below `if TYPE_CHECKING`, which never run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _executed(child)


def _names(node: ast.AST) -> list[str]:
    """The modules an import statement may mean: `from a import b` is the module a.b, or a name in a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _exists(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in DOMAIN and _file(name).is_file()


def _file(name: str) -> Path:
    return PROJECT_ROOT.joinpath(*name.split(".")).with_suffix(".py")


def _meaning(node: object) -> object:
    """A syntax tree as nested lists; fields that are empty are left out, so that Python's versions agree."""
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields: list[object] = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = value[1:] if ast.get_docstring(node, clean=False) is not None else value  # noqa: PLW2901
        if name not in _LAYOUT and value is not None and value != []:
            fields.append([name, _meaning(value)])
    return fields
