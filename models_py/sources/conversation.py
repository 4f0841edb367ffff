"""Chats: the turns of a row, and the one exchange that becomes a pair.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

    conversation = read_turns(record["messages"], "messages")
    conversation.first_exchange()      # Exchange(instruction, output, lost=Lost(turns=2, systems=1))

Roles are told by many names, in any case. Consecutive turns of one role are one turn, joined by a blank line; the text
parts of one turn by a newline. What is no text (images, tool calls) and roles that nobody knows make the whole row
no pair: half a conversation would teach another thing than the whole.

What an exchange leaves out of its conversation is counted in `Lost`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from models_py.sources.fields import is_absent, plain, unread
from models_py.sources.values import NotAPairError, kind_of, names_of, shown

Role = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "ai", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_TOOL_ROLES = frozenset(
    {
        *("tool", "tools", "toolcall", "toolcalls", "toolresponse", "toolresult", "toolresults", "tooloutput"),
        *("function", "functioncall", "functionresponse", "functionresult", "observation", "ipython"),
        *("codeinterpreter", "apicall", "apiresponse"),
    }
)
_ROLE_KEYS, _TEXT_KEYS = ("role", "from"), ("content", "value", "text")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_BETWEEN_TURNS, _BETWEEN_PARTS = "\n\n", "\n"
_MAX_SHOWN = 8
_LOOKS_LIKE_JSON = re.compile(r"\s*[\[{]")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said; `where` names it to people."""

    role: Role
    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Lost:
    """What a conversation holds and its exchange does not: turns of user and assistant, system texts."""

    turns: int = 0
    systems: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer out of a conversation."""

    instruction: Turn
    output: Turn
    lost: Lost


@dataclass(frozen=True, slots=True)
class Conversation:
    """All turns of a chat as they stand, in order. `where` names the field that holds them."""

    turns: tuple[Turn, ...]
    where: str

    def first_exchange(self) -> Exchange:
        """The first thing that the user says and the answer to it. Raises NotAPairError where there is none."""
        spoken = [turn for turn in self.turns if turn.role != "system"]
        groups = [list(group) for _, group in groupby(spoken, lambda turn: turn.role)]
        start = next((place for place, group in enumerate(groups) if group[0].role == "user"), None)
        if start is None or start + 1 == len(groups):
            missing = "user turn" if start is None else "assistant turn behind the first user turn"
            raise NotAPairError(f"field {self.where}: no {missing}; found roles {_listed(self.turns)}")
        asked, answered = groups[start : start + 2]
        systems = sum(1 for turn in self.turns if turn.role == "system" and turn.text.strip())
        lost = Lost(turns=len(spoken) - len(asked) - len(answered), systems=systems)
        return Exchange(_joined(asked), _joined(answered), lost)

    def says(self, text: object) -> bool:
        """Whether a turn is that text."""
        return any(turn.text == text for turn in self.turns)


def is_turns(value: object) -> bool:
    """Whether a value is a list of turns, told by their roles."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(turn, dict) and _of(turn, _ROLE_KEYS)[1] is not None for turn in value)
    )


def read_turns(value: object, where: str) -> Conversation:
    """The conversation that a field holds, also as JSON in a text. Raises NotAPairError for all that is none."""
    if isinstance(value, str) and _LOOKS_LIKE_JSON.match(value):
        value = _from_json(value, where)
    if isinstance(value, dict):
        value = _turned(value)
    if not isinstance(value, list):
        raise NotAPairError(f"field {where}: expected a list of turns, found {kind_of(value)}")
    return Conversation(tuple(_turn(turn, f"{where}[{place}]") for place, turn in enumerate(value)), where)


def _turned(columns: dict[str, object]) -> object:
    """Turns from columns, `{"role": [...], "content": [...]}`, as Arrow files of older data sets hold them."""
    lists = [value for value in columns.values() if isinstance(value, list)]
    if not lists or len(lists) < len(columns) or len({len(values) for values in lists}) > 1:
        return columns
    return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]


def _from_json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAPairError(
            f"field {where}: the text is no JSON ({str(error).split(':', maxsplit=1)[0]}); write it with json.dumps"
        ) from error


def _turn(turn: object, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise _no_turn(turn, where)
    _, role = _of(turn, _ROLE_KEYS)
    text_key, content = _of(turn, _TEXT_KEYS)
    if not isinstance(role, str):
        raise _no_turn(turn, where)
    if (name := plain(role)) in _TOOL_ROLES:
        raise NotAPairError(f"field {where}: a turn of a tool ({shown(role)}); tools are not read")
    if problem := unread(turn, turn=True):
        raise NotAPairError(f"field {where}: {problem.split('; ')[0]}")
    if name not in _ROLES:
        raise NotAPairError(f"field {where}: unknown role {shown(role)}; known are {', '.join(_ROLES)}")
    if text_key is None:
        raise _no_turn(turn, where)
    at = f"{where}.{text_key}"
    return Turn(_ROLES[name], _content(content, at), at)


def _no_turn(turn: object, where: str) -> NotAPairError:
    expected = "expected an object with role and content (or from and value)"
    return NotAPairError(f"field {where}: {expected}, found {kind_of(turn)}")


def _of(turn: dict[str, object], keys: Sequence[str]) -> tuple[str | None, object]:
    """The name and the value of the field that is called one of these, rather a filled one."""
    named = [(name, value) for key in keys for name, value in turn.items() if plain(str(name)) == key]
    return next((one for one in named if not is_absent(one[1])), named[0] if named else (None, None))


def _content(content: object, where: str) -> str:
    if is_absent(content):
        return content if isinstance(content, str) else ""
    if isinstance(content, list):
        return _BETWEEN_PARTS.join(_part(part, f"{where}[{place}]") for place, part in enumerate(content))
    if isinstance(content, dict):
        return _part(content, where)
    if not isinstance(content, str):
        raise NotAPairError(f"field {where}: expected text, found {kind_of(content)}")
    return content


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        kind, text = part.get("type", "text"), part.get("text")
        if kind not in _TEXT_PARTS and kind is not None:
            raise NotAPairError(f"field {where}: a part of type {shown(str(kind))}; only text is read")
        if isinstance(text, str):
            return text
    found = names_of(part) if isinstance(part, dict) else kind_of(part)
    raise NotAPairError(f"field {where}: expected a part with text, found {found}")


def _joined(turns: Sequence[Turn]) -> Turn:
    filled = [turn for turn in turns if turn.text.strip()] or turns[:1]
    return Turn(turns[0].role, _BETWEEN_TURNS.join(turn.text for turn in filled), filled[0].where)


def _listed(turns: Iterable[Turn]) -> str:
    return ", ".join([turn.role for turn in turns][:_MAX_SHOWN]) or "none"
