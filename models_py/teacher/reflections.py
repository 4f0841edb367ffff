"""One phase of reflection over many pairs: request, reply, parse; what comes out is a row of the lake but for its keys.

instruction_reflection  (x, y) -> a new instruction and its answer; an input is folded into the instruction
response_reflection     (x, y) -> a better answer to the same x
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models_py.content import content_id
from models_py.progress import OnProgress, silent
from models_py.teacher.engines import OpenTeacher
from models_py.teacher.ledger import Ledger
from models_py.teacher.parser import parse_reply
from models_py.teacher.reflect import reflect
from models_py.teacher.request import INSTRUCTION_REFLECTION


@dataclass(frozen=True, slots=True)
class Reflection:
    """The outcome for one pair. `pair` is what was given, untouched; texts and `content_id` are None unless ok."""

    pair: Mapping[str, Any]
    request_id: str
    status: str
    critique: str | None
    content_id: str | None  # of the pair as rewritten
    instruction: str | None  # None in the response phase: the instruction stays
    output: str | None


def reflections(
    phase: str,
    pairs: Iterable[Mapping[str, Any]],
    teacher: OpenTeacher,
    ledger: Ledger,
    on_progress: OnProgress = silent,
) -> Iterator[Reflection]:
    """The reflection of every pair, as replies come. A pair is a mapping with `instruction`, `input` and `output`."""
    by_request: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    requests = []
    for pair in pairs:
        request = teacher.request(phase, pair["instruction"], pair["input"], pair["output"])
        by_request[request.request_id].append(pair)
        requests.append(request)
    for request, reply in reflect(requests, teacher.engine, ledger, on_progress):
        pair = by_request[request.request_id].pop()
        parsed = parse_reply(phase, reply.reply, reply.finish_reason, reply.error)
        new_id = None
        if parsed.status == "ok" and parsed.output is not None:
            rewritten = phase == INSTRUCTION_REFLECTION and parsed.instruction is not None
            x = (parsed.instruction, "") if rewritten else (pair["instruction"], pair["input"])
            new_id = content_id(str(x[0]), x[1], parsed.output)
        yield Reflection(
            pair, request.request_id, parsed.status, parsed.critique, new_id, parsed.instruction, parsed.output
        )
