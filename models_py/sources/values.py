"""What was found where text belongs, in words a person uses; and text that can be stored."""

import json

MAX_SHOWN = 60
_MAX_NAMES = 8


class NotAPairError(Exception):
    """Why a record is no pair; never leaves models_py/sources/pairs.py."""


def storable(value: object, where: str) -> str:
    """The value as it stands, if it is text that the lake can hold. Raises NotAPairError."""
    if not isinstance(value, str):
        raise NotAPairError(f"field {where}: expected text, found {kind_of(value)}")
    if "\x00" in value:
        raise NotAPairError(f"field {where}: holds a NUL character at position {value.index(chr(0)) + 1}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            raise NotAPairError(
                f"field {where}: holds a lone surrogate (\\u{code:04x}) at position {error.start + 1}"
            ) from error
    return value


def kind_of(value: object) -> str:
    """`the number 42`, `a list of 3`, `text 'hello'`."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return f"the number {str(value)[:MAX_SHOWN]}"
        case str():
            return f"text {shown(value)}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object with {names_of(value)}"
    return f"a value of type {type(value).__name__}"


def names_of(record: dict[str, object]) -> str:
    """The names of its fields, not too many."""
    if not record:
        return "no fields"
    more = f" and {len(record) - _MAX_NAMES} more" if len(record) > _MAX_NAMES else ""
    return f"{', '.join(shown(str(name)) for name in list(record)[:_MAX_NAMES])}{more}"


def shown(text: str) -> str:
    """Quoted, printable and not too long."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)
