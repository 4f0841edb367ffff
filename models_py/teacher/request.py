"""What is asked of a teacher and what comes back, as plain values.

A request is known by the hash of everything that decides its reply: who answers, the messages, the sampling, the
prompt's text. Ask the same thing twice and it is the same request: the ledger answers the second time.

Example: TeacherRequest(request_id="9f2c...", teacher="gpt", identity="openai:gpt-4.1-mini", phase=
"instruction_reflection", content_id="51ab...", messages=(Message("system", "..."), Message("user", "...")), ...)

Those who answer live in engines/; nothing here performs input or output.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from models_py.content import content_id, fingerprint
from models_py.conversation import NO_HISTORY, Context, Message

INSTRUCTION_REFLECTION = "instruction_reflection"
RESPONSE_REFLECTION = "response_reflection"
PHASES = (INSTRUCTION_REFLECTION, RESPONSE_REFLECTION)

# With plain words a request asks for one text, which is its whole reply, and is called by that: the first phase has two
# requests about a pair, the second of which shows the new instruction alone.
NEW_INSTRUCTION, NEW_ANSWER, BETTER_ANSWER = "new_instruction", "new_answer", "better_answer"
PLAIN: Mapping[str, tuple[str, ...]] = {
    INSTRUCTION_REFLECTION: (NEW_INSTRUCTION, NEW_ANSWER),
    RESPONSE_REFLECTION: (BETTER_ANSWER,),
}
TAGGED: Mapping[str, tuple[str, ...]] = {phase: (phase,) for phase in PHASES}
# What `TeacherRequest.phase` may be, by the phase of the run that it belongs to.
REQUESTS_OF: Mapping[str, tuple[str, ...]] = {phase: (*TAGGED[phase], *PLAIN[phase]) for phase in PHASES}
REQUESTS = (*REQUESTS_OF[INSTRUCTION_REFLECTION], *REQUESTS_OF[RESPONSE_REFLECTION])
# What a judge is asked about two answers: no phase of the run, but answered by the same engines, in the same ledger.
VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class PendingPair:
    """A pair to reflect on, as the lake's pending rows have it.

    pair_id: the raw pair that this is or descends from. base, base_content_id: in the response phase, which of its
    texts is shown. previous_status: what the lake has of it under the current prompt, None for nothing. system and
    history: what stands before it, as the lake has it.
    """

    pair_id: str
    instruction: str
    input: str
    output: str
    system: str = ""
    history: str = NO_HISTORY
    base: str | None = None
    base_content_id: str | None = None
    previous_status: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The pair in a row, whose further columns are not read."""
        return cls(**{name: row[name] for name in _PAIR_FIELDS if name in row})

    @property
    def context(self) -> Context:
        """What stands before the pair."""
        return Context.of(self.system, self.history)

    @property
    def content_id(self) -> str:
        """Of the texts that are shown."""
        return content_id(self.instruction, self.input, self.output, self.context)


_PAIR_FIELDS = tuple(field.name for field in fields(PendingPair))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the teacher samples; the defaults are the paper's. `max_tokens` bounds the reply, in tokens.

    extra_body: further fields of the request's body, as the server names them (`reasoning_effort: low`).
    A later optional field must default to None: None is left out of the payload, so the ids of requests that
    were paid for before the field existed stay what they are.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048
    seed: int | None = None
    extra_body: Mapping[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        """The fields that are set, numbers in one form: 1 and 1.0 in a profile are the same request."""
        values = {name: getattr(self, name) for name in _SAMPLING_FIELDS}
        values |= {"temperature": float(self.temperature), "top_p": float(self.top_p)}
        return {name: value for name, value in values.items() if value is not None}


_SAMPLING_FIELDS = tuple(field.name for field in fields(Sampling))


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One question to a teacher about one pair. Built by `models_py.teacher.prompt.build_request`."""

    request_id: str  # sha256 hex of identity, phase, prompt, messages and sampling
    teacher: str  # the name in the profile; not part of the id
    identity: str  # what answers: engine, model and version
    phase: str  # one of REQUESTS, or VERDICT
    content_id: str  # of the pair that is shown to the teacher
    prompt: str  # hash of the template's text
    messages: tuple[Message, ...]
    sampling: Sampling
    parse_attempt: int = 0  # unusable replies about this pair before; what they changed in the sampling is in the id

    def payload(self) -> dict[str, object]:
        """What decides the reply, JSON-able: the preimage of `request_id`."""
        return _payload(self.identity, self.phase, self.prompt, self.messages, self.sampling)

    @property
    def stored(self) -> str:
        """The payload as the ledger has it: in ASCII, so any text of a pair can be stored."""
        return json.dumps(self.payload(), sort_keys=True)

    @property
    def hash(self) -> str:
        """Of the payload: what `request_id` has to be."""
        return fingerprint(self.payload())


@dataclass(frozen=True, slots=True)
class TeacherReply:
    """What came back for one request.

    `error` says why nothing came back (transport, or no recording); such a reply is not final, the next run asks
    again. A reply that arrived is final, whatever it says: `parse_reply` judges it. `finish_reason` is as the server
    spells it (reply_text.py reads it); beside an error it says that asking again is no use: content_filter (the server
    will not have the text) or length (no higher limit). Unknown counts, seconds and dollars are None, never 0.
    attempts: calls that were made, repeated ones included. usage: JSON as the server reported it.
    """

    request_id: str
    reply: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int = 1
    latency_s: float | None = None
    cost_usd: float | None = None
    error: str | None = None
    usage: str | None = None


def request_hash(*, identity: str, phase: str, prompt: str, messages: tuple[Message, ...], sampling: Sampling) -> str:
    """The sha256 hex digest of everything that decides a reply."""
    return fingerprint(_payload(identity, phase, prompt, messages, sampling))


def _payload(
    identity: str, phase: str, prompt: str, messages: tuple[Message, ...], sampling: Sampling
) -> dict[str, object]:
    return {
        "identity": identity,
        "phase": phase,
        "prompt": prompt,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "sampling": sampling.payload(),
    }
