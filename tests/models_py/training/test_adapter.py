"""LoRA: the folder holds a plain merged model, and below it the adapter that it was merged from."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_py.errors import UserError
from models_py.progress import Progress
from models_py.student.chat import StudentChat
from models_py.student.spec import ResolvedStudent
from models_py.training.examples import labelled_rows
from models_py.training.fine_tune import fine_tune
from models_py.training.losses import mean_loss
from models_py.training.manifest import Manifest, damage
from models_py.training.settings import Lora, TrainingRow, TrainingSettings
from tests.models_py.training.conftest import save_tiny_student

pytestmark = pytest.mark.usefixtures("trained_here")
MANIFEST = {"recipe": "paper"}


class Tuned(NamedTuple):
    folder: Path
    manifest: Manifest


def with_lora(settings: TrainingSettings, **more: Any) -> TrainingSettings:
    return dataclasses.replace(settings, method="lora", lora=Lora(rank=4, alpha=8), **more)


@pytest.fixture(scope="module")
def tuned(
    trained_here: None,
    student: ResolvedStudent,
    rows: list[TrainingRow],
    settings: TrainingSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Tuned:
    out = tmp_path_factory.mktemp("checkpoints") / "paper"
    manifest = fine_tune(
        rows, student=student, settings=with_lora(settings), out_dir=out, manifest=MANIFEST, model="students/tiny"
    )
    return Tuned(out, manifest)


def test_the_folder_is_a_plain_model_and_the_adapter_lies_below_it(tuned: Tuned, student: ResolvedStudent) -> None:
    names = {str(path.relative_to(tuned.folder)) for path in tuned.folder.rglob("*") if path.is_file()}
    assert {"model.safetensors", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= names
    assert {name for name in names if name.startswith("adapter/")} == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    base, root = (load_file(Path(where) / "model.safetensors") for where in (student.model, tuned.folder))
    assert base.keys() == root.keys()
    changed = {name for name in base if not torch.equal(base[name], root[name])}
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert {name.split(".")[-2] for name in changed} == set(layers)  # the output layer and the embeddings stay
    assert damage(tuned.folder) is None


def test_the_merged_model_is_the_base_with_its_adapter(
    tuned: Tuned, student: ResolvedStudent, rows: list[TrainingRow]
) -> None:
    """And the loss that is told is the merged one's."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tuned.folder)
    kept, _ = labelled_rows(rows, StudentChat(tokenizer, student.chat_template, student.max_length))
    plain: Any = AutoModelForCausalLM.from_pretrained(tuned.folder)
    base: Any = AutoModelForCausalLM.from_pretrained(student.model)
    before = mean_loss(base, kept, pad_id=0)
    beside: Any = PeftModel.from_pretrained(base, tuned.folder / "adapter")
    assert mean_loss(plain, kept, pad_id=0) == pytest.approx(tuned.manifest.loss_after, rel=1e-6)
    assert mean_loss(beside, kept, pad_id=0) == pytest.approx(tuned.manifest.loss_after, rel=1e-5)
    assert before == pytest.approx(tuned.manifest.loss_before, rel=1e-6)
    assert tuned.manifest.loss_after < tuned.manifest.loss_before - 0.05


def test_the_manifest_says_what_the_adapter_is(tuned: Tuned) -> None:
    told = tuned.manifest.content["adapter"]
    assert told == {
        "folder": "adapter",
        "rank": 4,
        "alpha": 8,
        "layers": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        "parameters": sum(w.numel() for w in load_file(tuned.folder / "adapter/adapter_model.safetensors").values()),
        "served": True,
    }
    assert {name: tuned.manifest.content["settings"][name] for name in ("method", "lora")} == {
        "method": "lora",
        "lora": {"rank": 4, "alpha": 8},
    }
    assert "peft" in tuned.manifest.content["versions"]
    config = json.loads((tuned.folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "students/tiny" and config["modules_to_save"] is None
    assert "/tmp" not in (tuned.folder / "adapter" / "adapter_config.json").read_text()


def test_interrupted_it_goes_on_to_the_same_adapter(
    tuned: Tuned, student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    asked = with_lora(settings, save_minutes=0)

    def interrupt(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(
            rows, student=student, settings=asked, out_dir=tmp_path / "c", manifest=MANIFEST, on_progress=interrupt
        )
    manifest = fine_tune(rows, student=student, settings=asked, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert manifest.content["resumed_after_steps"] == [2]
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        one, other = load_file(tuned.folder / name), load_file(tmp_path / "c" / name)
        assert all(torch.equal(one[weight], other[weight]) for weight in one)


def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once(
    rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    student = save_tiny_student(tmp_path / "base", dtype="bfloat16")
    fine_tune(rows, student=student, settings=with_lora(settings), out_dir=tmp_path / "c", manifest=MANIFEST)
    base, root = (load_file(where / "model.safetensors") for where in (tmp_path / "base", tmp_path / "c"))
    adapter = load_file(tmp_path / "c" / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"].float() for side in "AB")
    assert torch.equal(root[f"{name}.weight"], (base[f"{name}.weight"].float() + b @ a * 2.0).bfloat16())


@pytest.mark.parametrize("modules", [("q_prj",), ("q_proj", "nowhere"), "q_prj.*"])
def test_layers_that_are_not_there_are_told(
    modules: str | tuple[str, ...],
    student: ResolvedStudent,
    rows: list[TrainingRow],
    settings: TrainingSettings,
    tmp_path: Path,
) -> None:
    asked = dataclasses.replace(settings, method="lora", lora=Lora(target_modules=modules))
    with pytest.raises(UserError, match=r"lora\.target_modules: tiny has no such layers .*(q_prj|nowhere).*LlamaFor"):
        fine_tune(rows, student=student, settings=asked, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_packed_with_dropout_and_checkpointing_it_trains(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    lora = Lora(rank=600, dropout=0.1, target_modules=("q_proj",))
    asked = dataclasses.replace(settings, method="lora", lora=lora, packing=True, gradient_checkpointing=True)
    manifest = fine_tune(rows, student=student, settings=asked, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert manifest.loss_after < manifest.loss_before
    assert manifest.content["adapter"]["served"] is False
    assert manifest.content["adapter"]["reason"] == "vLLM serves ranks up to 512"
