"""What a profile may say of near duplicates and of evaluation files. Light to import: every command reads a profile.

NearDuplicates(threshold=0.8)
EvaluationFile("gsm8k", path="evaluation/gsm8k.jsonl", fields=("question",))
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from models_py.errors import refuse
from models_py.sources.spec import Source

LOWEST_THRESHOLD = 0.5
SECTION = "evaluation.contamination"
_FEWEST_WORDS, _MOST_WORDS = 8, 50


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """threshold: from which similarity on, 0.5 to 1, a pair repeats another: Jaccard of their threes of words."""

    threshold: float = 0.8

    def __post_init__(self) -> None:
        if not LOWEST_THRESHOLD <= self.threshold <= 1:
            refuse([f"threshold: {self.threshold} is no similarity to ask for; use {LOWEST_THRESHOLD} to 1"])


class _Files(Source):
    section: ClassVar[str] = SECTION


@dataclass(frozen=True, slots=True)
class EvaluationFile:
    """An evaluation set: `path` or `paths` and `format` as of a source.

    fields: the names of the fields that count; None = what the row asks, and its other texts where half is copied.
    words: so many words in a row, the same in both, are a copy.
    """

    name: str
    path: str | None = None
    paths: tuple[str, ...] | None = None
    format: str | None = None
    fields: tuple[str, ...] | None = None
    words: int = 13

    def __post_init__(self) -> None:
        refuse(self._problems())
        _ = self.files  # raises for its own part

    def _problems(self) -> Iterator[str]:
        where = f"{SECTION}.{self.name}"
        if self.fields is not None and not self.fields:
            yield f"{where}.fields: is empty; name at least one field, or leave it out"
        if not _FEWEST_WORDS <= self.words <= _MOST_WORDS:
            yield f"{where}.words: {self.words} words are no run to look for; use {_FEWEST_WORDS} to {_MOST_WORDS}"

    @property
    def files(self) -> Source:
        """Where its rows lie."""
        return _Files(self.name, path=self.path, paths=self.paths, format=self.format)

    @property
    def settings(self) -> dict[str, object]:
        """What says which copies are found in it, beside the bytes of its files."""
        return {"name": self.name, "format": self.format, "fields": self.fields, "words": self.words}

    def at(self, root: Path) -> "EvaluationFile":
        """The same, its relative paths seen from `root`."""
        moved = self.files.at(root)
        return replace(self, path=moved.path, paths=moved.paths)
