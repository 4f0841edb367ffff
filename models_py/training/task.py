"""What a training process is told: what to train, and later perhaps to stop."""

from dataclasses import dataclass
from pathlib import Path

from models_py.student.spec import ResolvedStudent
from models_py.training.settings import TrainingRow, TrainingSettings


class StoppedError(Exception):
    """The training stopped because it was asked to; its state is saved."""


@dataclass(slots=True)
class Stop:
    """asked: the training is to save its state and stop after the step under way. is_heard: steps are under way, and
    after each it is looked whether that was asked.
    """

    asked: bool = False
    is_heard: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A training. model: what the student is called. folder: an empty one to fill. work: keeps states and the log."""

    recipe: str
    rows: tuple[TrainingRow, ...]
    student: ResolvedStudent
    model: str
    settings: TrainingSettings
    folder: Path
    work: Path

    @property
    def name(self) -> str:
        """What the checkpoint will be called."""
        return self.work.name.removeprefix(".").removesuffix(".training")
