"""Whose field is whose: the names that people give our fields, and the fields that change what a pair means.

    recognise({"Question": "2+2?", "answer": "4"}).names     # {"instruction": "Question", "output": "answer"}
    unread({"output": "5", "label": False})                  # "field label is false: ..."

Each field is recognised by itself, in any case, with spaces, hyphens or underscores: public sets mix the names freely.
Two fields that could be the same one of ours, both filled and not equal, are nobody's choice but the user's.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

NAMES: Mapping[str, tuple[str, ...]] = {
    "instruction": ("instruction", "prompt", "question", "query", "problem"),
    "input": ("input", "context"),
    "output": ("output", "response", "answer", "completion", "solution"),
    "category": ("category",),
    "system": ("system", "system prompt", "system message"),
    "history": ("history", "chat history", "conversation history", "dialogue history"),
    "messages": ("messages", "conversations", "conversation", "dialog", "dialogue"),
}

# What a row may say beside its texts that makes another pair of it, or none: not read, so never passed over.
_CHANGES_THE_MEANING: Mapping[str, tuple[str, ...]] = {
    "images, sound or video, which are not read": (
        *("image", "images", "image url", "audio", "audios", "video", "videos"),
    ),
    "tools, which are not read": ("tools", "functions", "tool calls", "function call", "tool call id"),
    "a preference between answers, which is not read": (
        *("chosen", "rejected", "chosen response", "rejected response", "preferred", "dispreferred"),
    ),
}
# Of a turn alone: the same, and what an answer consists of beside its text.
_CHANGES_A_TURN: Mapping[str, tuple[str, ...]] = {
    "earlier turns inside a turn": NAMES["history"],
    "a system text inside a turn": NAMES["system"],
    "reasoning beside the text, which is not read": ("reasoning content", "reasoning", "thinking", "thought"),
    "a refusal beside the text, which is not read": ("refusal",),
}
_MARKS_BAD = ("label", "kto tag", "binary label", "desirable")
_WEIGHTS = ("weight", "loss weight", "sample weight")
_TRAINED = ("train", "trainable", "loss")  # of a turn: false says that nothing is to be learned from it
_NO_WORDS = frozenset({"false", "no", "bad", "rejected", "undesirable"})
_NOTHING_WORDS = frozenset({"", "[]", "{}", "null", "none", "nan", "true", "false", "1", "0"})
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_NO_INPUT = re.compile(r"\s*(?:<\s*no[ _-]?input\s*>|no[ _-]?input)\s*", re.IGNORECASE)


@lru_cache(maxsize=10_000)  # names are few, rows are many
def plain(name: str) -> str:
    """A field's name as it is compared: `Tool_Calls`, `tool calls` and `toolCalls` are one."""
    return _BETWEEN_WORDS.sub("", name).lower()


_OURS = {plain(name): ours for ours, names in NAMES.items() for name in names}
_RANK = {plain(name): rank for names in NAMES.values() for rank, name in enumerate(names)}
_REASONS = {plain(name): reason for reason, names in _CHANGES_THE_MEANING.items() for name in names}
_TURN_REASONS = _REASONS | {plain(name): reason for reason, names in _CHANGES_A_TURN.items() for name in names}
_BAD = frozenset(map(plain, _MARKS_BAD))
_WEIGHING = frozenset(map(plain, _WEIGHTS))
_TURN_BAD = _BAD | frozenset(map(plain, _TRAINED))
_READ = frozenset([*_OURS, *_REASONS, *_BAD, *_WEIGHING])


def matters(name: str) -> bool:
    """Whether a field of that name is looked at when the shape of a row is recognised."""
    return plain(name) in _READ


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which fields of a file are read: `named` ones, else those that matter; with `all_columns` the others as well.

    Called with a name it says whether that field is read.
    """

    named: frozenset[str] | None = None
    all_columns: bool = False

    def __call__(self, name: str) -> bool:
        return self.all_columns or self.tells_a_row(name)

    def tells_a_row(self, name: str) -> bool:
        """Whether an object with a field of that name is a row, and not what surrounds rows."""
        return matters(name) if self.named is None else name in self.named


@dataclass(frozen=True, slots=True)
class Recognised:
    """Our field -> the record's; `unclear` says which of ours two fields claim."""

    names: Mapping[str, str]
    unclear: str | None = None


def recognise(record: Mapping[str, object], no_value: Collection[str] = frozenset()) -> Recognised:
    """The record's field for each of ours that it has. Of several the one that is filled, and of equal ones any.

    no_value: texts, in lower case, that mean null in the record's format.
    """
    names: dict[str, str] = {}
    for ours, claiming in _claims(tuple(record)):
        if len(claiming) == 1:
            names[ours] = claiming[0]
            continue
        filled = [name for name in claiming if not _is_empty_for(ours, record[name], no_value)] or claiming
        names[ours] = filled[0]
        if other := next((name for name in filled[1:] if record[name] != record[filled[0]]), None):
            return Recognised(names, both_filled(filled[0], other))
    return Recognised(names)


@lru_cache(maxsize=1_000)  # rows of a file have the same fields
def _claims(names: tuple[object, ...]) -> list[tuple[str, list[str]]]:
    """Our fields, and by which names each is claimed, the likeliest first."""
    claims: dict[str, list[str]] = {}
    for name in map(str, names):
        if ours := _OURS.get(plain(name)):
            claims.setdefault(ours, []).append(name)
    return [(ours, sorted(claiming, key=lambda name: _RANK[plain(name)])) for ours, claiming in claims.items()]


def _is_empty_for(ours: str, value: object, no_value: Collection[str]) -> bool:
    return is_absent(value) or (ours == "input" and means_no_input(value, no_value))


def means_no_input(value: object, no_value: Collection[str]) -> bool:
    """Whether a text stands for the empty input: `<noinput>`, or how the record's format spells null."""
    return isinstance(value, str) and (value.strip().lower() in no_value or _NO_INPUT.fullmatch(value) is not None)


def both_filled(one: str, other: str) -> str:
    """The reason of a row in which two fields could be the same one of ours."""
    return f"fields {one} and {other} are both filled, and differ; say which is meant with `fields` on the source"


def is_absent(value: object) -> bool:
    """Whether a value says nothing: null, NaN (how pandas writes null), blank text, an empty list or object."""
    match value:
        case None:
            return True
        case float():
            return math.isnan(value)
        case str():
            return not value.strip()
        case list() | dict():
            return not value
    return False


def unread(record: Mapping[str, object], *, turn: bool = False) -> str | None:
    """The reason when a field says what would change the pair and is not read; None where none does.

    turn: the record is one turn of a conversation.
    """
    return next(_unread(record, turn), None)


def _unread(record: Mapping[str, object], turn: bool) -> Iterator[str]:
    for name, key in _to_look_at(tuple(record), turn):
        value = record[name]
        if key in (_TURN_BAD if turn else _BAD):
            if _says_no(value):
                yield f"field {name} is {_as_written(value)}: the answer is marked as bad or not to be learned from"
        elif key in _WEIGHING:
            if _weighs_nothing(value):
                yield f"field {name} is {_as_written(value)}: the row counts for nothing"
        elif not _says_nothing(value):
            reason = (_TURN_REASONS if turn else _REASONS)[key]
            yield f"field {name} holds {reason}; if it may be ignored, name the fields with `fields` on the source"


@lru_cache(maxsize=1_000)
def _to_look_at(names: tuple[str, ...], turn: bool) -> list[tuple[str, str]]:
    """Those fields that could change the meaning, each with its name as it is compared."""
    changing = (_TURN_REASONS.keys() | _TURN_BAD if turn else _REASONS.keys() | _BAD) | _WEIGHING
    return [(name, key) for name in names if (key := plain(str(name))) in changing]


def _says_no(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _NO_WORDS or _number(value) == 0
    return isinstance(value, bool | int | float) and value == 0


def _weighs_nothing(value: object) -> bool:
    number = _number(value) if isinstance(value, str) else value
    return isinstance(number, bool | int | float) and number <= 0


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _says_nothing(value: object) -> bool:
    """Neutral values: nothing, or a yes, a no, a one or a zero, which say no more than that such a field exists."""
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING_WORDS
    return _is_empty(value) or (isinstance(value, bool | int | float) and value in (0, 1))


def _is_empty(value: object) -> bool:
    """Absent, or made of nothing else: Arrow gives every row all fields of all rows."""
    match value:
        case list():
            return all(map(_is_empty, value))
        case dict():
            return all(map(_is_empty, value.values()))
    return is_absent(value)


def _as_written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
