"""What the documents show to be done: every command, query and profile of README, docs/ and their like, with its place.

`make sql Q="..."`  and lines of code that begin with `make`     -> a Command each
```sql blocks, `select ...` and `from schema.table` in a line    -> a Query each
```yaml blocks                                                    -> a Setting each
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dagster_project.root import PROJECT_ROOT

DOCUMENTS = (
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "requirements/README.md")),
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_QUERY = re.compile(r"(?:select\b.+\bfrom|from) [a-z_]+\.[a-z_]+\b", re.DOTALL)
_COOKBOOK_ENTRY = re.compile(r"^### (\d+)\. (.+)\n\n.+?```sql\n(.*?)```\n\nColumns: (.+?)\.\s", re.M | re.S)
_COMMENT = re.compile(r" {2,}#.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Shown:
    """Text of a document that is code, as it stands there."""

    file: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT_ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command(Shown):
    """`make target NAME=value ...`; what stands in [brackets] may be left out, and is here without them."""

    @property
    def words(self) -> list[str]:
        """As the shell has them, behind `make`."""
        return shlex.split(re.sub(r"(?<=\s)\[|\](?=\s|$)", "", _COMMENT.sub("", self.text)))[1:]

    @property
    def target(self) -> str:
        return self.words[0].rstrip(",")

    @property
    def variables(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.words[1:] if "=" in word)


@dataclass(frozen=True, slots=True)
class Entry(Shown):
    """A question of the cookbook: `text` is the query."""

    number: int
    question: str
    columns: list[str]


def commands() -> list[Command]:
    return [
        Command(shown.file, shown.line, shown.text)
        for file in DOCUMENTS
        for shown in _code(file)
        if re.match(r"make [a-z]", shown.text)
    ]


def queries() -> list[Shown]:
    """Those that stand alone, and those of `make sql`."""
    blocks = [
        Shown(file, line + 1 + text[: found.start()].count("\n"), found[0])
        for file in DOCUMENTS
        for language, line, text in _blocks(file)
        if language == "sql"
        for found in re.finditer(r"(?:[^;']|'[^']*')+", re.sub(r"--.*", "", text))
        if found[0].strip()
    ]
    spans = [shown for file in DOCUMENTS for shown in _code(file) if _QUERY.match(shown.text)]
    asked = [Shown(one.file, one.line, one.variables["Q"]) for one in commands() if "Q" in one.variables]
    return blocks + spans + [one for one in asked if "..." not in one.text]


def settings() -> list[Shown]:
    return [
        Shown(file, line, text) for file in DOCUMENTS for language, line, text in _blocks(file) if language == "yaml"
    ]


def programs() -> list[Shown]:
    """`python benchmarks/...`: programs of the project that are no target of make."""
    return [shown for file in DOCUMENTS for shown in _code(file) if re.match(r"python3? \w+/\w+\.py", shown.text)]


def cookbook() -> list[Entry]:
    file = PROJECT_ROOT / "docs" / "cookbook.md"
    parts = re.split(r"^(?=### )", file.read_text("utf-8"), flags=re.MULTILINE)
    found, line = [], 1
    for part in parts:
        if entry := _COOKBOOK_ENTRY.match(part):
            columns = re.findall(r"`(\w+)`", entry[4])
            found.append(Entry(file, line, entry[3], int(entry[1]), entry[2], columns))
        line += part.count("\n")
    return found


def _blocks(file: Path) -> Iterator[tuple[str, int, str]]:
    """Fenced blocks: language, line, text."""
    text = file.read_text("utf-8")
    for block in _FENCED.finditer(text):
        yield block[1], text[: block.start()].count("\n") + 2, block[2]


def _code(file: Path) -> Iterator[Shown]:
    """Lines of plain code, quotations that go on over lines with them, and spans in the prose."""
    text = file.read_text("utf-8")
    for language, line, block in _blocks(file):
        if language in ("", "sh"):
            yield from _statements(file, line, block)
    prose = _FENCED.sub(lambda block: "\n" * block[0].count("\n"), text)
    for indented in _INDENTED.finditer(prose):
        yield from _statements(file, prose[: indented.start()].count("\n") + 1, indented[0])
    prose = _INDENTED.sub(lambda block: "\n" * block[0].count("\n"), prose)
    for span in _SPAN.finditer(prose):
        yield Shown(file, prose[: span.start()].count("\n") + 1, " ".join(span[1].split()))


def _statements(file: Path, line: int, block: str) -> Iterator[Shown]:
    """A line each; an open quotation goes on in the next."""
    held = ""
    for number, one in enumerate(block.splitlines(), start=line):
        held = f"{held} {one.strip()}" if held else one.strip()
        if held.count('"') % 2 == 0:
            yield Shown(file, number, held)
            held = ""
