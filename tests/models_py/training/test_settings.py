from typing import Any

import pytest

from models_py.errors import UserError
from models_py.training.settings import TrainingSettings


def test_the_defaults_are_the_papers() -> None:
    paper = TrainingSettings()
    assert (paper.learning_rate, paper.epochs, paper.warmup_ratio, paper.weight_decay) == (2e-5, 3, 0.03, 0)
    assert (paper.max_length, paper.batch_size) == (2048, 128)


@pytest.mark.parametrize(("batch", "device", "a_pass", "accumulation"), [(128, 8, 8, 16), (4, 8, 4, 1), (6, 3, 3, 2)])
def test_accumulation_reaches_the_global_batch(batch: int, device: int, a_pass: int, accumulation: int) -> None:
    settings = TrainingSettings(batch_size=batch, device_batch_size=device)
    assert (settings.rows_a_pass, settings.accumulation) == (a_pass, accumulation)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("learning_rate", float("nan")),
        ("max_steps", -1),
        ("warmup_ratio", 1),
        ("weight_decay", -0.1),
        ("device_batch_size", 0),
        ("batch_size", 12),
        ("schedule", "zigzag"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"training\.{field} is {value}"):
        TrainingSettings(**{field: value})
