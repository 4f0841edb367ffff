"""Weight files: which of them an index names and which are not there, and whether one was copied whole.

    model.safetensors.index.json   {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", ...}}

It reads no weights.
"""

import json
from pathlib import Path
from typing import Any

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


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


def cut_off(file: Path) -> str | None:
    """Why a safetensors file is not whole, in words; None where it is, and of other formats."""
    if file.suffix != ".safetensors":
        return None
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            size = file.stat().st_size
            header: Any = json.loads(opened.read(length) if length < size else b"")
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "is no safetensors file, or breaks off in its header"
    needed = 8 + length + max(ends, default=0)
    return None if size >= needed else f"breaks off: it has {size:,} bytes of the {needed:,} that its header names"
