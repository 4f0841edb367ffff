"""Weight files that give no text a score, found before a teacher is paid: NaN, infinities, nothing but zeros.

    check_weights(files, "students.mine.model")
    UserError: students.mine.model: 2 of the 291 weights in model.safetensors hold NaN or infinite values (first: ...)

Every value is looked at once, a few megabytes at a time; whoever calls remembers that it was, and has seen that the
files are whole (shards.py). What cannot be read here (another format, a header that is none) is left to those who load
it: loading.py looks again, at parameters and logits.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.student.shards import read_tensors

_CHUNK_BYTES = 16 << 20
# By the format's names of types: numpy's type of that size, and the bits that are all set in NaN and infinities.
_FLOATS: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F8_E5M2": ("<u1", 0x7C),
}
# Buffers may hold infinities on purpose, as masks do; what is trained is called so.
_TRAINED = re.compile(r"(^|[._])(weight|bias|kernel|embedding)$")
# Where a text comes in and goes out: zeros there make all tokens alike.
_ENDS = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|embed_out|lm_head|tok_embeddings)\.weight$")


@dataclass(frozen=True, slots=True)
class Found:
    """What one tensor holds."""

    name: str
    is_matrix: bool
    is_finite: bool
    is_zero: bool


def check_weights(files: Sequence[Path], key: str, on_progress: OnProgress = silent) -> None:
    """Raises UserError for weights that say nothing. key: of the profile, for complaints."""
    found: list[Found] = []
    for done, file in enumerate(files):
        on_progress(Progress(done, len(files), "weight files", note=f"looking for NaN in {file.name}"))
        found += _in_file(file)
    of_files = files[0].name if len(files) == 1 else f"its {len(files)} weight files"
    again = "copy or train the model again"
    if broken := [one.name for one in found if not one.is_finite]:
        raise UserError(
            f"{key}: {len(broken)} of the {len(found)} weights in {of_files} hold NaN or infinite values (first: "
            f"{broken[0]}), so no text has a score; {again}"
        )
    zero = [one for one in found if one.is_zero]
    ends = [one.name for one in zero if _ENDS.search(one.name)]
    matrices = [one for one in found if one.is_matrix]
    if ends or (matrices and all(one.is_zero for one in matrices)):
        raise UserError(
            f"{key}: {len(zero)} of the {len(found)} weights in {of_files} are all zero (first: "
            f"{(ends or [zero[0].name])[0]}), so every token is equally likely and scores say nothing; {again}"
        )


def _in_file(file: Path) -> Iterator[Found]:
    return _in_safetensors(file) if file.suffix == ".safetensors" else _in_pickle(file)


def _in_safetensors(file: Path) -> Iterator[Found]:
    try:
        tensors, begin = read_tensors(file)
    except (OSError, ValueError):
        return
    with file.open("rb") as opened:
        for name, entry in tensors.items():
            known = _FLOATS.get(str(entry.get("dtype")))
            if known is None or not _TRAINED.search(name):
                continue
            kind, ones = known
            first, last = entry["data_offsets"]
            opened.seek(begin + first)
            is_finite, is_zero = True, last > first
            for at in range(first, last, _CHUNK_BYTES):
                values = np.frombuffer(opened.read(min(_CHUNK_BYTES, last - at)), kind)
                is_finite = is_finite and not bool(((values & ones) == ones).any())
                # A zero may have a sign, the first bit.
                is_zero = is_zero and not bool((values << 1).any())
            yield Found(name, len(entry["shape"]) > 1, is_finite, is_zero)


def _in_pickle(file: Path) -> Iterator[Found]:
    """Of PyTorch's own format; its tensors are mapped, not read at once."""
    import torch

    try:
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        tensors = [(name, one) for name, one in weights.items() if isinstance(one, torch.Tensor)]
    except Exception:  # each kind of broken file has its own type
        return
    for name, tensor in tensors:
        if not tensor.is_floating_point() or not _TRAINED.search(name):
            continue
        parts = tensor.detach().reshape(-1).split(_CHUNK_BYTES // 4)
        is_finite = all(bool(part.isfinite().all()) for part in parts)
        is_zero = tensor.numel() > 0 and not any(bool(part.any()) for part in parts)
        yield Found(name, tensor.dim() > 1, is_finite, is_zero)


def highest_token_id(folder: Path) -> int | None:
    """The largest id that the tokenizer of a folder gives, None where tokenizer.json does not say."""
    try:
        parts = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        vocabulary = parts["model"]["vocab"]
        ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
        ids += [added["id"] for added in parts.get("added_tokens") or []]
        return max(ids, default=None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
