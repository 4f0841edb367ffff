"""What is wrong with a profile, in words: the key's path, what was found, the remedy with the nearest valid name."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from models_py.errors import unknown
from models_py.teacher.spec import ENGINES

_KEY = re.compile(r"[\w.]+: ")
_SECRET = "api_key_env"  # somebody may have put the key itself there


def problem(message: str) -> PydanticCustomError:
    """Complaints in our own words about the value that is being checked, a line each.

    A line may begin with the path of what is wrong: from the top of the profile, or from that value.
    """
    return PydanticCustomError("profile", "{message}", {"message": message})


def in_lines(details: ErrorDetails, raw: Mapping[Any, Any], schema: type[BaseModel]) -> list[str]:
    """One of pydantic's complaints as lines of `key.path: what is wrong; the remedy`."""
    where = _where(details["loc"], raw)
    if details["type"] == "profile":
        return [_from_the_top(line, where) for line in details["msg"].splitlines()]
    return [_in_one_line(details, where, schema)]


def _from_the_top(line: str, where: str) -> str:
    if line.startswith((f"{where}.", f"{where}:")):
        return line
    return f"{where}.{line}" if _KEY.match(line) else f"{where}: {line}"


def _in_one_line(details: ErrorDetails, where: str, schema: type[BaseModel]) -> str:
    loc, kind, message = details["loc"], details["type"], details["msg"]
    context = details.get("ctx", {})
    if kind in ("extra_forbidden", "unexpected_keyword_argument", "multiple_argument_values"):
        return f"{where}: {unknown('a key here', loc[-1], _keys_at(loc[:-1], schema))}"
    if kind in ("missing", "missing_argument"):
        return f"{where}: is missing; add it"
    no_keys = f": expected keys, found {_short(details['input'])}"
    told = {
        "union_tag_not_found": f".engine: is missing; use one of {', '.join(ENGINES)}",
        "union_tag_invalid": f".engine: {unknown('an engine', context.get('tag'), [*ENGINES])}",
        "dataclass_type": no_keys,
        "model_attributes_type": no_keys,
        "literal_error": f": found {details['input']!r}; use {context.get('expected')}",
    }
    found = "" if where.endswith(_SECRET) else f", found {_short(details['input'])}"
    return where + told.get(kind, f": {message[:1].lower()}{message[1:]}{found}")


def _where(loc: tuple[int | str, ...], raw: Mapping[Any, Any]) -> str:
    """The path of a key; what stands in a list by its name where it has one, else by its number from 1."""
    parts: list[str] = []
    value: object = raw
    for part in _without_tag(loc):
        if isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
            parts.append(str(as_dict(value).get("name", part + 1)))
        elif part != "[key]":
            value = as_dict(value).get(part)
            parts.append(str(part))
    return ".".join(parts)


def _without_tag(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without the engine's name that pydantic puts behind a teacher's."""
    return (*loc[:2], *loc[3:]) if loc[:1] == ("teachers",) and len(loc) > 2 and loc[2] in ENGINES else loc


def _keys_at(loc: tuple[int | str, ...], schema: type[BaseModel]) -> list[str]:
    """The keys that are valid at a place in the profile, found by walking the types of the fields."""
    kind: Any = schema
    if loc != _without_tag(loc):
        kind, loc = ENGINES[str(loc[2])], loc[3:]
    key_is_name = False
    for part in loc:
        key_is_name = get_origin(kind) is dict
        kind = get_type_hints(kind)[str(part)] if hasattr(kind, "__annotations__") else get_args(kind)[-1]
        options = [option for option in get_args(kind) if option is not type(None)]
        if type(None) in get_args(kind):
            kind = options[0]
        elif options and options[-1] is ...:
            kind = list[options[0]]  # type: ignore[valid-type]
    keys = kind.model_fields if issubclass(kind, BaseModel) else [field.name for field in fields(kind)]
    return [key for key in keys if not (key_is_name and key == "name")]


def shown(path: Path) -> str:
    """The path as a person in the project's folder would write it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def as_dict(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
