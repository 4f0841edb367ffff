"""Identities of content: the same text has the same id everywhere, for good.

`content_id` keys raw pairs and scores, so identical text is reflected and scored once. The canonical form is
the JSON array `[instruction, input, output]` without spaces and with non-ASCII characters kept; of a pair that ends a
conversation, `[instruction, input, output, system, history]`.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from models_py.conversation import NO_CONTEXT, Context
from models_py.publish import published_file

_CHUNK_BYTES = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode  # built once: ids are many


def content_id(instruction: str, input: str, output: str, context: Context = NO_CONTEXT) -> str:
    """The sha256 hex digest of one pair and of what stands before it.

    Lone surrogates (possible in JSON sources) are kept apart by `surrogatepass`, so no two texts collide.
    """
    before = [context.system, [[turn.role, turn.content] for turn in context.history]] if context else []
    return hashlib.sha256(canonical_json([instruction, input, output, *before])).hexdigest()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no spaces and no escapes beyond what JSON demands, as UTF-8."""
    return _encode(value).encode("utf-8", errors="surrogatepass")


def fingerprint(*parts: object) -> str:
    """The sha256 hex digest of any JSON-able parts, in order."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def fingerprint_of_list(items: Iterable[object]) -> str:
    """As `fingerprint` of one list of JSON-able items, however many: it is never held whole."""
    digest = hashlib.sha256(b"[[")
    for place, item in enumerate(items):
        digest.update(b"," + canonical_json(item) if place else canonical_json(item))
    digest.update(b"]]")
    return digest.hexdigest()


def hashed_fields(settings: Any, always: Collection[str]) -> dict[str, Any]:
    """What an id hashes of a dataclass of settings, so that a field that is added later changes nobody's id.

    always: the fields of the first release, which every id hashes. Of all others only those that are not at their
    default; `always=()` leaves these alone.
    """
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(settings)
    }
    return {
        name: value
        for name, value in asdict(settings).items()
        if name in always or getattr(settings, name) != defaults[name]
    }


def file_sha256(path: Path) -> str:
    """The sha256 hex digest of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class FileHashes:
    """sha256 of files, remembered under path, size, times (ns) and inode: a large file is read once.

    memory: a JSON file that keeps them, made by `save` where its folder exists; without one they are forgotten.
    reread: read every file again, whatever is remembered of it, and remember what it is now.
    """

    def __init__(self, memory: Path | None = None, *, reread: bool = False) -> None:
        self._memory = memory
        self._reread = reread
        try:
            loaded = json.loads(memory.read_text("utf-8")) if memory else {}
        except (OSError, ValueError):  # none yet, or cut short: it can always be computed again
            loaded = {}
        self._known: dict[str, list[Any]] = loaded if isinstance(loaded, dict) else {}
        self._changed = False

    def of(self, path: Path) -> str:
        """The sha256 hex digest of the file's bytes. Raises OSError when it cannot be read."""
        seen = self.seen(path.stat())
        known = self._known.get(str(path))
        if known and known[:-1] == seen and not self._reread:
            return str(known[-1])
        digest = file_sha256(path)
        self._known[str(path)] = [*seen, digest]
        self._changed = True
        return digest

    def knows(self, path: Path) -> bool:
        """Whether the file was read before, as it is. Raises OSError when it is not there."""
        known = self._known.get(str(path))
        return known is not None and known[:-1] == self.seen(path.stat())

    @staticmethod
    def seen(stat: os.stat_result) -> list[int]:
        """By what a file is known again without being read.

        A copy that keeps size and modification time still changes the inode, or the time of its last change.
        """
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]

    def save(self) -> None:
        """Writes what is new to `memory`."""
        if self._memory and self._changed and self._memory.parent.is_dir():
            with published_file(self._memory) as file:
                file.write_text(json.dumps(self._known, indent=1, sort_keys=True), "utf-8")
