"""Whether the fields that a source names are in its files, by their first rows: before anything is read whole.

    check_fields(Source("mine", path="pairs.jsonl", fields={"instruction": "qestion", "output": "answer"}))
    # sources.mine.fields.instruction: no row of pairs.jsonl has a field 'qestion' (did you mean question?); ...

A misspelled `instruction` would make every row a bad one; a misspelled `input` or `category` would be lost unseen.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models_py.errors import did_you_mean, refuse
from models_py.sources.hub import shown
from models_py.sources.opened import UnreadableError
from models_py.sources.spec import CHAT_FIELD, REQUIRED_FIELDS, Source

_ROWS, _FILES = 200, 100  # of a file, of a source


def check_fields(source: Source) -> None:
    """Raise UserError for each field of `fields` that no row has: of each file, or of all where it may be missing.

    Looks at the first 200 rows of each of the first 100 files, and passes over those without one that can be read.
    """
    if source.fields is None:
        return
    names = {path: found for path in source.files()[:_FILES] if (found := _names(source, path))}
    refuse(_problems(source, names))


def _problems(source: Source, names: dict[Path, frozenset[str]]) -> Iterator[str]:
    everywhere = frozenset().union(*names.values())
    for ours, theirs in (source.fields or {}).items():
        key = f"sources.{source.name}.fields.{ours}"
        if ours in (*REQUIRED_FIELDS, CHAT_FIELD):
            lacking = [path for path, found in names.items() if theirs not in found]
        else:
            lacking = [] if theirs in everywhere else [*names]
        if lacking:
            found = sorted(names[lacking[0]])
            more = f" (and {len(lacking) - 1:,} more files)" if lacking[1:] else ""
            yield (
                f"{key}: no row of {shown(lacking[0])}{more} has a field {theirs!r}{did_you_mean(theirs, found)}; "
                f"there are: {', '.join(found)}"
            )


def _names(source: Source, path: Path) -> frozenset[str]:
    """The fields that the file's first rows have."""
    rows = source.format_of(path).read(path, replace(source.wanted, all_columns=True))
    names: set[str] = set()
    try:
        for row in itertools.islice(rows, _ROWS):
            if isinstance(row.record, dict):
                names.update(map(str, row.record))
    except UnreadableError:  # told when the source is read
        pass
    return frozenset(names)
