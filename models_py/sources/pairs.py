"""From a row's record to a pair of the pipeline, or the reason why it is none.

Shapes that are recognised, row by row:

    Alpaca   {"instruction": "...", "input": "...", "output": "..."}
    Dolly    {"instruction": "...", "context": "...", "response": "...", "category": "..."}
    chat     {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    chat     {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

What is decided here:
- text is kept exactly as it stands: nothing is trimmed, no line ending is changed;
- an instruction that is empty or only white space is a bad row; an empty output is kept, the teacher can write one;
- a missing or null `input` is the empty text; a missing, null or empty `category` is None;
- of a chat the first user turn and the first assistant turn behind it count. System messages, other roles and later
  turns are not read: a pair is one turn, and the student's template sets the system text;
- a number, list or object where text belongs is a bad row, as are NUL characters and lone surrogates: neither the
  lake's catalog nor Parquet can hold them, and mending them would change the text;
- all other fields (ids, sources, scores) are not read.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

ALPACA: Mapping[str, str] = {
    "instruction": "instruction",
    "input": "input",
    "output": "output",
    "category": "category",
}
DOLLY: Mapping[str, str] = {
    "instruction": "instruction",
    "input": "context",
    "output": "response",
    "category": "category",
}
CHAT_FIELDS = ("messages", "conversations")
KNOWN_FIELDS: Collection[str] = frozenset([*ALPACA.values(), *DOLLY.values(), *CHAT_FIELDS])

_USER_ROLES = frozenset({"user", "human"})
_ASSISTANT_ROLES = frozenset({"assistant", "gpt"})
_MAX_SHOWN = 60
_MAX_NAMES = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """What a row says; not yet stored, so without ids."""

    instruction: str
    input: str
    output: str
    category: str | None


def to_pair(record: object, fields: Mapping[str, str] | None = None) -> Pair | str:
    """The pair a record holds, or the reason it holds none. `fields`: our field -> the record's, None = recognise."""
    try:
        return _pair(record, fields)
    except _NotAPairError as error:
        return str(error)


class _NotAPairError(Exception):
    """Why a record is no pair; never leaves this module."""


def _pair(record: object, fields: Mapping[str, str] | None) -> Pair:
    if not isinstance(record, dict):
        hint = "; for a file that is one JSON array set format: json" if isinstance(record, list) else ""
        raise _NotAPairError(f"expected an object with fields, found {_kind(record)}{hint}")
    if fields is not None:
        return _from_fields(record, fields)
    for name in CHAT_FIELDS:
        if name in record:
            return _from_chat(record, name)
    if "instruction" not in record:
        raise _NotAPairError(
            f"no recognised fields: found {_names(record)}; expected instruction and output (or response), "
            "messages or conversations, or a `fields` mapping on the source"
        )
    return _from_fields(record, DOLLY if "response" in record and "output" not in record else ALPACA)


def _from_fields(record: dict[str, object], fields: Mapping[str, str]) -> Pair:
    for name in (fields["instruction"], fields["output"]):
        if name not in record:
            raise _NotAPairError(f"field {name} is missing: found {_names(record)}")
    return Pair(
        instruction=_filled(record[fields["instruction"]], fields["instruction"]),
        input=_text_or_none(record, fields.get("input")) or "",
        output=_text(record[fields["output"]], fields["output"]),
        category=_text_or_none(record, fields.get("category")) or None,
    )


def _from_chat(record: dict[str, object], name: str) -> Pair:
    turns = record[name]
    if not isinstance(turns, list):
        raise _NotAPairError(f"field {name}: expected a list of turns, found {_kind(turns)}")
    instruction: str | None = None
    roles: list[str] = []
    for position, turn in enumerate(turns):
        role, text, where = _turn(turn, f"{name}[{position}]")
        roles.append(_shown(role))
        if instruction is None and role in _USER_ROLES:
            instruction = _filled(text, where)
        elif instruction is not None and role in _ASSISTANT_ROLES:
            return Pair(instruction, "", _text(text, where), _text_or_none(record, "category") or None)
    missing = "user turn" if instruction is None else "assistant turn behind the first user turn"
    raise _NotAPairError(f"field {name}: no {missing}; found roles {', '.join(roles[:_MAX_NAMES]) or 'none'}")


def _turn(turn: object, where: str) -> tuple[str, object, str]:
    """A turn's role, its content as found, and the name of the content's field."""
    for role_key, text_key in (("role", "content"), ("from", "value")):
        if isinstance(turn, dict) and isinstance(role := turn.get(role_key), str):
            return role, turn.get(text_key), f"{where}.{text_key}"
    raise _NotAPairError(
        f"field {where}: expected an object with role and content (or from and value), found {_kind(turn)}"
    )


def _text_or_none(record: dict[str, object], name: str | None) -> str | None:
    value = None if name is None else record.get(name)
    return None if name is None or value is None else _text(value, name)


def _filled(value: object, where: str) -> str:
    text = _text(value, where)
    if not text.strip():
        raise _NotAPairError(f"field {where} is empty")
    return text


def _text(value: object, where: str) -> str:
    """The value as it stands, if it is text that can be stored."""
    if not isinstance(value, str):
        raise _NotAPairError(f"field {where}: expected text, found {_kind(value)}")
    if "\x00" in value:
        raise _NotAPairError(f"field {where}: holds a NUL character at position {value.index(chr(0)) + 1}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            raise _NotAPairError(
                f"field {where}: holds a lone surrogate (\\u{code:04x}) at position {error.start + 1}"
            ) from error
    return value


def _kind(value: object) -> str:
    """What was found instead of text, in words a person uses."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return f"the number {str(value)[:_MAX_SHOWN]}"
        case str():
            return f"text {_shown(value)}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object with {_names(value)}"
    return f"a value of type {type(value).__name__}"


def _names(record: dict[str, object]) -> str:
    if not record:
        return "no fields"
    more = f" and {len(record) - _MAX_NAMES} more" if len(record) > _MAX_NAMES else ""
    return f"{', '.join(_shown(str(name)) for name in list(record)[:_MAX_NAMES])}{more}"


def _shown(text: str) -> str:
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)
