"""Which models meet: a checkpoint its base, and of a recipe the checkpoint of its own student and training seed.

meetings(models, ["base", "original"])     # [Meeting(model="4f2c...", opponent="9a1b...", why="base"), ...]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BASE = "base"  # of evaluation.opponents: the student that a checkpoint was made from


@dataclass(frozen=True, slots=True)
class Contestant:
    """A row of evaluation.models; recipe and training_seed are None of a base student."""

    model: str
    recipe: str | None
    training_seed: int | None
    student_fingerprint: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """why: `base`, or the opponent's recipe."""

    model: str
    opponent: str
    why: str


def meetings(models: Iterable[Contestant], opponents: Sequence[str]) -> list[Meeting]:
    """Every checkpoint with each of its opponents, no two of a pair; whom it does not find it does not meet."""
    everyone = list(models)
    found: dict[tuple[str, str], Meeting] = {}
    for one in everyone:
        for why in opponents if one.recipe is not None else ():
            for other in everyone:
                if other.model != one.model and _is_meant(one, other, why):
                    found.setdefault((one.model, other.model), Meeting(one.model, other.model, why))
    return list(found.values())


def _is_meant(one: Contestant, other: Contestant, why: str) -> bool:
    if one.student_fingerprint != other.student_fingerprint:
        return False
    if why == BASE:
        return other.recipe is None
    return other.recipe == why and other.training_seed == one.training_seed
