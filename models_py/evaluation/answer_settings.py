"""What a profile may say of the instructions that models answer, and of how they answer. Light to import.

InstructionFile("mt_bench", path="evaluation/question.jsonl", fields={"instruction": "text"})
Generation(max_tokens=128)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from models_py.content import fingerprint, hashed_fields
from models_py.errors import refuse, unknown
from models_py.sources.spec import Source

INSTRUCTIONS_SECTION = "evaluation.instructions"
KNOWN_FIELDS = ("instruction", "input", "category", "system", "history", "messages", "reference")


class _Files(Source):
    section: ClassVar[str] = INSTRUCTIONS_SECTION


@dataclass(frozen=True, slots=True)
class InstructionFile:
    """A set of instructions: `path` or `paths` and `format` as of a source.

    fields: our field -> the file's, for files of no known shape; `instruction` or `messages` must be named.
    limit: only so many rows of it, the first.
    """

    name: str
    path: str | None = None
    paths: tuple[str, ...] | None = None
    format: str | None = None
    fields: Mapping[str, str] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        refuse(self._problems())
        _ = self.files  # raises for its own part

    def _problems(self) -> Iterator[str]:
        where = f"{INSTRUCTIONS_SECTION}.{self.name}.fields"
        if self.fields is None:
            return
        if "instruction" not in self.fields and "messages" not in self.fields:
            yield f"{where}: instruction is missing; write instruction: <the file's field>"
        for name in self.fields:
            if name not in KNOWN_FIELDS:
                yield f"{where}: {unknown('one of our fields', name, KNOWN_FIELDS)}"

    @property
    def files(self) -> Source:
        """Where its rows lie."""
        return _Files(self.name, path=self.path, paths=self.paths, format=self.format, limit=self.limit)

    @property
    def settings(self) -> dict[str, object]:
        """What says which instructions are found in it, beside the bytes of its files."""
        fields = None if self.fields is None else dict(self.fields)
        return {"name": self.name, "format": self.format, "fields": fields, "limit": self.limit}

    def at(self, root: Path) -> "InstructionFile":
        """The same, its relative paths seen from `root`."""
        moved = self.files.at(root)
        return replace(self, path=moved.path, paths=moved.paths)


@dataclass(frozen=True, slots=True)
class Generation:
    """How models answer: greedily, unless temperature is above 0.

    max_tokens: of an answer. seed: of sampling. engine: vllm, transformers, or auto: vLLM where it is installed and the
    machine has a GPU. engine_args: further arguments of `vllm.LLM`. batch_tokens: prompts and answers that transformers
    holds at once, padding included; None takes 4,096 on a CPU, where each batch takes a while and is kept when it ends,
    and 65,536 on CUDA. None of these three is part of what an answer is kept under: they change how fast it comes, and
    last digits of sums.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    engine: Literal["auto", "vllm", "transformers"] = "auto"
    batch_tokens: int | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.max_tokens < 1:
            yield f"max_tokens: {self.max_tokens} is below 1"
        if self.temperature < 0:
            yield f"temperature: {self.temperature} is below 0"
        if not 0 < self.top_p <= 1:
            yield f"top_p: {self.top_p} is not above 0 and at most 1"
        if self.batch_tokens is not None and self.batch_tokens < 1:
            yield f"batch_tokens: {self.batch_tokens} is below 1"
        for name in ("model", "revision", "max_model_len", "dtype", "trust_remote_code"):
            if name in self.engine_args:
                yield f"engine_args.{name}: is not taken; the student says it, and no code of a model is ever run"

    @property
    def meaning(self) -> dict[str, Any]:
        """What decides an answer; of the sampling only where there is any."""
        kept = hashed_fields(self, always=("max_tokens",))
        left_out = {"engine", "engine_args", "batch_tokens", *(("top_p", "seed") if self.temperature == 0 else ())}
        return {name: value for name, value in kept.items() if name not in left_out}

    @property
    def id(self) -> str:
        """What answers are kept under."""
        return fingerprint("generation", self.meaning)
