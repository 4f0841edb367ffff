"""What a student is, before and after it was found: plain values, no torch.

    StudentSpec(name="toy", scratch=ScratchSpec())            # trained here, from nothing
    StudentSpec(name="qwen", model="Qwen/Qwen3-0.6B-Base")    # a hub model or a folder

`resolve.resolve_student` turns a spec into a `ResolvedStudent`; scoring and training take only that one.
"""

from dataclasses import dataclass
from pathlib import Path

# Part of every fingerprint: raise it when prompt ids, target ids or truncation change, and old scores stop counting.
CONTRACT_VERSION = 1

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_CHAT_TEMPLATE = TEMPLATES / "default.jinja"
DEFAULT_REVERSE_PROMPT = TEMPLATES / "reverse_prompt.jinja"


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


@dataclass(frozen=True, slots=True)
class StudentSpec:
    """A student as the profile names it. Exactly one of `model` (hub id or folder) and `scratch` is given.

    max_length: tokens of the longest sequence that is scored or trained on, end of turn included.
    chat_template, reverse_prompt: Jinja files that replace the student's own template and this project's prompt.
    dtype: auto (bfloat16 on CUDA, float32 on CPU) | float32 | bfloat16 | float16.
    """

    name: str
    model: str | None = None
    revision: str | None = None
    scratch: ScratchSpec | None = None
    chat_template: Path | None = None
    max_length: int = 2048
    dtype: str = "auto"
    reverse_prompt: Path | None = None


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
