"""What this machine lacks is told by the key that asks for it, before anything is loaded."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from models_py.errors import UserError
from models_py.student.spec import ResolvedStudent
from models_py.training.fine_tune import fine_tune
from models_py.training.machine import require_able_machine
from models_py.training.settings import TrainingRow, TrainingSettings


@pytest.mark.parametrize(
    ("settings", "gpus", "installed", "told"),
    [
        (
            {"method": "qlora"},
            0,
            True,
            r"method is qlora, and this machine has no CUDA device",
        ),
        ({"method": "qlora"}, 1, False, r"training\.method is qlora, and bitsandbytes is not installed"),
        ({"method": "qlora", "processes": 2}, 2, True, r"four bits cannot be shared; set training\.processes to 1"),
        ({"processes": 3}, 2, True, r"training\.processes is 3, and this machine has 2 GPUs"),
        ({"processes": 6, "machines": 2}, 2, True, r"processes is 6, 3 a machine, and this machine has 2 GPUs"),
        (
            {"report_to": ("wandb",)},
            0,
            False,
            r"training\.report_to names wandb, which is not installed",
        ),
    ],
)
def test_what_is_lacking_is_named(
    settings: dict[str, Any], gpus: int, installed: bool, told: str, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(
        "models_py.training.machine.find_spec", lambda name: importlib.util.find_spec("json") if installed else None
    )
    with pytest.raises(UserError, match=told):
        require_able_machine(TrainingSettings(**settings))


@pytest.mark.parametrize("settings", [{}, {"processes": 2}, {"method": "lora"}])
def test_a_cpu_does_what_needs_no_gpu(settings: dict[str, Any]) -> None:
    require_able_machine(TrainingSettings(**settings))


def test_nothing_is_left_of_a_training_that_cannot_be(
    student: ResolvedStudent, rows: list[TrainingRow], tmp_path: Path, trained_here: None
) -> None:
    settings = TrainingSettings(method="qlora")
    with pytest.raises(UserError, match="qlora"):
        fine_tune(rows, student=student, settings=settings, out_dir=tmp_path / "c", manifest={})
    assert list(tmp_path.iterdir()) == []
