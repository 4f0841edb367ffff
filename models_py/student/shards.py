"""Weight files: which a folder has, which an index names and which are not there, what a header says of its file.

    model.safetensors.index.json   {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", ...}}

It reads no weights.
"""

import json
from pathlib import Path
from typing import Any

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")  # what transformers would load comes first
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


_LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself has it


def weight_files(folder: Path) -> list[Path]:
    """The files that are loaded, of one format; none where there are none."""
    return next((found for pattern in _PATTERNS if (found := sorted(folder.glob(pattern)))), [])


def missing_shards(folder: Path) -> list[str]:
    """Names of weight files that the index of a folder names and that are not there; links to nothing are not there.

    An index counts where the folder has some of its files: repositories keep those of formats they do not hold.
    """
    for name in _INDEXES:
        try:
            named = set(json.loads((folder / name).read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or one that loading will complain of
            continue
        missing = sorted(name for name in named if not (folder / name).is_file())
        if missing and len(missing) < len(named):
            return missing
    return []


def read_tensors(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """What the header of a safetensors file says of each tensor, and the byte at which their data begin.

    The header is JSON: {"lm_head.weight": {"dtype": "BF16", "shape": [V, D], "data_offsets": [from, to]}, ...}
    Raises ValueError for what is no such header, or none that is there to its end.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, file.stat().st_size - 8):
            raise ValueError("is no safetensors file, or breaks off in its header")
        try:
            header: Any = json.loads(opened.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            is_sound = all(len(tensor["data_offsets"]) == 2 for tensor in tensors.values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_sound = False
    if not is_sound:
        raise ValueError("is no safetensors file, or breaks off in its header")
    return tensors, 8 + length


def named_bytes(file: Path) -> int:
    """How long a safetensors file is by its header. Raises ValueError as `read_tensors` does."""
    tensors, begin = read_tensors(file)
    return begin + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)


def cut_off(file: Path) -> str | None:
    """Why a safetensors file is not whole, in words; None where it is, and of other formats."""
    if file.suffix != ".safetensors":
        return None
    try:
        needed, size = named_bytes(file), file.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:
        return str(error)
    return None if size >= needed else f"breaks off: it has {size:,} bytes of the {needed:,} that its header names"
