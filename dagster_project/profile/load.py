"""Reading a profile: find the file, read the YAML, say everything that is wrong at once.

    profile = load_profile()                  # REFLECTION_PROFILE, else profiles/quickstart.yaml
    profile = load_profile("mine")            # profiles/mine.yaml
    profile = load_profile("tmp/mine.yaml")

Loading reads no other file than the profile: whether sources, prompts and models exist is found by who opens them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dagster_project.profile.schema import Profile, name_problem
from dagster_project.profile.words import as_dict, as_list, in_lines, shown
from dagster_project.root import PROJECT_ROOT
from models_py.errors import UserError, did_you_mean, unknown

PROFILE_VARIABLE = "REFLECTION_PROFILE"
PROFILES_DIR = PROJECT_ROOT / "profiles"
DEFAULT_PROFILE = "quickstart"
_MOST_BYTES = 200_000
_MOST_VALUES = 50_000


class ProfileError(UserError):
    """Everything that is wrong with a profile. `problems`: a line each.

    profile: where each of its parts is right and only what one says of another is not; else None.
    """

    def __init__(self, file: Path, problems: list[str], profile: Profile | None) -> None:
        count = f"{len(problems)} things to correct" if len(problems) > 1 else "one thing to correct"
        super().__init__(f"{shown(file)}: {count}\n" + "\n".join(f"  {one}" for one in problems))
        self.problems = problems
        self.profile = profile


def load_profile(path: str | Path | None = None, policies: Mapping[str, str] | None = None) -> Profile:
    """Read and check a profile.

    `path`: a file, or a bare name for profiles/<name>.yaml; None takes REFLECTION_PROFILE, else the quickstart.
    `policies`: the known policies and the `response_reflection` each needs (selected or all); None checks neither.
    Raises ProfileError with one line for everything that is wrong: the key's path, what was found, the remedy.
    """
    file = _find(path if path is not None else os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE)
    root = file.parent.parent if file.parent.name == PROFILES_DIR.name else file.parent
    raw = _read_yaml(file)
    problems: list[str] = []
    profile: Profile | None = None
    try:
        profile = Profile.model_validate({"warehouse": f"warehouse/{file.stem}", **raw}, context=root)
    except ValidationError as error:
        problems += [line for details in error.errors() for line in in_lines(details, raw, Profile)]
    problems += _cross_problems(raw, policies)
    if profile is not None:
        profile._file, profile._root = file, root
    if problems or profile is None:
        raise ProfileError(file, problems, profile)
    return profile


def profile_files() -> list[Path]:
    """The files of profiles/, by name."""
    return sorted(PROFILES_DIR.glob("*.yaml"))


def _find(path: str | Path) -> Path:
    text = str(path)
    is_name = "/" not in text and os.sep not in text and not text.endswith((".yaml", ".yml"))
    file = (PROFILES_DIR / f"{text}.yaml" if is_name else Path(text).expanduser()).absolute()
    if file.is_file():
        return file
    there = [profile.stem for profile in profile_files()]
    raise UserError(
        f"{shown(file)}: no such profile{did_you_mean(file.stem, there)}. In {shown(PROFILES_DIR)}: "
        f"{', '.join(there) or 'none'}. Name one of these or a YAML file."
    )


class _Loader(yaml.SafeLoader):
    """YAML without the trap that of two equal keys the first is silently lost."""

    # What vLLM imports makes dates texts for every SafeLoader of the process; a profile means the same everywhere.
    yaml_constructors = {  # noqa: RUF012 (as in the base)
        **yaml.SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_timestamp,
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key_node.value!r} stands there twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _load(text: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                problem=f"its aliases stand for more than {_MOST_VALUES:,} values; write out what is meant"
            )
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a node is with every alias written out; `sizes` remembers those that are known."""
    if id(node) not in sizes:
        sizes[id(node)] = _MOST_VALUES  # what holds itself has no end
        if isinstance(node, yaml.MappingNode):
            children = [one for pair in node.value for one in pair]
        else:
            children = node.value if isinstance(node, yaml.SequenceNode) else []
        sizes[id(node)] = 1 + sum(_written_out(child, sizes) for child in children)
    return sizes[id(node)]


def _read_yaml(file: Path) -> dict[Any, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{shown(file)}: is larger than {_MOST_BYTES:,} bytes; a profile is a page or two of YAML")
        raw = _load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(file)}: cannot be read as UTF-8 text: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date or a number that is none
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{shown(file)}: not valid YAML: {where}{getattr(error, 'problem', error)}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{shown(file)}: expected keys such as warehouse and sources at the top; see quickstart.yaml")
    return raw


def _cross_problems(raw: Mapping[Any, Any], policies: Mapping[str, str] | None) -> Iterator[str]:
    """What one part of the profile says of another. Reads the raw YAML, so that it is said beside all else."""
    for part in ("sources", "teachers", "students", "recipes"):
        if raw.get(part) in ([], {}):
            yield f"{part}: is empty; name at least one"
    yield from _name_problems("sources", "sources", as_list(raw.get("sources")))
    evaluations = as_list(as_dict(raw.get("evaluation")).get("contamination"))
    yield from _name_problems("evaluation.contamination", "evaluations", evaluations)
    held_out = as_list(as_dict(raw.get("evaluation")).get("held_out"))
    yield from _name_problems("evaluation.held_out", "held-out sets", held_out)
    if not evaluations:
        for name, recipe in as_dict(raw.get("recipes")).items():
            if as_dict(recipe).get("drop_contaminated") is True:
                yield (
                    f"recipes.{name}.drop_contaminated: there is nothing to compare with; name the evaluation files "
                    "under evaluation.contamination"
                )
    students = [str(key) for key in as_dict(raw.get("students"))]
    for name, student in as_dict(raw.get("students")).items():
        scorer = as_dict(student).get("scored_by")
        if isinstance(scorer, str) and scorer not in students:
            yield f"students.{name}.scored_by: {unknown('one of the students here', scorer, students)}"
    for name, recipe in as_dict(raw.get("recipes")).items():
        if isinstance(recipe, dict):
            yield from _recipe_problems(f"recipes.{name}", recipe, raw, policies)


def _name_problems(where: str, what: str, listed: list[Any]) -> Iterator[str]:
    """What is wrong with the names in a list of things that have one."""
    found = [as_dict(one).get("name") for one in listed]
    names = [name for name in found if isinstance(name, str)]
    for name in sorted(set(names)):
        if told := name_problem(name):
            yield f"{where}.{name}.name: {told}"
        if names.count(name) > 1:
            yield f"{where}: two {what} are called {name}; give each its own name"


def _recipe_problems(
    where: str, recipe: Mapping[Any, Any], raw: Mapping[Any, Any], policies: Mapping[str, str] | None
) -> Iterator[str]:
    for one, many in (("teacher", "teachers"), ("student", "students")):
        known, value = [str(key) for key in as_dict(raw.get(many))], recipe.get(one)
        if isinstance(value, str) and value not in known:
            yield f"{where}.{one}: {unknown(f'one of the {many} above', value, known)}"
    other, recipes = recipe.get("rows_as"), as_dict(raw.get("recipes"))
    if isinstance(other, str):
        others = [str(name) for name in recipes if f"recipes.{name}" != where]
        if other not in others:
            yield f"{where}.rows_as: {unknown('another recipe of this profile', other, others)}"
        elif as_dict(recipes[other]).get("rows_as") is not None:
            yield f"{where}.rows_as: {other} takes its number of rows from a third recipe; name that one"
    policy = recipe.get("policy")
    if policies is None or not isinstance(policy, str):
        return
    if policy not in policies:
        yield f"{where}.policy: {unknown('a policy (a file in sql/policies)', policy, sorted(policies))}"
    elif policies[policy] == "all" and raw.get("response_reflection", "selected") != "all":
        yield (
            f"{where}.policy: {policy} needs the second reflection of both bases; set "
            "response_reflection: all (it costs one more teacher call a pair) or choose another policy"
        )
