"""What a source is: a name, the files it is read from, and how to read them.

Source("seed_pairs", path="seeds/pairs.jsonl").files()     # (Path("seeds/pairs.jsonl"),)
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models_py.errors import UserError, refuse, unknown
from models_py.paths import absolute
from models_py.sources.formats import FORMATS, Format, by_suffix, suffixes

REQUIRED_FIELDS = ("instruction", "output")
OPTIONAL_FIELDS = ("input", "category")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the profile: `path` or `paths`, each a file, a folder or a glob.

    `format`: a name in FORMATS for all of its files; None means by suffix.
    `fields`: our field -> the file's field, for files of no known shape. `instruction` and `output` must be named,
    `input` and `category` may be; nothing else is read. None means recognise the shape of each row.
    """

    name: str
    path: str | None = None
    paths: tuple[str, ...] | None = None
    format: str | None = None
    fields: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        where = f"sources.{self.name}"
        if (self.path is None) == (self.paths is None):
            yield f"{where}: give either path or paths (a list)"
        elif not self.patterns:
            yield f"{self.key}: is empty; name at least one file"
        for pattern in self.patterns:
            if "://" in pattern:
                yield f"{self.key}: {pattern} is an address; download the file and name it here"
        if self.format is not None and self.format not in FORMATS:
            yield f"{where}.format: {unknown('one of the formats', self.format, FORMATS)}"
        for name in REQUIRED_FIELDS:
            if self.fields is not None and name not in self.fields:
                yield f"{where}.fields: {name} is missing; write {name}: <the file's field>"
        for name in self.fields or {}:
            if name not in (known := REQUIRED_FIELDS + OPTIONAL_FIELDS):
                yield f"{where}.fields: {unknown('one of our fields', name, known)}"

    @property
    def key(self) -> str:
        """Where the profile names the files."""
        return f"sources.{self.name}.{'path' if self.paths is None else 'paths'}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What `path` or `paths` says, not expanded."""
        return (self.path,) if self.path is not None else self.paths or ()

    def at(self, root: Path) -> "Source":
        """The same source, its relative paths seen from `root`."""
        patterns = tuple(str(absolute(pattern, root, self.key)) for pattern in self.patterns)
        return replace(self, path=patterns[0]) if self.paths is None else replace(self, paths=patterns)

    def files(self) -> tuple[Path, ...]:
        """Its files: folders and globs expanded, each sorted, no file twice. UserError for a pattern without files."""
        return tuple(dict.fromkeys(file for pattern in self.patterns for file in self._matches(pattern)))

    def format_of(self, file: Path) -> Format:
        """How that file is read: as the source says, else by its suffix. UserError for a suffix of no format."""
        found = by_suffix(file) if self.format is None else FORMATS[self.format]
        if found is None:
            raise UserError(
                f"{self.key}: {file} ends in none of {suffixes()} (each also with .gz); "
                f"rename it or set sources.{self.name}.format to one of {', '.join(FORMATS)}"
            )
        return found

    def _matches(self, pattern: str) -> list[Path]:
        path = Path(pattern)
        if path.is_dir():
            found = [file for file in sorted(path.iterdir()) if self._is_data(file)]
        elif _GLOB.search(pattern) and not path.exists():
            anchor = Path(path.anchor)
            found = sorted(file for file in anchor.glob(str(path.relative_to(anchor))) if file.is_file())
        else:
            found = [path]
        if not found:
            raise UserError(
                f"{self.key}: {pattern} holds no file to read ({suffixes()}, also .gz); "
                f"correct it or set sources.{self.name}.format"
            )
        return found

    def _is_data(self, file: Path) -> bool:
        told = self.format is not None or by_suffix(file) is not None
        return file.is_file() and not file.name.startswith(".") and told
