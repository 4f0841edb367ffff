"""A teacher whose replies a test writes down, opened as the profile's would be, and what it is asked.

teacher = opened(always(REWRITE))              # every reply is REWRITE
teacher = opened(lambda one: said(one, ...))   # the reply depends on the request
asked(teacher)                                 # the requests that reached it
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

from pytest import MonkeyPatch

from models_py.content import content_id
from models_py.teacher import parser
from models_py.teacher.engines.base import Engine
from models_py.teacher.money import Price
from models_py.teacher.open_teacher import OpenTeacher
from models_py.teacher.prompt import build_request, load_prompts
from models_py.teacher.request import RESPONSE_REFLECTION, PendingPair, Sampling, TeacherReply, TeacherRequest
from models_py.teacher.spec import OpenAISettings, TeacherSpec

REWRITE = "Too vague.\n\n[New Instruction]\nName three seas.\n[End]\n\n[New Answer]\nBaltic, North, Red.\n[End]"
BETTER = "Too short.\n\n[Better Answer]\nThe Baltic Sea.\n[End]"
UNUSABLE = "Here you are: the Baltic."
NEXT_VERSION = "next"

Say = Callable[[TeacherRequest], TeacherReply]


class Scripted(Engine):
    """Answers what `say` returns and keeps what it was asked; enough, for engines differ in where replies come from.

    stop_after: answers so many and ends. takes_all: takes all requests first and answers the last one first, as
    engines do that have many under way; otherwise one after the other.
    """

    def __init__(
        self, say: Say, identity: str = "m", *, stop_after: int | None = None, takes_all: bool = False
    ) -> None:
        self.say = say
        self.name = identity
        self.stop_after = stop_after
        self.takes_all = takes_all
        self.asked: list[TeacherRequest] = []

    @property
    def identity(self) -> str:
        return self.name

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        for request in list(requests)[::-1] if self.takes_all else requests:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                return
            self.asked.append(request)
            yield self.say(request)


def said(request: TeacherRequest, text: str, finish_reason: str = "stop", **changes: Any) -> TeacherReply:
    values: dict[str, Any] = {"prompt_tokens": 400, "completion_tokens": 100, "latency_s": 2.0} | changes
    return TeacherReply(request.request_id, reply=text, finish_reason=finish_reason, **values)


def always(text: str, finish_reason: str = "stop") -> Say:
    return lambda request: said(request, text, finish_reason)


def fails(error: str) -> Say:
    return lambda request: TeacherReply(request.request_id, error=error)


def opened(say: Say | Scripted, price: Price | None = None, **settings: Any) -> OpenTeacher:
    engine = say if isinstance(say, Scripted) else Scripted(say)
    values: dict[str, Any] = {"model": engine.identity} | settings
    spec = TeacherSpec("gpt", OpenAISettings(**values), price)
    return OpenTeacher(spec, engine, load_prompts(spec.name, spec.settings.prompts))


def asked(teacher: OpenTeacher) -> list[TeacherRequest]:
    assert isinstance(teacher.engine, Scripted)
    return teacher.engine.asked


def pair_of(instruction: str, input: str = "", output: str = "Baltic.") -> PendingPair:
    return PendingPair(content_id(instruction, input, output), instruction, input, output)


def seas(count: int) -> list[PendingPair]:
    return [pair_of(f"Name sea {number}.") for number in range(count)]


def second_parser(monkeypatch: MonkeyPatch, closing: str = "[Fin]") -> None:
    """The parser after this one, which takes one more word for [End]."""
    monkeypatch.setattr(parser, "PARSER_VERSION", NEXT_VERSION)
    monkeypatch.setattr(parser, "_END_PATTERN", f"{parser._END_PATTERN[:-1]}|{re.escape(closing)})")
    patterns = {phase: parser._tag_pattern(names) for phase, names in parser.TAGS.items()}
    monkeypatch.setattr(parser, "_PATTERNS", patterns)


def request(instruction: str = "Name a sea.", phase: str = RESPONSE_REFLECTION, **changes: Any) -> TeacherRequest:
    """A request as a step makes it, about a pair whose answer is "Baltic."."""
    values: dict[str, Any] = {"teacher": "fake", "identity": "fake:1", "sampling": Sampling()}
    values |= {"input": "", "output": "Baltic."} | changes
    return build_request(load_prompts("fake")[phase], instruction=instruction, **values)


def recording(path: Path, *rows: dict[str, Any]) -> Path:
    """A file of replies for the engine `recorded`."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
