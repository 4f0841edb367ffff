"""Taking a secret out of what a server said, however it said it.

    Redaction("sk-0123456789abcdef").of("Your key: sk-0123456789abcdef")     'Your key: ***'

A server may echo the key whole or cut, escaped as in JSON, or in base64. Looking costs a few searches for pieces of
the key; only a text that holds one is looked at closely. Nothing else of a text changes: a reply stays what it was.

What it does not find: the key in other letters (rot13, hex), or pieces of fewer than 12 characters.
"""

import base64
import re
from collections.abc import Iterator
from itertools import groupby, takewhile
from typing import Any

PIECE_CHARS = 12  # shorter is no secret, and may be a word: keys begin with `sk-proj-`, local servers take `EMPTY`
_SEARCHED_CHARS = PIECE_CHARS // 2  # a piece of 12 holds a whole one of these, which begin at every sixth character
_ESCAPE = re.compile(r"""\\+(?:u([0-9a-fA-F]{4})|(["/\\]))""")
_SHOWN = "***"


class Redaction:
    """Of one secret; without one it changes nothing."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret or ""
        long = len(self._secret) >= PIECE_CHARS
        self._forms = [self._secret, *_in_base64(self._secret)] if long else []

    def of(self, text: str) -> str:
        """The text without the secret and its pieces."""
        if not self._forms:
            return text
        cut = self._cut(text)
        if "\\" in text:
            plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
            if (cut_plain := self._cut(plain)) != plain:
                return cut_plain
        return cut

    def of_error(self, text: str) -> str:
        """The same for words that no training row is made of: a short secret is taken out, too."""
        return self.of(text).replace(self._secret, _SHOWN) if self._secret else text

    def of_json(self, value: Any) -> Any:
        """The value with every string in it redacted, keys of objects too."""
        if isinstance(value, str):
            return self.of(value)
        if isinstance(value, list):
            return [self.of_json(one) for one in value]
        if isinstance(value, dict):
            return {self.of(key): self.of_json(one) for key, one in value.items()}
        return value

    def _cut(self, text: str) -> str:
        for form in self._forms:
            spans = _pieces(text, form)
            if spans:
                hidden = {place for span in spans for place in range(*span)}
                runs = groupby(enumerate(text), key=lambda at: at[0] in hidden)
                text = "".join(_SHOWN if is_hidden else "".join(char for _, char in run) for is_hidden, run in runs)
        return text


def _in_base64(secret: str) -> Iterator[str]:
    """As it stands in the base64 of a longer text, at whichever place it begins there; without what depends on that."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        form = encoded[(0, 2, 3)[before] : len(encoded) - 1]
        yield form
        if (in_urls := form.translate(str.maketrans("+/", "-_"))) != form:
            yield in_urls


def _pieces(text: str, form: str) -> set[tuple[int, int]]:
    """Where pieces of the form stand in the text, each as long as it goes."""
    found: set[tuple[int, int]] = set()
    for place in range(0, len(form) - _SEARCHED_CHARS + 1, _SEARCHED_CHARS):
        searched = form[place : place + _SEARCHED_CHARS]
        at = text.find(searched)
        while at >= 0:
            start = at - _in_common(text[max(0, at - place) : at][::-1], form[:place][::-1])
            stop = at + _in_common(text[at : at + len(form) - place], form[place:])
            if stop - start >= PIECE_CHARS:
                found.add((start, stop))
            at = text.find(searched, at + 1)
    return found


def _in_common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
