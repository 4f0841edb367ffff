"""What a profile may say of a file of verdicts that somebody else has. Light to import.

AnnotationFile("gpt4_davinci", path="evaluation/annotations.json")
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from models_py.sources.spec import Source


class _Files(Source):
    section: ClassVar[str] = "evaluation.annotations"


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """Annotations in AlpacaEval's format: `path` or `paths` and `format` as of a source."""

    name: str
    path: str | None = None
    paths: tuple[str, ...] | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        _ = self.files  # raises for what cannot be

    @property
    def files(self) -> Source:
        """Where its rows lie."""
        return _Files(self.name, path=self.path, paths=self.paths, format=self.format)

    def at(self, root: Path) -> "AnnotationFile":
        """The same, its relative paths seen from `root`."""
        moved = self.files.at(root)
        return replace(self, path=moved.path, paths=moved.paths)
