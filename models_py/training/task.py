"""What a training process is told."""

from dataclasses import dataclass
from pathlib import Path

from models_py.student.spec import ResolvedStudent
from models_py.training.settings import TrainingRow, TrainingSettings


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
