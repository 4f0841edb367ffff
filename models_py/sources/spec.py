"""What a source is: a name, the files it is read from, and how to read them.

Source("seed_pairs", path="seeds/pairs.jsonl").files()     # (Path("seeds/pairs.jsonl"),)
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

from models_py.errors import UserError, refuse, unknown
from models_py.paths import absolute
from models_py.sources import hub
from models_py.sources.conversation import Turns
from models_py.sources.fields import Wanted
from models_py.sources.files import Found, find_files, refuse_problems
from models_py.sources.formats import FORMATS, Format, by_suffix, suffixes
from models_py.sources.opened import PACKED_SUFFIXES

REQUIRED_FIELDS = ("instruction", "output")
OPTIONAL_FIELDS = ("input", "category", "system", "history")
CHAT_FIELD = "messages"
_BESIDE_A_CHAT = (CHAT_FIELD, "category", "system")


@dataclass(frozen=True, slots=True)
class Sample:
    """That many rows of a source, drawn without replacement; the same seed draws the same rows of the same files."""

    rows: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the profile: `path` or `paths`, each a file, a folder, a glob or an address on the hub.

    `format`: a name in FORMATS for all of its files; None means by suffix.
    `fields`: our field -> the file's field, for files of no known shape. `instruction` and `output` must be named, or
    `messages`; the others may be; nothing else is read. None means recognise the shape of each row.
    `turns`: which exchanges of a conversation are pairs (conversation.py).
    `limit`: only so many rows, the first; `sample`: only some, drawn. For a try before anything is paid.
    `license`: the licence of its texts, for the card of what is exported; it changes nothing that is read.
    """

    section: ClassVar[str] = "sources"  # of the profile

    name: str
    path: str | None = None
    paths: tuple[str, ...] | None = None
    format: str | None = None
    fields: Mapping[str, str] | None = None
    turns: Turns = "last"
    limit: int | None = None
    sample: Sample | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        where = self.where
        if (self.path is None) == (self.paths is None):
            yield f"{where}: give either path or paths (a list)"
        elif not self.patterns:
            yield f"{self.key}: is empty; name at least one file"
        for pattern in self.patterns:
            if hub.is_address(pattern):
                yield from (f"{self.key}: {problem}" for problem in hub.address_problems(pattern))
            elif "://" in pattern:
                yield f"{self.key}: {pattern} is an address; download the file and name it here"
        if self.format is not None and self.format not in FORMATS:
            yield f"{where}.format: {unknown('one of the formats', self.format, FORMATS)}"
        yield from self._field_problems(f"{where}.fields")
        if self.turns not in (known := get_args(Turns)):
            yield f"{where}.turns: {unknown('one of the ways to read a conversation', self.turns, known)}"
        if self.limit is not None and self.sample is not None:
            yield f"{where}.sample: give limit or sample, not both"
        for key, rows in (("limit", self.limit), ("sample.rows", self.sample.rows if self.sample else None)):
            if rows is not None and rows < 1:
                yield f"{where}.{key}: {rows} is no number of rows; use 1 or more"
        if self.license is not None and (not self.license.strip() or not self.license.isprintable()):
            yield f"{where}.license: {self.license!r} is no name of a licence (cc-by-4.0); leave out what is unknown"

    def _field_problems(self, where: str) -> Iterator[str]:
        fields = self.fields or {}
        is_chat = CHAT_FIELD in fields
        for name in REQUIRED_FIELDS:
            if self.fields is not None and not is_chat and name not in fields:
                yield f"{where}: {name} is missing; write {name}: <the file's field>"
        for name in fields:
            if name not in (known := (*REQUIRED_FIELDS, *OPTIONAL_FIELDS, CHAT_FIELD)):
                yield f"{where}: {unknown('one of our fields', name, known)}"
            elif is_chat and name not in _BESIDE_A_CHAT:
                yield f"{where}: {name} and {CHAT_FIELD} exclude each other: a chat holds its texts"

    @property
    def where(self) -> str:
        """Where the profile has it."""
        return f"{self.section}.{self.name}"

    @property
    def key(self) -> str:
        """Where the profile names the files."""
        return f"{self.where}.{'path' if self.paths is None else 'paths'}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What `path` or `paths` says, not expanded."""
        return (self.path,) if self.path is not None else self.paths or ()

    @property
    def settings(self) -> dict[str, Any]:
        """How its files are read, what is not at its default: part of what comes of them."""
        keys = {"format": None, "fields": None, "turns": "last", "limit": None, "sample": None}
        return {key: value for key, value in asdict(self).items() if key in keys and value != keys[key]}

    @property
    def wanted(self) -> Wanted:
        """Which fields of its rows are read."""
        return Wanted(None if self.fields is None else frozenset(self.fields.values()))

    def at(self, root: Path) -> "Source":
        """The same source, its relative paths seen from `root`."""
        patterns = tuple(
            pattern if hub.is_address(pattern) else str(absolute(pattern, root, self.key)) for pattern in self.patterns
        )
        return replace(self, path=patterns[0]) if self.paths is None else replace(self, paths=patterns)

    def files(self) -> tuple[Path, ...]:
        """Its files: folders and globs expanded, each sorted, no file twice.

        Raises UserError for a pattern without files, and for files among the data that cannot be read, naming each.
        """
        return self.found()[0]

    def found(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Its files, and what stands beside them and is left out. Raises UserError as `files` does."""
        files: list[Path] = []
        left_out: list[Path] = []
        for pattern in self.patterns:
            found = self._on_the_hub(pattern) if hub.is_address(pattern) else self._matches(pattern)
            files += found.files
            left_out += found.left_out
        # What one pattern leaves out another may name.
        return tuple(dict.fromkeys(files)), tuple(dict.fromkeys(file for file in left_out if file not in files))

    def fetch(self, *, only_missing: bool = False) -> None:
        """Download what lies on the hub, as it is there now. `only_missing`: what was downloaded before stays as it is.

        Raises UserError where it cannot be had.
        """
        for pattern in filter(hub.is_address, self.patterns):
            hub.fetch(pattern, self.key, only_missing=only_missing)

    def format_of(self, file: Path) -> Format:
        """How that file is read: as the source says, else by its suffix. UserError for a suffix of no format."""
        found = by_suffix(file) if self.format is None else FORMATS[self.format]
        if found is None:
            raise UserError(
                f"{self.key}: {file} ends in none of {suffixes()} (each also packed: {', '.join(PACKED_SUFFIXES)}); "
                f"rename it or set {self.where}.format to one of {', '.join(FORMATS)}"
            )
        return found

    def _on_the_hub(self, address: str) -> Found:
        return hub.downloaded(address, self.key, any_format=self.format is not None)

    def _matches(self, pattern: str) -> Found:
        try:
            found = find_files(pattern, any_format=self.format is not None)
        except (OSError, ValueError) as error:  # a name that no file can have
            raise UserError(f"{self.key}: {pattern[:100]}: {error}; correct it") from error
        refuse_problems(self.key, found.problems)
        if not found.files:
            raise UserError(
                f"{self.key}: {pattern} holds no file to read ({suffixes()}; also packed: "
                f"{', '.join(PACKED_SUFFIXES)}); correct it or set {self.where}.format"
            )
        return found
