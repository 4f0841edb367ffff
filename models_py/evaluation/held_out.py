"""Held-out sets: pairs that nobody is trained on, whose answers every model is to find likely.

    HeldOutSet("revised", path="evaluation/revised.jsonl")

A set is read as a source is, conversations among them. Light to import: every command reads a profile.
"""

from dataclasses import dataclass
from typing import ClassVar

from models_py.sources.spec import Source


@dataclass(frozen=True, slots=True)
class HeldOutSet(Source):
    """`path` or `paths`, `format`, `fields`, `turns`, `limit` and `sample` as of a source."""

    section: ClassVar[str] = "evaluation.held_out"
