"""The lock files against pyproject.toml, against each other, and against what the code imports."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path
from zipfile import ZipFile

import pytest

from requirements.install import GROUPS
from tests.conftest import PROJECT

LOCKS = sorted((PROJECT / "requirements").glob("*.lock"))
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def pins(*locks: str) -> dict[str, str]:
    """Version by name; a package may be pinned by two locks, or twice for two Pythons."""
    files = (PROJECT / "requirements" / f"{lock}.lock" for lock in locks)
    texts = [file.read_text() for file in files if file.is_file()]
    found = [pin for text in texts for pin in re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", text, re.MULTILINE)]
    return dict(sorted(found))


def declared(group: str) -> list[tuple[str, str]]:
    lines = DECLARED["dependencies"] if group == "core" else DECLARED["optional-dependencies"][group]
    named = ((re.sub(r"\[.*?\]", "", name), version) for name, _, version in (line.partition("==") for line in lines))
    return [(name, version.partition(" ")[0]) for name, version in named]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_each_pin_has_a_hash_but_for_torch_without_a_gpu(lock: Path) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    unhashed = [block.partition("==")[0] for block in blocks if "--hash=sha256:" not in block]
    assert unhashed == (["torch"] if lock.stem == "core-cpu" else [])


@pytest.mark.parametrize(("group", "variant"), [*product(("core", *GROUPS), ("cpu", "gpu"))])
def test_what_is_declared_is_pinned(group: str, variant: str) -> None:
    locked = pins("core", f"core-{variant}", group, f"{group}-{variant}")
    for name, version in declared(f"vllm-{variant}" if group == "vllm" else group):
        assert locked[name].startswith(version), name


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_groups_of_a_variant_agree(variant: str) -> None:
    core = pins("core", f"core-{variant}")
    every = [pins(group, f"{group}-{variant}") for group in GROUPS]
    for one, other in product([core, *every], every):
        assert {name for name in one.keys() & other.keys() if one[name] != other[name]} == set()


def test_no_lock_names_an_index() -> None:
    assert [
        lock.name for lock in LOCKS if re.search(r"https?:|--index|--extra-index|--find-links", lock.read_text())
    ] == []


# What may use a group, and imports it only where it does.
USERS = {
    "evaluation": {*(PROJECT / "models_py" / "evaluation").rglob("*.py")},
    "ray": {
        PROJECT / "models_py" / "ray_cluster.py",
        PROJECT / "models_py" / "ray_crew.py",
        PROJECT / "models_py" / "training" / "cluster.py",
        PROJECT / "dagster_project" / "ray_steps.py",
    },
    "team": {
        PROJECT / "models_py" / "postgres.py",
        PROJECT / "models_py" / "teacher" / "ledger_store.py",
        PROJECT / "dagster_project" / "commands" / "home.py",
    },
}
BROUGHT = {"psycopg2"}  # by dagster-postgres, whose driver it is


def test_what_the_code_imports_is_declared() -> None:
    """In the core; what its users alone may use of a group, there."""
    folders = [PROJECT / name for name in ("assets", "dagster_project", "models_py")]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    core = {name for name, _ in declared("core")}
    assert imported(files - set().union(*USERS.values())) - core == set()
    for group, users in USERS.items():
        assert imported(users) - core - BROUGHT - {name for name, _ in declared(group)} == set()


def imported(files: set[Path]) -> set[str]:
    """The packages that they import, whatever the place."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    foreign = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    foreign -= {"assets", "dagster_project", "models_py", "vllm"}  # vllm is a group, with another name without a GPU
    return {{"graphql": "graphql-core", "yaml": "pyyaml"}.get(module, module.replace("_", "-")) for module in foreign}


def test_a_wheel_holds_the_packages_and_the_sql(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(PROJECT)], check=True, cwd=tmp_path)
    with ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {"sql/policies/paper.sql", "dagster_project/definitions.py", "assets/raw/raw_pairs.py"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "assets",
        "dagster_project",
        "models_py",
        "sql",
        "reflection_lake-0.1.0.dist-info",
    }
