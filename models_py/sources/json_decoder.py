"""JSON as it is read here, in files and in texts: with whole numbers of any length, and no key that stands twice.

JsonDecoder().decode('{"a": 1, "a": 2}')     # ({"a": 2}, "the key 'a' stands twice in one object")
"""

import json

from models_py.sources.values import shown


class JsonDecoder:
    """JSON's decoder, which also tells of a key that stands twice in an object."""

    def __init__(self) -> None:
        self._json = json.JSONDecoder(parse_int=_whole_number, object_pairs_hook=self._object)
        self._twice: str | None = None

    def decode(self, text: str) -> tuple[object, str | None]:
        """What a text says, and what is wrong with it where it can be read but not be used.

        Raises ValueError or RecursionError when it is no JSON.
        """
        self._twice = None
        return self._json.decode(text), self._problem()

    def raw_decode(self, text: str, position: int) -> tuple[object, int, str | None]:
        """The same of the value that begins there; between the two its end."""
        self._twice = None
        record, end = self._json.raw_decode(text, position)
        return record, end, self._problem()

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            self._twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        return found

    def _problem(self) -> str | None:
        return None if self._twice is None else f"the key {shown(self._twice)} stands twice in one object"


def _whole_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python refuses integers of thousands of digits
        return float(digits)
