"""Where teacher and student disagree most: the rewrites that were refused by the largest margin.

Of each pairing a list a kind of refusal. The margin is by how much the refused text is the worse one, in the statistic
that decided; of one that is too hard, by how much its IFD is above 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from models_py.report.content import Content

_MOST = 20
# kind, column of the reason, the reason, the margin
_KINDS = (
    (
        "Instructions that the student vetoed",
        "first_reason",
        "rewrite_vetoed",
        pl.col("ifd_original") - pl.col("ifd_instruction"),
    ),
    (
        "Instructions that the guard found too hard",
        "first_reason",
        "rewrite_too_hard",
        pl.col("ifd_instruction") - 1,
    ),
    (
        "Instructions that the guard found off topic",
        "first_reason",
        "rewrite_off_topic",
        pl.col("r_ifd_instruction") - pl.col("r_ifd_original"),
    ),
    (
        "Answers that the student vetoed",
        "second_reason",
        "rewrite_vetoed",
        pl.col("r_ifd_reflected") - pl.col("r_ifd_base"),
    ),
)


@dataclass(frozen=True, slots=True)
class Disagreements:
    """Of a pairing and a kind: how many there are, and the strongest, each a pair id and its margin."""

    teacher: str
    student: str
    kind: str
    count: int
    strongest: list[tuple[str, float]]


def disagreements(content: Content) -> Iterator[Disagreements]:
    """Those of which there are any, pairing by pairing."""
    for teacher, student in content.pairings():
        choices = content.choices.filter(teacher=teacher, student=student)
        for kind, column, reason, margin in _KINDS:
            found = choices.filter(pl.col(column) == reason).select("pair_id", margin.alias("margin"))
            if not found.is_empty():
                strongest = found.sort("margin", "pair_id", descending=[True, False]).head(_MOST)
                yield Disagreements(teacher, student, kind, found.height, [*strongest.iter_rows()])
