"""Weights in several files: which of them an index names, and which are not there.

    model.safetensors.index.json   {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", ...}}

It reads no weights.
"""

import json
from pathlib import Path

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
