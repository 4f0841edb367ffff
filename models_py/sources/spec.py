"""What a source is: a name, the files it is read from, and how to read them.

    SourceSpec(name="seed_pairs", paths=(Path("seeds/pairs.jsonl"),))

Folders and globs are expanded by whoever makes the spec; here every path is one file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models_py.errors import UserError

FORMATS = ("json", "jsonl", "csv", "parquet")
FORMAT_BY_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
"""How a file is read by its suffix, after `.gz` is taken away."""

REQUIRED_FIELDS = ("instruction", "output")
OPTIONAL_FIELDS = ("input", "category")


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source of the profile. Raises UserError for an unknown format or a mapping that cannot make a pair.

    `format`: one of FORMATS for all of its files; None means by suffix.
    `fields`: our field -> the file's field, for files of no known shape. `instruction` and `output` must be named,
    `input` and `category` may be; nothing else is read. None means recognise the shape of each row.
    """

    name: str
    paths: tuple[Path, ...]
    format: str | None = None
    fields: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UserError(f"sources.{self.name}.format: {self.format!r} is not one of {', '.join(FORMATS)}")
        if self.fields is None:
            return
        for name in REQUIRED_FIELDS:
            if name not in self.fields:
                raise UserError(f"sources.{self.name}.fields: {name} is missing; write {name}: <the file's field>")
        for name in self.fields:
            if name not in REQUIRED_FIELDS + OPTIONAL_FIELDS:
                known = ", ".join(REQUIRED_FIELDS + OPTIONAL_FIELDS)
                raise UserError(f"sources.{self.name}.fields: {name!r} is not one of our fields: {known}")


def file_format(spec: SourceSpec, path: Path) -> str:
    """How `path` is read, one of FORMATS: as the source says, else by its suffix. UserError for another suffix."""
    if spec.format is not None:
        return spec.format
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    found = FORMAT_BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise UserError(
            f"sources.{spec.name}.path: {path} ends in none of {', '.join(FORMAT_BY_SUFFIX)} (each also with .gz); "
            f"rename it or set sources.{spec.name}.format to one of {', '.join(FORMATS)}"
        )
    return found
