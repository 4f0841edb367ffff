"""A teacher as the profile names it: plain values, with their defaults, limits and meanings.

    TeacherSpec("gpt", OpenAISettings(model="gpt-4.1-mini"), Price(0.40, 1.60))

`open_teacher` turns a spec into a teacher that can be asked. What the rest of the project needs to know of an engine
before it is opened (is it free, how long does it take) its settings say, so that a new engine is a settings class here,
in `EngineSettings`, and the file that its `open_engine` imports.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from models_py.errors import refuse
from models_py.paths import model_at, with_absolute_paths
from models_py.teacher.engines.base import Engine
from models_py.teacher.engines.openai.address import address_problems, shown_url
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Budget, Price
from models_py.teacher.request import PLAIN, TAGGED, Sampling

_KEY_CHARS = 10  # letters and digits in a row that are no word

OPENAI_URL = "https://api.openai.com/v1"

# Arguments of vllm.LLM that are fields of VllmSettings, by our name for them.
_OF_VLLM = {"model": "model", "revision": "revision", "chat_template": "chat_template", "max_length": "max_model_len"}


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Which words are used: a bundled variant, and files that replace it by phase.

    conversation: replaces what shows the system text and the earlier turns of a pair that has any (prompt.py).
    verdict: what a judge is asked about two answers (models_py/evaluation/verdict_prompt.py); teachers have none.

    record_first: the record, then the criteria. criteria_first: what all requests share comes first, so that a
    server's prefix cache computes it once. plain: for small models, no criteria, no tags, one text a request.
    """

    variant: Literal["record_first", "criteria_first", "plain"] = "record_first"
    instruction_reflection: Path | None = None
    response_reflection: Path | None = None
    new_instruction: Path | None = None
    new_answer: Path | None = None
    better_answer: Path | None = None
    conversation: Path | None = None
    verdict: Path | None = None

    def __post_init__(self) -> None:
        own, other = (PLAIN, TAGGED) if self.variant == "plain" else (TAGGED, PLAIN)
        asked = ", ".join(name for phase in own.values() for name in phase)
        refuse(
            f"{name}: is no request of variant {self.variant}, which asks for {asked}"
            for phase in other.values()
            for name in phase
            if getattr(self, name) is not None
        )

    @property
    def requests(self) -> Mapping[str, tuple[str, ...]]:
        """The requests of each phase, in order."""
        return PLAIN if self.variant == "plain" else TAGGED


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSettings(ABC):
    """What every engine has. parse_attempts: how often an unusable reply is asked again, with a changed sampling.

    The key `engine` of the profile chooses the class: each has a field `engine: Literal["name"] = "name"`.
    """

    prompts: PromptSettings = field(default_factory=PromptSettings)
    sampling: Sampling = field(default_factory=Sampling)
    parse_attempts: int = 2
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        refuse(self.problems())

    def problems(self) -> Iterator[str]:
        """What cannot be among the values, each with its key first; an engine adds its own to those of its base."""
        sampling = self.sampling
        yield from _unless(sampling.temperature >= 0, "sampling.temperature", sampling.temperature, "is below 0")
        yield from _unless(0 < sampling.top_p <= 1, "sampling.top_p", sampling.top_p, "is not above 0 and at most 1")
        yield from _unless(sampling.max_tokens >= 1, "sampling.max_tokens", sampling.max_tokens, "is below 1")
        yield from _unless(self.parse_attempts >= 0, "parse_attempts", self.parse_attempts, "is below 0")

    @abstractmethod
    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        """Who answers as these settings say, for that teacher. Loads no model, asks nothing.

        Imports the engine inside: a profile is read without it. ledger: beside it an engine may keep its files.
        """

    @property
    def model_name(self) -> str | None:
        """By which the price table knows the model."""
        return getattr(self, "model", None)

    @property
    def asked_at(self) -> str:
        """Who or what answers, as a person would look for it: an address, a file, a model."""
        return self.model_name or "the teacher"

    @property
    def price_factor(self) -> float:
        """What a reply costs, as a share of the model's price."""
        return 1.0

    @property
    def is_free(self) -> bool:
        """Whether replies cost neither money nor time, so that nothing need be estimated."""
        return False

    @property
    def calls_at_once(self) -> int | None:
        """How many requests are under way at once, None where the engine decides."""
        return None

    def seconds(self, requests: float, tokens: float, calls_s: float) -> float | None:
        """How long so many requests and tokens take, `calls_s` one after another; None where nobody can know before."""
        return None

    @property
    def when_answered(self) -> str:
        """In words, where `seconds` is None: when answers come."""
        return "Time unknown: the progress of `make run` shows it from the first replies on."

    def at(self, root: Path) -> Self:
        """The same settings, their relative paths seen from `root`."""
        return with_absolute_paths(self, root)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSettings(TeacherSettings):
    """Replies from a file: JSON Lines, as `make export-replies` writes them."""

    engine: Literal["recorded"] = "recorded"
    replies: Path

    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        from models_py.teacher.engines.recorded import RecordedEngine

        return RecordedEngine(self.replies)

    @property
    def asked_at(self) -> str:
        return str(self.replies)

    @property
    def is_free(self) -> bool:
        return True

    @property
    def when_answered(self) -> str:
        return "Answers come from a file and cost nothing."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(TeacherSettings):
    """An OpenAI-compatible server. token_limit: the field that bounds a reply; newer models take only the other one.

    base_url: what stands before /chat/completions; a `?api-version=...` at its end goes with every call.
    api_key_env: the environment variable that holds the key, None for a server that wants none. api_key_header: where
    the key goes; any but Authorization takes it without `Bearer`. timeout_s: of one call, from sending to the last
    byte. attempts: calls until a request fails, those answered 429 not counted.
    """

    model: str
    base_url: str = OPENAI_URL
    api_key_env: str | None = "OPENAI_API_KEY"
    api_key_header: str = "Authorization"
    timeout_s: float = 180.0
    attempts: int = 6
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def problems(self) -> Iterator[str]:
        yield from TeacherSettings.problems(self)
        yield from (f"base_url: {problem}" for problem in address_problems(self.base_url))
        if self.api_key_env is not None and not _names_a_variable(self.api_key_env):
            yield (
                "api_key_env: this is no name of an environment variable. It may be a key, so it is not shown. Put the "
                "key into a variable (export OPENAI_API_KEY=...), write that name here, and take it out of the file"
            )
        is_header = re.fullmatch(r"[A-Za-z0-9-]+", self.api_key_header) is not None
        yield from _unless(is_header, "api_key_header", self.api_key_header, "is no name of an HTTP header")
        yield from _unless(self.timeout_s > 0, "timeout_s", self.timeout_s, "is not above 0")
        yield from _unless(self.attempts >= 1, "attempts", self.attempts, "is below 1")

    @property
    def asked_at(self) -> str:
        return shown_url(self.base_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings(ServerSettings):
    """Chat completions, one call a request. concurrency: calls under way at once. Rates: None is no limit."""

    engine: Literal["openai"] = "openai"
    concurrency: int = 32
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def problems(self) -> Iterator[str]:
        yield from ServerSettings.problems(self)
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            yield from _unless(value is None or value >= 1, name, value, "is below 1")

    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        from models_py.teacher.engines.openai.chat import OpenAIEngine

        return OpenAIEngine(teacher.name, self)

    @property
    def calls_at_once(self) -> int:
        return self.concurrency

    def seconds(self, requests: float, tokens: float, calls_s: float) -> float:
        """The slowest of what bounds a server: calls at once, requests a minute, tokens a minute."""
        bounds = [calls_s / max(1.0, min(self.concurrency, requests))]
        if self.requests_per_minute:
            bounds.append(60 * requests / self.requests_per_minute)
        if self.tokens_per_minute:
            bounds.append(60 * tokens / self.tokens_per_minute)
        return max(bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIBatchSettings(ServerSettings):
    """The batch endpoints: half the price, an answer within a day. poll_s: seconds between looks at open batches.

    batch_requests: of one batch at most. Where a server limits the tokens that may be enqueued, take fewer.
    """

    engine: Literal["openai_batch"] = "openai_batch"
    poll_s: float = 30.0
    batch_requests: int = 50_000

    def problems(self) -> Iterator[str]:
        yield from ServerSettings.problems(self)
        yield from _unless(self.poll_s > 0, "poll_s", self.poll_s, "is not above 0")
        in_range = 1 <= self.batch_requests <= 50_000
        yield from _unless(
            in_range, "batch_requests", self.batch_requests, "is not from 1 to 50,000, which servers take"
        )

    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        from models_py.teacher.engines.openai.batch import OpenAIBatchEngine

        return OpenAIBatchEngine(teacher.name, self, ledger)

    @property
    def price_factor(self) -> float:
        return 0.5

    @property
    def when_answered(self) -> str:
        return "Time unknown: a batch is answered within 24 hours, each phase and each round of second tries is one."


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings(TeacherSettings):
    """vLLM in the step's own process. model: hub id or folder, with its chat template or the file `chat_template`; or a
    GGUF file, also `package:<python package>/<file>`, turned into a folder once, the one a student of that file has.

    max_length: tokens of prompt and reply together, None for the model's own. engine_args: further arguments of
    `vllm.LLM` (tensor_parallel_size, gpu_memory_utilization, ...). actors: how many engines work at once, each on GPUs
    of its own, on the machines of a Ray cluster; `auto` is as many as there are GPUs for.
    """

    engine: Literal["vllm"] = "vllm"
    model: str
    revision: str | None = None
    chat_template: Path | None = None
    max_length: int | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    actors: int | Literal["auto"] | None = None

    def problems(self) -> Iterator[str]:
        yield from TeacherSettings.problems(self)
        yield from _unless(self.max_length is None or self.max_length >= 1, "max_length", self.max_length, "is below 1")
        for ours, theirs in _OF_VLLM.items():
            value = self.engine_args.get(theirs)
            yield from _unless(theirs not in self.engine_args, f"engine_args.{theirs}", value, f"belongs in `{ours}`")
        is_count = self.actors in (None, "auto") or (isinstance(self.actors, int) and self.actors >= 1)
        yield from _unless(is_count, "actors", self.actors, "is neither a number from 1 on nor auto")
        trust = "trust_remote_code"
        why = (
            "is not taken: code that a model brings along is never run; name a model of an architecture that vLLM knows"
        )
        yield from _unless(trust not in self.engine_args, f"engine_args.{trust}", self.engine_args.get(trust), why)

    def open_engine(self, teacher: "TeacherSpec", ledger: LedgerPlace | None) -> Engine:
        warehouse = ledger.path.parent if ledger else None
        if self.actors is not None:
            from models_py.teacher.engines.vllm.actors import VllmActors

            return VllmActors(teacher.name, self, warehouse, teacher.cluster)
        from models_py.teacher.engines.vllm.offline import VllmEngine

        return VllmEngine(teacher.name, self, warehouse)

    @property
    def gpus(self) -> int:
        """How many one engine takes."""
        return int(self.engine_args.get("tensor_parallel_size", 1)) * int(
            self.engine_args.get("pipeline_parallel_size", 1)
        )

    @property
    def when_answered(self) -> str:
        return "Time unknown: it is this machine's; the progress of `make run` shows it from the first replies on."

    def at(self, root: Path) -> Self:
        return replace(TeacherSettings.at(self, root), model=model_at(self.model, root, "model"))


EngineSettings = RecordedSettings | OpenAISettings | OpenAIBatchSettings | VllmSettings
ENGINES: Mapping[str, type[EngineSettings]] = {
    settings.__dataclass_fields__["engine"].default: settings for settings in get_args(EngineSettings)
}


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """A teacher of the profile. price: of its model, None when the price table has none.

    cluster: the address of the Ray cluster for an engine of several actors, None: this machine.
    """

    name: str
    settings: EngineSettings
    price: Price | None = None
    cluster: str | None = None

    def open_engine(self, ledger: LedgerPlace | None) -> Engine:
        """Who answers. Loads no model, asks nothing. ledger: beside it an engine may keep its files."""
        return self.settings.open_engine(self, ledger)

    @property
    def charged(self) -> Price | None:
        """What this teacher's replies cost: the model's price, less where the engine gets it cheaper."""
        return self.price and self.price.times(self.settings.price_factor)


def _names_a_variable(name: str) -> bool:
    """Whether it can be shown as a variable's name; somebody may have put the key itself there."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return False
    long = (part for part in name.split("_") if len(part) >= _KEY_CHARS)
    return name in os.environ or not any(len(part) > 2 * _KEY_CHARS or re.search(r"\d", part) for part in long)


def _unless(holds: bool, name: str, value: object, problem: str) -> list[str]:
    return [] if holds else [f"{name}: {value} {problem}"]
