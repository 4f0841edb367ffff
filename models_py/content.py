"""Identities of content: the same text has the same id everywhere, for good.

`content_id` keys raw pairs and scores, so identical text is reflected and scored once. The canonical form is
the JSON array `[instruction, input, output]` without spaces and with non-ASCII characters kept.
"""

import hashlib
import json
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode  # built once: ids are many


def content_id(instruction: str, input: str, output: str) -> str:
    """The sha256 hex digest of one instruction/input/output triple.

    Lone surrogates (possible in JSON sources) are kept apart by `surrogatepass`, so no two texts collide.
    """
    return hashlib.sha256(canonical_json([instruction, input, output])).hexdigest()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no spaces and no escapes beyond what JSON demands, as UTF-8."""
    return _encode(value).encode("utf-8", errors="surrogatepass")


def fingerprint(*parts: object) -> str:
    """The sha256 hex digest of any JSON-able parts, in order."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 hex digest of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
