"""Opens a resolved student: its tokenizer, its chat, its weights.

Nothing here falls back or downloads: a student that cannot be opened is a UserError, never another model.
torch and transformers are imported inside.
"""

from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.student.chat import StudentChat
from models_py.student.spec import ResolvedStudent

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_tokenizer(student: ResolvedStudent) -> Any:
    """The student's tokenizer. Raises UserError when folder or hub model cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(student.model, revision=student.revision, local_files_only=True)
    except Exception as error:  # each kind of broken file has its own type
        raise _unreadable(student, "tokenizer", error) from error


def load_chat(student: ResolvedStudent) -> StudentChat:
    """The student's tokenizer under its chat template, which the tokenizer carries from here on.

    Raises UserError that names the student for a tokenizer or template that makes no chat.
    """
    tokenizer = load_tokenizer(student)
    try:
        chat = StudentChat(tokenizer, student.chat_template, student.max_length, student.reverse_prompt)
    except UserError as error:
        raise UserError(f"students.{student.name}: {error}") from error
    tokenizer.chat_template = chat.template  # whoever saves the tokenizer saves the contract
    return chat


def load_model(student: ResolvedStudent, device: str | None = None) -> Any:
    """The student's causal language model in evaluation mode.

    device: a torch device; None takes CUDA where there is one, else the CPU. dtype `auto` is bfloat16 on CUDA and
    float32 on a CPU. Raises UserError when folder or hub model cannot be read, or weights are missing from it.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # progress is the caller's to show
    if student.dtype not in DTYPES:
        raise UserError(f"students.{student.name}.dtype is {student.dtype!r}; one of {', '.join(DTYPES)} is known")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    auto = "bfloat16" if device.startswith("cuda") else "float32"
    dtype = getattr(torch, auto if student.dtype == "auto" else student.dtype)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            student.model, revision=student.revision, dtype=dtype, output_loading_info=True, local_files_only=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each kind of broken file has its own type
        raise _unreadable(student, "model", error) from error
    model, report = loaded
    # transformers draws missing weights at random and only warns: such a student would score noise.
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"students.{student.name}.model: {student.model} lacks {len(missing)} weights of its architecture "
            f"(first: {missing[0]}); name a complete causal language model"
        )
    return model.to(device).eval()


def _unreadable(student: ResolvedStudent, what: str, error: Exception) -> UserError:
    where = f"folder {student.model}" if Path(student.model).is_dir() else f"hub model {student.model}"
    lines = str(error).strip().splitlines()
    return UserError(
        f"students.{student.name}.model: the {what} in {where} cannot be read "
        f"({type(error).__name__}: {lines[0] if lines else 'no details'}); give a folder with config.json, tokenizer "
        "and safetensors weights of a causal language model; hub models are fetched by profile/base_students"
    )
