import json
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.training.settings import Budget, Lora, TrainingSettings, with_preset


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


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"method": "dora"}, r"training\.method is dora; it must be one of full, lora, qlora"),
        ({"processes": 0}, r"training\.processes is 0"),
        ({"machines": 0}, r"training\.machines is 0"),
        ({"processes": 3, "machines": 2}, r"training\.processes is 3, and training\.machines is 2, .*a multiple of 2"),
        ({"machines": 2}, r"training\.processes is 1, and training\.machines is 2"),
        ({"save_minutes": -1.0}, r"training\.save_minutes is -1"),
        ({"report_to": ("wandbb",)}, r"training\.report_to is wandbb; it must be some of wandb, mlflow"),
        ({"budget": Budget(rows=5), "max_steps": 5}, r"training\.max_steps and training\.budget both"),
        ({"lora": Lora(rank=4)}, r"training\.lora says .*set it to lora"),
    ],
)
def test_what_would_do_nothing_or_fail_later_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        TrainingSettings(**values)


@pytest.mark.parametrize("given", [{}, {"rows": 1, "steps": 2}, {"rows": 0}, {"target_tokens": -5}])
def test_a_budget_counts_one_thing(given: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"training\.budget"):
        Budget(**given)


@pytest.mark.parametrize("given", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"target_modules": ()}])
def test_an_adapter_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"training\.lora\."):
        Lora(**given)


def test_packing_frees_the_batch_from_the_size_of_a_pass() -> None:
    assert TrainingSettings(packing=True, batch_size=10, device_batch_size=4).rows_a_pass == 4


def test_a_preset_is_its_values_and_single_keys_override_it() -> None:
    assert with_preset({"preset": "fast", "epochs": 1, "device_batch_size": 2}) == {
        "packing": True,
        "device_batch_size": 2,
        "epochs": 1,
    }
    assert with_preset({"preset": "paper"}) == {}
    assert with_preset({"epochs": 1}) == {"epochs": 1}
    with pytest.raises(UserError, match=r"preset: 'fats' is not a preset \(did you mean fast\?\)"):
        with_preset({"preset": "fats"})
    with pytest.raises(UserError, match=r"preset: \['fast'\] is not a preset"):
        with_preset({"preset": ["fast"]})


def test_only_what_is_used_is_hashed_and_as_json_gives_it_back() -> None:
    """Settings that came later change nobody's id; and how a training is run changes none at all."""
    first = TrainingSettings().hashed
    assert sorted(set(first) - {"epochs"}) == sorted(set(TrainingSettings(epochs=1).hashed) - {"epochs"})
    run = TrainingSettings(processes=2, machines=2, save_minutes=0, report_to=("mlflow",))
    assert run.hashed == first
    lora = Lora(rank=4, target_modules=("q_proj", "v_proj"))
    used = TrainingSettings(method="lora", lora=lora, budget=Budget(rows=9), packing=True).hashed
    assert {name: used[name] for name in used.keys() - first.keys()} == {
        "method": "lora",
        "lora": {"rank": 4, "target_modules": ["q_proj", "v_proj"]},
        "budget": {"rows": 9},
        "packing": True,
    }
    assert json.loads(json.dumps(used)) == used
