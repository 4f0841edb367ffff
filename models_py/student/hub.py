"""Models of the Hugging Face hub: fetched by `fetch`, found again by `fetched` without a network.

What a name stood for when it was fetched is remembered in `<students_dir>/hub_models.json`, so that every later step
takes the same commit, whatever the hub says by then. The files lie in the hub's own cache.

    {"Qwen/Qwen3-0.6B-Base": {"main": "da87bfb608c14b7cf20ba1ce41287e8de496c0cd"}}

huggingface_hub is imported inside.
"""

import json
from pathlib import Path

from models_py.errors import UnreachableError, UserError
from models_py.publish import published_file
from models_py.student.shards import missing_shards
from models_py.student.spec import TEMPLATE_FILE, TOKENIZER_PATTERNS, Student

_MEMORY = "hub_models.json"
# README.md states the licence.
_SMALL_FILES = ("config.json", "generation_config.json", "README.md", TEMPLATE_FILE, *TOKENIZER_PATTERNS)
# What transformers would load comes first. Repositories hold other copies of their weights beside these.
_WEIGHTS = (
    ("model*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
)


def fetch_small_files(spec: Student) -> Path:
    """The folder of a model's config, tokenizer and template, at the commit its revision stands for now.

    The folder's name is the commit. Raises UserError where it cannot be had, UnreachableError when the hub cannot be
    asked and nothing was fetched before.
    """
    return _download(spec, spec.revision, _SMALL_FILES)


def fetch(spec: Student, students_dir: Path) -> Path:
    """The folder of the whole model at that commit, which is remembered below `students_dir`."""
    folder = fetch_small_files(spec)
    for patterns in _WEIGHTS:
        _download(spec, folder.name, patterns)
        if _has_weights(folder, patterns[0]):
            break
    else:
        raise UserError(
            f"students.{spec.name}.model: {spec.model!r} has no weights that transformers loads (model.safetensors or "
            "pytorch_model.bin); name a causal language model of the hub, or a folder"
        )
    known = _remembered(students_dir)
    revisions = known.setdefault(str(spec.model), {})
    if revisions.get(_revision(spec)) != folder.name:
        revisions[_revision(spec)] = folder.name
        with published_file(students_dir / _MEMORY) as file:
            file.write_text(json.dumps(known, indent=1, sort_keys=True), "utf-8")
    return folder


def fetched(spec: Student, students_dir: Path) -> Path | None:
    """The folder of a model that `fetch` has fetched, None where it has not or the cache has lost it."""
    commit = _remembered(students_dir).get(str(spec.model), {}).get(_revision(spec))
    if commit is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*_SMALL_FILES, *_WEIGHTS[0]]
    try:
        folder = Path(
            snapshot_download(str(spec.model), revision=commit, allow_patterns=patterns, local_files_only=True)
        )
    except LocalEntryNotFoundError:
        return None
    whole = any(_has_weights(folder, pattern) for pattern, _ in _WEIGHTS) and not missing_shards(folder)
    return folder if whole else None


def _has_weights(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))  # a cache that was cleared leaves links to nothing


def _download(spec: Student, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(spec.model), revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # a bad id, no network, no access, no such model: each of them has its own type
        lines = str(error).strip().splitlines()
        unheard = isinstance(error, LocalEntryNotFoundError) and not isinstance(error.__cause__, HfHubHTTPError)
        raise (UnreachableError if unheard else UserError)(
            f"students.{spec.name}.model: {spec.model!r} is no folder here and cannot be fetched from the hub "
            f"({type(error).__name__}: {lines[0] if lines else 'no details'}); correct the path or the hub id"
            f"{' and revision' if spec.revision else ''}, or download it where there is a network and name the folder"
        ) from error


def _revision(spec: Student) -> str:
    return spec.revision or "main"


def _remembered(students_dir: Path) -> dict[str, dict[str, str]]:
    try:
        known: dict[str, dict[str, str]] = json.loads((students_dir / _MEMORY).read_text("utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: the next fetch makes it anew
        return {}
    return known
