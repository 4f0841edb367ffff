"""Real pairs of shared/data as (instruction, input, output); tests that use them skip where the folder is absent."""

import json
from functools import cache
from typing import Any

import pytest

from tests.conftest import SHARED

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="shared/data is absent")
Pair = tuple[str, str, str]


@cache
def rows(file: str) -> list[dict[str, Any]]:
    text = (DATA / file).read_text("utf-8")
    read: list[dict[str, Any]] = (
        json.loads(text) if file.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    )
    return read


def pairs(file: str, prefix: str = "") -> list[Pair]:
    """Of expert_revisions.jsonl the prefix `revised_` has the texts after revision."""
    return [(row[f"{prefix}instruction"], row[f"{prefix}input"], row[f"{prefix}output"]) for row in rows(file)]
