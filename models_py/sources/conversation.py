"""Chats: the turns of a row, and the exchanges of it that become pairs.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
    {"history": [["...", "..."]], "instruction": "...", "output": "..."}

    conversation = read_turns(record["messages"], "messages")
    conversation.exchanges("last")      # [Exchange(instruction, output, system="...", history=(...))], TurnCounts(...)

Roles are told by many names, in any case. Consecutive turns of one role are one turn, joined by a blank line; the text
parts of one turn by a newline. What is no text (images, tool calls) and roles that nobody knows make the whole row
no pair: half a conversation would teach another thing than the whole.

An exchange is a question and the answer right behind it. Before it stand the system text, which is what the system says
before anybody else, and the history: all turns from the user's first on, as they are in the source. Where every turn
ends is counted in `TurnCounts`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from models_py.conversation import Context, Message
from models_py.sources.fields import is_absent, plain, unread
from models_py.sources.json_decoder import JsonDecoder
from models_py.sources.values import NotAPairError, kind_of, names_of, shown, storable

Role = Literal["system", "user", "assistant"]
Turns = Literal["last", "first", "each"]
"""Which exchanges of a conversation become pairs: its last one, its first, or each with what stands before it."""

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "ai", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_SPEAKERS: dict[str, Role] = {
    **{plain(name): role for name, role in _ROLES.items() if role != "system"},
    **dict.fromkeys(("instruction", "prompt", "question", "query", "input"), "user"),
    **dict.fromkeys(("output", "response", "answer", "completion"), "assistant"),
}
_TOOL_ROLES = frozenset(
    {
        *("tool", "tools", "toolcall", "toolcalls", "toolresponse", "toolresult", "toolresults", "tooloutput"),
        *("function", "functioncall", "functionresponse", "functionresult", "observation", "ipython"),
        *("codeinterpreter", "apicall", "apiresponse"),
    }
)
_ROLE_KEYS, _TEXT_KEYS = ("role", "from"), ("content", "value", "text")
_TEXT_PARTS = (None, "text", "input_text", "output_text")  # a tuple: of a list or object no hash can be taken
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
class TurnCounts:
    """Where the turns of a conversation ended: turns = joined + in_pairs + before_pairs + left_out + systems_left_out.

    joined: to the turn of the same role before them. in_pairs: question or answer of a pair. before_pairs: in no pair,
    but as its system text or in its history. left_out: nowhere, of user and assistant; systems_left_out: of the system.
    """

    turns: int
    joined: int
    in_pairs: int
    before_pairs: int
    left_out: int
    systems_left_out: int

    @property
    def is_cut(self) -> bool:
        """Whether the conversation says more than its pairs."""
        return self.left_out + self.systems_left_out > 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer out of a conversation, and what stands before them."""

    instruction: Turn
    output: Turn
    context: Context


@dataclass(frozen=True, slots=True)
class Conversation:
    """All turns of a chat as they stand, in order. `where` names the field that holds them."""

    turns: tuple[Turn, ...]
    where: str

    def exchanges(self, wanted: Turns) -> tuple[list[Exchange], TurnCounts]:
        """The exchanges that become pairs, and where all turns ended. Raises NotAPairError where there is none."""
        said = [turn for turn in self.turns if turn.role != "system" or turn.text.strip()]
        groups = [_joined([*group]) for _, group in groupby(said, lambda turn: turn.role)]
        start = next((place for place, turn in enumerate(groups) if turn.role == "user"), None)
        first = 0 if start is None else start
        answered = [
            place
            for place, (asked, answer) in enumerate(pairwise(groups))
            if place >= first and (asked.role, answer.role) == ("user", "assistant")
        ]
        if start is None or not answered:
            missing = "user turn" if start is None else "assistant turn right behind a user turn"
            raise NotAPairError(f"field {self.where}: no {missing}; found roles {_listed(self.turns)}")
        taken = answered if wanted == "each" else answered[-1:] if wanted == "last" else answered[:1]
        opening = [turn for turn in groups[:start] if turn.role == "system"]
        system = _BETWEEN_TURNS.join(turn.text for turn in opening)
        found = [Exchange(groups[at], groups[at + 1], Context(system, _messages(groups[start:at]))) for at in taken]
        return found, self._counts(groups, len(said), start, taken, systems=len(opening))

    def _counts(self, groups: list[Turn], said: int, start: int, taken: list[int], *, systems: int) -> TurnCounts:
        in_pairs = {place for at in taken for place in (at, at + 1)}
        before = set(range(start, taken[-1])) - in_pairs
        left_out = set(range(len(groups))) - in_pairs - before
        of_system = sum(groups[place].role == "system" for place in left_out)
        return TurnCounts(
            turns=len(self.turns),
            joined=said - len(groups),
            in_pairs=len(in_pairs),
            before_pairs=len(before) + systems,
            left_out=len(left_out) - of_system,
            systems_left_out=of_system - systems + len(self.turns) - said,
        )

    def says(self, text: object) -> bool:
        """Whether a turn is that text."""
        return any(turn.text == text for turn in self.turns)


def read_history(value: object, where: str) -> tuple[Turn, ...]:
    """The earlier turns that a field of their own holds: turns, or pairs of a question and its answer.

    `[["...", "..."]]`, where null stands for nothing said, or `[{"user": "...", "assistant": "..."}]`. Raises
    NotAPairError for all else.
    """
    if isinstance(value, str) and _LOOKS_LIKE_JSON.match(value):
        value = _from_json(value, where)
    if not isinstance(value, list) or is_turns(value):
        return read_turns(value, where).turns
    return tuple(turn for place, pair in enumerate(value) for turn in _of_pair(pair, f"{where}[{place}]"))


def _of_pair(pair: object, where: str) -> Iterator[Turn]:
    if isinstance(pair, list) and len(pair) == 2:
        said: list[tuple[Role, object]] = [("user", pair[0]), ("assistant", pair[1])]
    elif isinstance(pair, dict) and len(pair) == 2 and all(plain(str(name)) in _SPEAKERS for name in pair):
        said = [(_SPEAKERS[plain(str(name))], text) for name, text in pair.items()]
    else:
        raise NotAPairError(f"field {where}: expected a question and its answer, found {kind_of(pair)}")
    for place, (role, text) in enumerate(said):
        if text is not None:
            yield Turn(role, _content(text, f"{where}[{place}]"), f"{where}[{place}]")


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
        value, problem = JsonDecoder().decode(text)
    except (ValueError, RecursionError) as error:
        raise NotAPairError(
            f"field {where}: the text is no JSON ({str(error).split(':', maxsplit=1)[0]}); write it with json.dumps"
        ) from error
    if problem:
        raise NotAPairError(f"field {where}: {problem}")
    return value


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
        if kind not in _TEXT_PARTS:
            raise NotAPairError(f"field {where}: a part of type {shown(str(kind))}; only text is read")
        if isinstance(text, str):
            return text
    found = names_of(part) if isinstance(part, dict) else kind_of(part)
    raise NotAPairError(f"field {where}: expected a part with text, found {found}")


def _joined(turns: Sequence[Turn]) -> Turn:
    filled = [turn for turn in turns if turn.text.strip()] or turns[:1]
    return Turn(turns[0].role, _BETWEEN_TURNS.join(turn.text for turn in filled), filled[0].where)


def _messages(turns: Iterable[Turn]) -> tuple[Message, ...]:
    return tuple(Message(turn.role, storable(turn.text, turn.where)) for turn in turns)


def _listed(turns: Iterable[Turn]) -> str:
    return ", ".join([turn.role for turn in turns][:_MAX_SHOWN]) or "none"
