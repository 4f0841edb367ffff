"""A model that is evaluated: a fine-tuned student, or the base student that it was made from."""

from dataclasses import dataclass
from typing import Literal

from models_py.student.spec import ResolvedStudent


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """One row of evaluation.models.

    model: the checkpoint's id, of a base its fingerprint. name: for people. student: where the model lies and how it
    chats; models_py.student.loading loads it as any student.
    """

    model: str
    kind: Literal["checkpoint", "base"]
    name: str
    student: ResolvedStudent
