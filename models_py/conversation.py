"""What stands before a pair: the system text and the earlier turns of the conversation that it ends.

    context = Context("Answer in one word.", (Message("user", "Name a sea."), Message("assistant", "Baltic.")))
    context.history_json      # '[{"role":"user","content":"Name a sea."},{"role":"assistant","content":"Baltic."}]'
    Context.of("Answer in one word.", context.history_json) == context

Most pairs have none, `NO_CONTEXT`, and are what they were before there were conversations: their ids, prompts and
requests do not know of it. Nothing here reads files or knows templates.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

NO_HISTORY = "[]"
"""The JSON of no earlier turns."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Context:
    """system: the system text, '' is none. history: earlier turns, in order."""

    system: str = ""
    history: tuple[Message, ...] = ()

    @classmethod
    def of(cls, system: str, history_json: str) -> "Context":
        """The context that the lake holds in two columns."""
        return NO_CONTEXT if not system and history_json == NO_HISTORY else _parsed(system, history_json)

    def __bool__(self) -> bool:
        return bool(self.system or self.history)

    @property
    def history_json(self) -> str:
        """The earlier turns as the lake holds them: a JSON array of {role, content}."""
        return _encode(_dicts(self.history)) if self.history else NO_HISTORY

    def messages(self) -> list[dict[str, str]]:
        """All of it as chat templates take it: the system text is the first message."""
        return _dicts(self._all())

    def _all(self) -> Iterator[Message]:
        if self.system:
            yield Message("system", self.system)
        yield from self.history


def with_context(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the lake with its columns system and history as one value, `context`."""
    rest = {name: value for name, value in row.items() if name not in ("system", "history")}
    return {**rest, "context": Context.of(row["system"], row["history"])}


NO_CONTEXT = Context()
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dicts(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


@lru_cache(maxsize=1_000)  # candidates of one pair share it
def _parsed(system: str, history_json: str) -> Context:
    return Context(system, tuple(Message(turn["role"], turn["content"]) for turn in json.loads(history_json)))
