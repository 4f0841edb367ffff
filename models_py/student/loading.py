"""Opens a resolved student: its tokenizer, its chat, its weights.

Nothing here falls back, downloads or runs code that a model brings along: a student that cannot be opened is a
UserError, never another model, and so is one whose weights say nothing. torch and transformers are imported inside.
"""

from pathlib import Path
from typing import Any

from models_py.errors import UserError
from models_py.student.chat import StudentChat
from models_py.student.spec import ResolvedStudent

DTYPES = ("auto", "float32", "bfloat16", "float16")
# How everything of a student is opened: from this machine, and without the code that its `auto_map` may name.
_OPENED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_config(student: ResolvedStudent) -> Any:
    """The student's configuration. Raises UserError when folder or hub model cannot be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(student.model, revision=student.revision, **_OPENED)
    except Exception as error:  # each kind of broken file has its own type
        raise _unreadable(student, "config", error) from error


def load_tokenizer(student: ResolvedStudent) -> Any:
    """The student's tokenizer. Raises UserError when folder or hub model cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(student.model, revision=student.revision, **_OPENED)
    except Exception as error:  # each kind of broken file has its own type
        raise _unreadable(student, "tokenizer", error) from error


def load_chat(student: ResolvedStudent) -> StudentChat:
    """The student's tokenizer under its chat template, which the tokenizer carries from here on.

    Raises UserError that names the student for a tokenizer or template that makes no chat, or not for this model.
    """
    tokenizer = load_tokenizer(student)
    try:
        chat = StudentChat(tokenizer, student.chat_template, student.max_length, student.reverse_prompt)
    except UserError as error:
        raise UserError(f"students.{student.name}: {error}") from error
    _check_embeddings(student, chat)
    tokenizer.chat_template = chat.template  # whoever saves the tokenizer saves the contract
    return chat


def load_model(student: ResolvedStudent, device: str | None = None) -> Any:
    """The student's causal language model in evaluation mode.

    device: a torch device; None takes CUDA where there is one, else the CPU. dtype `auto` is bfloat16 on CUDA and
    float32 on a CPU. Raises UserError when folder or hub model cannot be read, or weights are missing from it, are NaN
    or infinite, or find every token equally likely.
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
            student.model, revision=student.revision, dtype=dtype, output_loading_info=True, **_OPENED
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
    model = model.to(device).eval()
    _check_weights(student, model)
    return model


def _check_weights(student: ResolvedStudent, model: Any) -> None:
    """Raise UserError for weights that give scores without a meaning."""
    import torch

    weights = dict(model.named_parameters())
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise UserError(
            f"students.{student.name}.model: {len(broken)} of the {len(weights)} weights in {student.model} hold NaN "
            f"or infinite values (first: {broken[0]}), so no text has a score; copy or train the model again"
        )
    some_ids = torch.arange(min(8, model.get_input_embeddings().weight.shape[0]), device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=some_ids.unsqueeze(0), use_cache=False).logits[0]  # (T, V)
    if bool((logits.amax(1) == logits.amin(1)).all()):
        zero = sum(not weight.any() for weight in weights.values())
        raise UserError(
            f"students.{student.name}.model: {student.model} finds every token equally likely ({zero} of its "
            f"{len(weights)} weights are all zero), so its scores say nothing; copy or train the model again"
        )


def _check_embeddings(student: ResolvedStudent, chat: StudentChat) -> None:
    """Raise UserError where a text could have ids that the model has no embedding for; padding with one is mended."""
    rows = getattr(load_config(student).get_text_config(), "vocab_size", None)
    if rows is None:
        return
    tokenizer = chat.tokenizer
    # Of the tokens that no text is ever read as, only those count that the chat itself writes.
    beyond = {i: token for token, i in tokenizer.get_vocab().items() if i >= rows and i not in chat.unwritten_ids}
    if beyond:
        first = min(beyond)
        raise UserError(
            f"students.{student.name}.model: the tokenizer in {student.model} has {len(beyond)} tokens beyond the "
            f"model's {rows} embeddings (first: {beyond[first]!r} with id {first}); give the tokenizer that the model "
            "was trained with, or resize the model's embeddings to it and save both"
        )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token  # what is padded is masked


def _unreadable(student: ResolvedStudent, what: str, error: Exception) -> UserError:
    where = f"folder {student.model}" if Path(student.model).is_dir() else f"hub model {student.model}"
    lines = str(error).strip().splitlines()
    return UserError(
        f"students.{student.name}.model: the {what} in {where} cannot be read "
        f"({type(error).__name__}: {lines[0] if lines else 'no details'}); give a folder with config.json, tokenizer "
        "and safetensors weights of a causal language model; hub models are fetched by profile/base_students"
    )
