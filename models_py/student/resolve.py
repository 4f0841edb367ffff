"""From what the profile says of a student to a student that exists, with the fingerprint its scores are kept under.

    Student("toy", scratch=...)  ->  ResolvedStudent(model=".../scratch-5b1c...", fingerprint="e0...")

A folder is fingerprinted by the bytes of its files (remembered by path, size and time, so the second look is quick),
a hub model by the commit its revision stands for. torch is loaded only when a toy has to be trained, and
huggingface_hub only for a hub model.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models_py.content import FileHashes, file_sha256, fingerprint
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.student.spec import (
    CONTRACT_VERSION,
    DEFAULT_CHAT_TEMPLATE,
    DEFAULT_REVERSE_PROMPT,
    ResolvedStudent,
    Student,
)

# Files that decide which ids a text has. Weights and config.json are taken apart from them.
_TOKENIZER_PATTERNS = (
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
_TEMPLATE_FILE = "chat_template.jinja"
_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")  # what transformers would load comes first
_HASHES_FILE = "file_hashes.json"


def resolve_student(spec: Student, students_dir: Path, on_progress: OnProgress = silent) -> ResolvedStudent:
    """Find, fetch or train the student of a spec, check that it is whole, and fingerprint it.

    students_dir: where toys and the memory of file hashes lie; made when missing.
    Raises UserError for a folder that is no model, a hub model that cannot be fetched, an unreadable template file
    and a max_length beyond the model's positions.
    """
    students_dir.mkdir(parents=True, exist_ok=True)
    revision: str | None = None
    if spec.scratch is not None:
        from models_py.student.scratch import find_or_train_scratch

        files = find_or_train_scratch(spec.scratch, students_dir, on_progress)
    elif Path(str(spec.model)).expanduser().exists():
        files = Path(str(spec.model)).expanduser().resolve()
    else:
        files = _fetch_small_files(spec)
        revision = files.name

    config = _read_config(spec, files)
    _check_positions(spec, config)
    tokenizer = sorted({path for pattern in _TOKENIZER_PATTERNS for path in files.glob(pattern)})
    if not tokenizer:
        raise UserError(f"students.{spec.name}.model: {files} has no tokenizer; save the tokenizer beside the model")
    chat_template = _template(spec, "chat_template", spec.chat_template, lambda: _own_template(files))
    reverse_prompt = _template(
        spec, "reverse_prompt", spec.reverse_prompt, lambda: DEFAULT_REVERSE_PROMPT.read_text("utf-8")
    )
    if revision:
        model = str(spec.model)
        weights = f"{model}@{revision}"
    else:
        model = str(files)
        weights = _weights_hash(spec, files, students_dir, on_progress)
    return ResolvedStudent(
        name=spec.name,
        model=model,
        revision=revision,
        fingerprint=fingerprint(
            CONTRACT_VERSION,
            weights,
            {path.name: file_sha256(path) for path in tokenizer},
            config,
            chat_template,
            reverse_prompt,
            spec.longest_sequence,
            spec.dtype,
        ),
        max_length=spec.longest_sequence,
        chat_template=chat_template,
        reverse_prompt=reverse_prompt,
        dtype=spec.dtype,
    )


def _weights_hash(spec: Student, folder: Path, students_dir: Path, on_progress: OnProgress) -> str:
    """One hash over the weight files, or a UserError that says what the folder lacks."""
    weights = next((found for pattern in _WEIGHT_PATTERNS if (found := sorted(folder.glob(pattern)))), [])
    if not weights:
        raise UserError(
            f"students.{spec.name}.model: {folder} has no weights (*.safetensors or pytorch_model*.bin); "
            "give a folder written by save_pretrained, or a hub id"
        )
    hashes = FileHashes(students_dir / _HASHES_FILE)
    parts: dict[str, str] = {}
    for done, path in enumerate(weights):
        on_progress(Progress(done, len(weights), "weight files", note=path.name))
        try:
            parts[path.name] = hashes.of(path)
        except OSError as error:
            raise UserError(
                f"students.{spec.name}.model: {path} cannot be read ({error.strerror}); mend its permissions"
            ) from error
    hashes.save()
    return fingerprint(parts)


def _fetch_small_files(spec: Student) -> Path:
    """The folder of a hub model's config, tokenizer and template at one commit; its name is the commit."""
    from huggingface_hub import snapshot_download

    model = str(spec.model)
    try:
        return Path(
            snapshot_download(
                model,
                revision=spec.revision,
                allow_patterns=["config.json", _TEMPLATE_FILE, *_TOKENIZER_PATTERNS],
            )
        )
    except Exception as error:  # a bad id, no network, no access, no such model: each of them has its own type
        lines = str(error).strip().splitlines()
        raise UserError(
            f"students.{spec.name}.model: {model!r} is no folder here and cannot be fetched from the hub "
            f"({type(error).__name__}: {lines[0] if lines else 'no details'}); correct the path or the hub id"
            f"{' and revision' if spec.revision else ''}, or download it where there is a network and name the folder"
        ) from error


def _read_config(spec: Student, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"students.{spec.name}.model: {folder} is a file; give the folder that holds it, or a hub id")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"students.{spec.name}.model: {folder} has no config.json, so it is no transformers model; "
            "give a folder written by save_pretrained, or a hub id"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"students.{spec.name}.model: {path} cannot be read ({error}); copy the model again") from error
    if not isinstance(config, dict):
        raise UserError(f"students.{spec.name}.model: {path} holds no JSON object; copy the model again")
    return config


def _check_positions(spec: Student, config: dict[str, Any]) -> None:
    config = {**config, **config.get("text_config", {})}
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if limit and spec.longest_sequence > limit and not config.get("rope_scaling"):
        raise UserError(
            f"students.{spec.name}.max_length is {spec.longest_sequence}, but the model has {limit} positions; "
            f"set max_length to {limit} or less"
        )


def _own_template(folder: Path) -> str:
    """The student's own chat template, else this project's for models without one."""
    file = folder / _TEMPLATE_FILE
    if file.is_file():
        return file.read_text("utf-8")
    try:
        own = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template")
    except FileNotFoundError:
        own = None
    if isinstance(own, list):  # several under names: the one called default
        own = next((entry["template"] for entry in own if entry.get("name") == "default"), None)
    return own if isinstance(own, str) else DEFAULT_CHAT_TEMPLATE.read_text("utf-8")


def _template(spec: Student, field: str, path: Path | None, otherwise: Callable[[], str]) -> str:
    try:
        return otherwise() if path is None else path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"students.{spec.name}.{field}: {path or spec.model} cannot be read ({error}); name a Jinja file"
        ) from error
