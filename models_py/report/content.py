"""What the report is made of, whoever read it: frames with the columns of the lake's views.

Statistics come as frames, texts only of the pairs that are asked for: a lake holds more of them than a page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

CANDIDATES = ("original", "instruction", "response", "both")
ID_CHARS = 16  # of a pair's id, in the page: every command takes them for it

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Content:
    """pairs: a row each, in the order in which they are drawn, of all `all_pairs` that there are.

    choices: a row a pairing (teacher, student) and pair. candidates: a row a candidate of these, with its statistics.
    decisions: a row a recipe and pair. answers: recipe, side (before | after), output: equally many of both sides.
    tables: everything that is shown as it is, by name. texts: pair ids -> a row a candidate with its texts, and a row
    a critique.
    """

    profile: str
    snapshot_id: int
    all_pairs: int
    pairs: pl.DataFrame
    choices: pl.DataFrame
    candidates: pl.DataFrame
    decisions: pl.DataFrame
    answers: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    texts: Callable[[Sequence[str]], tuple[Rows, Rows]]

    def pairings(self) -> list[tuple[str, str]]:
        """The teachers and students whose choices there are."""
        return sorted(self.choices.select("teacher", "student").unique().iter_rows())
