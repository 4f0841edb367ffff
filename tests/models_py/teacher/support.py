"""Small requests and teachers for the tests of this folder."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

from models_py.teacher.engines.base import Engine
from models_py.teacher.prompt import build_request, load_prompts
from models_py.teacher.request import RESPONSE_REFLECTION, Sampling, TeacherReply, TeacherRequest

REPLY = "Too short.\n\n[Better Answer] A full answer. [End]"


def request(instruction: str = "Name a sea.", phase: str = RESPONSE_REFLECTION, **changes: object) -> TeacherRequest:
    values: dict = {"teacher": "fake", "identity": "fake:1", "sampling": Sampling(), "input": "", "output": "Baltic."}
    return build_request(load_prompts("fake")[phase], instruction=instruction, **(values | changes))


class FakeEngine(Engine):
    """Answers in reverse order and counts; enough, since engines differ only in where replies come from."""

    def __init__(self, error: str | None = None, stop_after: int | None = None) -> None:
        self.error = error
        self.stop_after = stop_after
        self.asked: list[str] = []

    @property
    def identity(self) -> str:
        return "fake:1"

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        for one in list(requests)[::-1][: self.stop_after]:
            self.asked.append(one.request_id)
            reply = None if self.error else REPLY
            yield TeacherReply(one.request_id, reply=reply, finish_reason="stop", error=self.error)


def recording(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
