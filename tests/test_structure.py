"""The rooms of the project, by their imports: nothing circular, the domain knows nothing of the wiring."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.conftest import PROJECT

ROOMS = ("dagster_project", "assets", "models_py")


def _module(file: Path) -> str:
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts)


MODULES = {_module(file): file for room in ROOMS for file in (PROJECT / room).rglob("*.py") if file.stem != "__init__"}


def _imports(node: ast.AST) -> Iterator[str]:
    """The project's modules that are imported below `node`, in functions too; imports for types alone do not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            names = [child.module, *(f"{child.module}.{alias.name}" for alias in child.names)]
            yield from (name for name in names if name in MODULES)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in MODULES)
        yield from _imports(child)


IMPORTS = {name: set(_imports(ast.parse(file.read_text()))) for name, file in MODULES.items()}


def test_no_import_is_circular() -> None:
    order = list(TopologicalSorter(IMPORTS).static_order())  # raises CycleError
    assert set(order) == MODULES.keys()


def test_the_domain_knows_nothing_of_the_wiring() -> None:
    known = {read for name, modules in IMPORTS.items() if name.startswith("models_py") for read in modules}
    assert not [name for name in known if not name.startswith("models_py")]


def test_only_the_table_of_contents_knows_the_assets() -> None:
    wiring = {name: modules for name, modules in IMPORTS.items() if name.startswith("dagster_project")}
    knowing = [name for name, modules in wiring.items() if any(read.startswith("assets") for read in modules)]
    assert knowing == ["dagster_project.definitions"]


def test_no_file_touches_the_search_path() -> None:
    """The project is installed in place: its modules and benchmarks are found from any folder."""
    files = (file for room in (*ROOMS, "benchmarks", "requirements") for file in (PROJECT / room).rglob("*.py"))
    assert [file for file in files if "sys.path" in file.read_text()] == []
