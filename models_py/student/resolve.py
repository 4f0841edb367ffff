"""From what the profile says of a student to a student that exists, with the fingerprint its scores are kept under.

    Student("toy", scratch=...)  ->  ResolvedStudent(model=".../scratch-5b1c...", fingerprint="e0...")

`make_student` downloads a hub model, converts a GGUF file or trains a toy; one step alone calls it. All others call
`find_student`, which finds what that step left. A folder is fingerprinted by the bytes of its files, a GGUF file by its
own, a hub model by the commit its revision stood for. The second look is quick: hashes are remembered with size, times
and inode of their files. Before a student is trained, `find_student(..., reread=True)` reads all its bytes again. torch
is loaded only when a toy has to be trained or a file converted, and huggingface_hub only for a hub model.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_py.content import FileHashes, file_sha256, fingerprint, hashed_fields
from models_py.errors import UserError, did_you_mean
from models_py.progress import OnProgress, Progress, silent
from models_py.student.architectures import causal_models
from models_py.student.gguf import (
    HASHES_FILE,
    GgufModel,
    checked_header,
    converted_folder,
    is_gguf,
    made_folder,
    open_gguf,
)
from models_py.student.shards import cut_off, missing_shards, weight_files
from models_py.student.spec import (
    CONTRACT_VERSION,
    DEFAULT_CHAT_TEMPLATE,
    DEFAULT_REVERSE_PROMPT,
    TEMPLATE_FILE,
    TOKENIZER_PATTERNS,
    ResolvedStudent,
    Student,
)
from models_py.student.template import answer_template, renders_as_at_first
from models_py.student.weights import check_weights, highest_token_id
from models_py.template_trial import problem_of

# What configs call the number of positions; MPT and DBRX have `max_seq_len`.
_POSITION_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
_LARGEST_POINTER = 1024  # bytes of what git leaves where git-lfs has not fetched the file
_REMEDY = "materialize profile/base_students (`make run` does)"
# The fields that every fingerprint knows of, most of them by what they name. A later one is hashed where it is used.
_KNOWN_FIELDS = frozenset(
    ("name", "model", "revision", "scratch", "chat_template", "max_length", "dtype", "reverse_prompt", "scored_by")
)


def check_student(spec: Student) -> str:
    """Raise UserError for what is wrong with a student as far as that shows before it is made; its chat template.

    A folder or file that is no model or not whole, an architecture that transformers does not know, a hub model that
    does not exist (its small files are fetched), unreadable texts or templates, a chat template that no answer can
    follow, a max_length beyond the model's positions.
    """
    if spec.scratch is not None:
        from models_py.student.scratch import CHAT_TEMPLATE, read_corpus

        read_corpus(spec.scratch.texts)
        chat_template, _ = _templates(spec, own=lambda: CHAT_TEMPLATE)
    elif is_gguf(str(spec.model)):
        chat_template = _check_gguf(spec)
    elif (folder := _local_folder(spec)) is not None:
        chat_template = _check_files(spec, folder)
        for path in _weights(spec, folder):
            if told := cut_off(path):
                raise UserError(f"students.{spec.name}.model: {path} {told}; copy the model again")
    else:
        from models_py.student.hub import fetch_small_files

        chat_template = _check_files(spec, fetch_small_files(spec))
    try:
        answer_template(chat_template)
    except UserError as error:
        where = f".chat_template: {spec.chat_template}" if spec.chat_template else ""
        raise UserError(f"students.{spec.name}{where}: {error}") from error
    return chat_template


def _check_files(spec: Student, folder: Path) -> str:
    """Raise UserError for what is wrong with a model's small files; its chat template."""
    files = _read(spec, folder)
    known, kind = causal_models(), files.config.get("model_type")
    if known is not None and str(kind) not in known:
        found = "names no model_type" if kind is None else f"is of the model_type {kind!r}"
        raise UserError(
            f"students.{spec.name}.model: {folder / 'config.json'} {found}, which is no causal language model that "
            f"transformers knows{did_you_mean(str(kind), known)}; name another model (code that a model brings along "
            "is never run)"
        )
    return files.chat_template


def _check_gguf(spec: Student) -> str:
    """Raise UserError for what the header of a GGUF file says is wrong; its chat template."""
    key = f"students.{spec.name}.model"
    header = checked_header(str(spec.model), key)
    positions = header.values.get(f"{header.architecture}.context_length")
    if not any(".rope.scaling." in value for value in header.values):  # a stretched rotation reaches further
        _check_positions(spec, {"max_position_embeddings": positions})
    own = header.values.get("tokenizer.chat_template")
    default = DEFAULT_CHAT_TEMPLATE.read_text("utf-8")
    return _templates(spec, own=lambda: own if isinstance(own, str) else default)[0]


def make_student(spec: Student, students_dir: Path, on_progress: OnProgress = silent) -> ResolvedStudent:
    """The student of a spec, downloaded or trained where it is not here yet; whole, and fingerprinted.

    students_dir: where toys lie, the memory of file hashes, and that of what was fetched; made when missing.
    Raises UserError as `check_student` does, for weights that cannot be had or that say nothing, and for a tokenizer
    with more tokens than the model has embeddings.
    """
    students_dir.mkdir(parents=True, exist_ok=True)
    if spec.scratch is not None:
        from models_py.student.scratch import is_trained, scratch_folder, train_scratch

        folder = scratch_folder(spec.scratch, students_dir)
        if not is_trained(folder):
            shutil.rmtree(folder, ignore_errors=True)  # what somebody left of it would keep the new one out
            train_scratch(spec.scratch, folder, on_progress)
    elif is_gguf(str(spec.model)):
        made_folder(
            _gguf(spec, FileHashes(students_dir / HASHES_FILE)),
            students_dir,
            on_progress,
            check=lambda made: check_weights(_weights(spec, made), f"students.{spec.name}.model", on_progress),
        )
    elif _local_folder(spec) is None:
        from models_py.student.hub import fetch

        fetch(spec, students_dir)
    if not is_gguf(str(spec.model)):
        _check_new_weights(spec, students_dir, on_progress)
    found = find_student(spec, students_dir, on_progress)
    _check_tokens(spec, students_dir, found)
    return found


def find_student(
    spec: Student, students_dir: Path, on_progress: OnProgress = silent, *, reread: bool = False
) -> ResolvedStudent:
    """The student of a spec as `make_student` left it, fingerprinted. Trains nothing and needs no network.

    reread: hash all weights, whatever is remembered of their files. Raises UserError for one that is not here or not
    whole, saying what to materialize, and for a hub model's weights that are not what the hub gave out.
    """
    hashes = FileHashes(students_dir / HASHES_FILE, reread=reread)
    gguf = _gguf(spec, hashes) if is_gguf(str(spec.model)) else None
    folder, commit = _made_folder(spec, students_dir, gguf, hashes)
    if commit and reread:
        _check_against_the_hub(spec, folder, hashes)
    files = _read(spec, folder)
    model = str(spec.model) if commit else str(folder)
    read: list[object]  # what its files make of its fingerprint
    if gguf:
        read = [gguf.identity]  # all of them were made from that one
    else:
        weights = f"{model}@{commit}" if commit else _weights_hash(spec, folder, hashes, on_progress)
        read = [weights, {path.name: file_sha256(path) for path in files.tokenizer}, files.config]
    later = {name: value for name, value in hashed_fields(spec, ()).items() if name not in _KNOWN_FIELDS}
    return ResolvedStudent(
        name=spec.name,
        model=model,
        revision=commit,
        fingerprint=fingerprint(
            CONTRACT_VERSION,
            *read,
            files.chat_template,
            files.reverse_prompt,
            spec.longest_sequence,
            spec.dtype,
            *([later] if later else []),
            *([] if _renders_as_at_first(files) else [{"answer_prompt": 1}]),
        ),
        max_length=spec.longest_sequence,
        chat_template=files.chat_template,
        reverse_prompt=files.reverse_prompt,
        dtype=gguf.dtype if gguf else spec.dtype,
    )


def _made_folder(
    spec: Student, students_dir: Path, gguf: GgufModel | None, hashes: FileHashes
) -> tuple[Path, str | None]:
    """Where `make_student` left it, and the commit of a hub model. Raises UserError where it is not."""
    if gguf is not None:
        converted = converted_folder(gguf, students_dir, hashes)
        hashes.save()
        if converted is None:
            raise UserError(f"students.{spec.name}.model: {spec.model!r} is not converted yet; {_REMEDY}")
        return converted, None
    if spec.scratch is not None:
        from models_py.student.scratch import is_trained, scratch_folder

        folder = scratch_folder(spec.scratch, students_dir)
        if not is_trained(folder):
            raise UserError(f"students.{spec.name}.scratch: this toy is not trained yet; {_REMEDY}")
        return folder, None
    if (local := _local_folder(spec)) is not None:
        return local, None
    from models_py.student.hub import fetched

    found = fetched(spec, students_dir)
    if found is None:
        raise UserError(
            f"students.{spec.name}.model: {spec.model!r} is no folder here and was not fetched from the hub yet; "
            f"correct the path, or {_REMEDY}"
        )
    return found, found.name


def _check_new_weights(spec: Student, students_dir: Path, on_progress: OnProgress) -> None:
    """Raise UserError where weights whose hash nobody knows yet say nothing: once a file, since all of it is read."""
    folder, commit = _made_folder(spec, students_dir, None, hashes := FileHashes(students_dir / HASHES_FILE))
    _read_config(spec, folder)  # a folder that is no model is told as such
    new = [path for path in _weights(spec, folder) if not hashes.knows(path)]
    if new:
        check_weights(new, f"students.{spec.name}.model", on_progress)
    if new and commit:  # of a folder they are hashed for its fingerprint
        _weights_hash(spec, folder, hashes, on_progress)


def _check_tokens(spec: Student, students_dir: Path, student: ResolvedStudent) -> None:
    """Raise UserError where a text could have ids that the model has no embedding for."""
    of_hub = student.revision and _made_folder(spec, students_dir, None, FileHashes())[0]
    folder = of_hub or Path(student.model)
    config = _read_config(spec, folder)
    of_text = config.get("text_config")
    rows = (of_text if isinstance(of_text, dict) else config).get("vocab_size")
    highest = highest_token_id(folder)
    if isinstance(rows, int) and highest is not None and highest >= rows:
        from models_py.student.loading import load_chat  # which knows the ids that no text is ever read as

        load_chat(student)


def _is_lfs_pointer(path: Path) -> bool:
    try:
        return path.stat().st_size <= _LARGEST_POINTER and path.read_bytes().startswith(b"version https://git-lfs")
    except OSError:  # told when it is hashed
        return False


def _check_against_the_hub(spec: Student, folder: Path, hashes: FileHashes) -> None:
    """Raise UserError where a weight file has not the sha256 that the hub's cache keeps it under."""
    for path in _weights(spec, folder):
        stored = path.resolve()
        if re.fullmatch("[0-9a-f]{64}", stored.name) and hashes.of(stored) != stored.name:
            raise UserError(
                f"students.{spec.name}.model: {path.name} of {spec.model!r} is no longer what the hub gave out; remove "
                f"{stored}, then {_REMEDY}"
            )


def _gguf(spec: Student, hashes: FileHashes) -> GgufModel:
    return open_gguf(str(spec.model), f"students.{spec.name}.model", spec.dtype, hashes)


@dataclass(frozen=True, slots=True)
class _Files:
    """The small files of a model, read and found sound; the templates are those that the spec decides for."""

    config: dict[str, Any]
    tokenizer: list[Path]
    chat_template: str
    reverse_prompt: str


def _renders_as_at_first(files: _Files) -> bool:
    """Whether all prompts and targets are those of the first release; reads the tokenizer only where that decides."""
    of_any, of_spacing = (renders_as_at_first(files.chat_template, spaces_texts=spaces) for spaces in (False, True))
    return of_spacing if of_any == of_spacing else _spaces_texts(files.tokenizer)


def _spaces_texts(tokenizer: list[Path]) -> bool:
    """Whether a tokenizer puts a space before every text, as those of SentencePiece do."""
    path = next((path for path in tokenizer if path.name == "tokenizer.json"), None)
    try:
        parts = json.loads(path.read_text("utf-8")) if path else {}
    except ValueError:
        parts = {}
    if not path:
        return any(path.suffix == ".model" for path in tokenizer)
    first_steps = json.dumps([parts.get("normalizer"), parts.get("pre_tokenizer")])
    return bool(re.search(r'"Prepend"|"prepend_scheme": "(always|first)"|"add_prefix_space": true', first_steps))


def _read(spec: Student, folder: Path) -> _Files:
    config = _read_config(spec, folder)
    _check_positions(spec, config)
    tokenizer = sorted({path for pattern in TOKENIZER_PATTERNS for path in folder.glob(pattern)})
    if not tokenizer:
        raise UserError(f"students.{spec.name}.model: {folder} has no tokenizer; save the tokenizer beside the model")
    return _Files(config, tokenizer, *_templates(spec, own=lambda: _own_template(folder)))


def _local_folder(spec: Student) -> Path | None:
    """Where the model lies if it is on this machine under the name it is given; else it is a hub id."""
    path = Path(str(spec.model)).expanduser()
    return path.resolve() if path.exists() else None


def _weights(spec: Student, folder: Path) -> list[Path]:
    """The weight files of a folder, or a UserError that says what it lacks."""
    weights = weight_files(folder)
    if not weights:
        raise UserError(
            f"students.{spec.name}.model: {folder} has no weights (*.safetensors or pytorch_model*.bin); "
            "give a folder written by save_pretrained, or a hub id"
        )
    if missing := missing_shards(folder):
        raise UserError(
            f"students.{spec.name}.model: {folder} lacks {missing[0]}, which its index names"
            f"{f', and {len(missing) - 1} more' if missing[1:] else ''}; copy the model again"
        )
    for path in weights:
        if _is_lfs_pointer(path):
            raise UserError(
                f"students.{spec.name}.model: {path} is a git-lfs pointer, not weights; run `git lfs pull` in {folder}"
            )
    return weights


def _weights_hash(spec: Student, folder: Path, hashes: FileHashes, on_progress: OnProgress) -> str:
    """One hash over the weight files."""
    weights = _weights(spec, folder)
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
    limit = _positions(config)
    if limit and spec.longest_sequence > limit:
        raise UserError(
            f"students.{spec.name}.max_length is {spec.longest_sequence}, but the model has {limit} positions; "
            f"set max_length to {limit} or less"
        )


def _positions(config: dict[str, Any]) -> int | None:
    """The longest sequence that a model was made for, in tokens; None where its config names none."""
    if isinstance(of_text := config.get("text_config"), dict):
        config = {**config, **of_text}
    named = [config.get(key) for key in _POSITION_KEYS]
    limit = next((value for value in named if isinstance(value, int) and value > 0), None)
    if limit is None:
        return None
    # A rotation that is stretched reaches further; models with several kinds of layers have one each.
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rotations = [scaling, *(part for part in scaling.values() if isinstance(part, dict))]
    return max([limit, *(_reach(rotation, config, limit) for rotation in rotations)])


def _reach(rotation: dict[str, Any], config: dict[str, Any], limit: int) -> int:
    """Positions of one rotation, of which the config names `limit`."""
    kind, factor = rotation.get("rope_type", rotation.get("type")), rotation.get("factor")
    # A dynamic one turns otherwise with each length, so what is computed together would not be what is computed alone.
    if kind in (None, "default", "mrope", "dynamic") or not isinstance(factor, int | float):
        return limit
    key = "original_max_position_embeddings"
    return int((rotation.get(key) or config.get(key) or limit) * factor)


def _own_template(folder: Path) -> str:
    """The student's own chat template, else this project's for models without one."""
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return file.read_text("utf-8")
    try:
        own = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template")
    except FileNotFoundError:
        own = None
    if isinstance(own, list):  # several under names: the one called default
        own = next((entry["template"] for entry in own if entry.get("name") == "default"), None)
    return own if isinstance(own, str) else DEFAULT_CHAT_TEMPLATE.read_text("utf-8")


def _templates(spec: Student, *, own: Callable[[], str]) -> tuple[str, str]:
    """The chat template, which is the student's `own` where the spec names none, and the reverse prompt."""
    return (
        _template(spec, "chat_template", spec.chat_template, own, is_ours=spec.scratch is not None),
        _template(spec, "reverse_prompt", spec.reverse_prompt, lambda: DEFAULT_REVERSE_PROMPT.read_text("utf-8")),
    )


def _template(
    spec: Student, field: str, path: Path | None, otherwise: Callable[[], str], *, is_ours: bool = True
) -> str:
    """The text of a template: in the file of that path, else `otherwise`. is_ours: that comes with this project."""
    try:
        text = otherwise() if path is None else path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"students.{spec.name}.{field}: {path or spec.model} cannot be read ({error}); name a Jinja file"
        ) from error
    if path is not None and (problem := problem_of(text)):
        raise UserError(f"students.{spec.name}.{field}: {path} {problem}; take the loop or the repetition out of it")
    is_ours = is_ours or text == DEFAULT_CHAT_TEMPLATE.read_text("utf-8")
    if path is None and not is_ours and (problem := problem_of(text)):
        raise UserError(
            f"students.{spec.name}.model: the chat template of {spec.model} {problem}; name another one as "
            f"students.{spec.name}.{field}"
        )
    return text
