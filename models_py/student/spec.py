"""What a student is, before and after it was found: plain values, no torch.

    Student("toy", scratch=ScratchSpec())            # trained here, from nothing
    Student("qwen", model="Qwen/Qwen3-0.6B-Base")    # a hub model, a folder, or a GGUF file

`resolve.make_student` and `find_student` turn it into a `ResolvedStudent`; scoring and training take only that one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from models_py.errors import refuse
from models_py.paths import model_at, with_absolute_paths

# Part of every fingerprint: raise it when prompt ids, target ids or truncation change, and old scores stop counting.
CONTRACT_VERSION = 1

# Files of a model that decide which ids a text has. Weights and config.json are taken apart from them.
TOKENIZER_PATTERNS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
)
TEMPLATE_FILE = "chat_template.jinja"

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_CHAT_TEMPLATE = TEMPLATES / "default.jinja"
DEFAULT_REVERSE_PROMPT = TEMPLATES / "reverse_prompt.jinja"

DEFAULT_MAX_LENGTH = 2048  # tokens
_SHORTEST = 8  # tokens; less holds no prompt and answer


@dataclass(frozen=True, slots=True)
class ScratchSpec:
    """A toy student: a byte-level BPE tokenizer and a small Llama, trained on one core in well under a minute.

    texts: files read besides the text every Python carries (JSON Lines by their strings, all else as plain text).
    max_length: positions the model has, in tokens. window: tokens of one training example.
    """

    texts: tuple[Path, ...] = ()
    vocab_size: int = 4096
    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    max_length: int = 2048
    window: int = 256
    steps: int = 170
    batch_size: int = 4
    learning_rate: float = 4e-3
    seed: int = 1

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "seed"}
        refuse(
            f"scratch.{name}: {value} is not above 0"
            for name, value in values.items()
            if isinstance(value, int | float) and value <= 0
        )


@dataclass(frozen=True, slots=True)
class Student:
    """A student as the profile names it. Exactly one of `model` and `scratch` is given.

    model: a hub id, a folder, a .gguf file, or `package:<python package>/<file>`: one that a package carries.

    chat_template, reverse_prompt: Jinja files that replace the student's own template and this project's prompt.
    max_length: tokens of the longest sequence; None is the toy's positions, else 2048 (see `longest_sequence`).
    dtype: auto (float32 on CPU and for GGUF files, else bfloat16) | float32 | bfloat16 | float16.
    scored_by: the student whose statistics decide in its place, such as a smaller one; None is itself.
    """

    name: str
    model: str | None = None
    revision: str | None = None
    scratch: ScratchSpec | None = None
    chat_template: Path | None = None
    reverse_prompt: Path | None = None
    max_length: int | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    scored_by: str | None = None

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        where, longest = f"students.{self.name}", self.longest_sequence
        if (self.model is None) == (self.scratch is None):
            yield f"{where}: give either model (a hub id, a folder or a .gguf file) or scratch (a toy trained here)"
        elif self.revision is not None and self.model is None:
            yield f"{where}.revision: only a model has a revision"
        if longest < _SHORTEST:
            yield f"{where}.{'scratch.' if self.max_length is None else ''}max_length: {longest} is below {_SHORTEST}"
        elif self.scratch is not None and longest > self.scratch.max_length:
            yield f"{where}.max_length: {longest} is more than the {self.scratch.max_length} of scratch.max_length"

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest sequence that is scored or trained on, end of turn included."""
        default = self.scratch.max_length if self.scratch else DEFAULT_MAX_LENGTH
        return default if self.max_length is None else self.max_length

    def at(self, root: Path) -> "Student":
        """The same student, its relative paths seen from `root`."""
        key = f"students.{self.name}."
        model = self.model and model_at(self.model, root, f"{key}model")
        return replace(with_absolute_paths(self, root, key), model=model)


@dataclass(frozen=True, slots=True)
class ResolvedStudent:
    """A student that exists: where it lies and what its scores depend on.

    model: folder or hub id; revision: the commit of a hub model, None for a folder.
    fingerprint: hash of weights, tokenizer, config, templates, max_length, dtype and CONTRACT_VERSION.
    chat_template, reverse_prompt: the Jinja texts themselves, not paths.
    """

    name: str
    model: str
    revision: str | None
    fingerprint: str
    max_length: int
    chat_template: str
    reverse_prompt: str
    dtype: str = "auto"
