from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models_py.errors import UserError
from models_py.student.loading import load_chat, load_model, load_tokenizer
from models_py.student.spec import ResolvedStudent

Student = Callable[[str], ResolvedStudent]


def test_a_cpu_scores_in_float32(student: Student) -> None:
    model = load_model(student("llama"), "cpu")
    assert model.dtype == torch.float32 and not model.training


def test_the_tokenizer_carries_the_template(student: Student) -> None:
    chat = load_chat(student("llama"))
    assert chat.tokenizer.chat_template == chat.template == "{{ bos_token }}" + student("llama").chat_template


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_that_is_none_is_told(student: Student, tmp_path: Path, load: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"students\.llama\.model: .*cannot be read.*give a folder"):
        load(replace(student("llama"), model=str(tmp_path)))


def test_a_hub_model_out_of_reach_is_told(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="hub model nobody/nothing"):
        load_model(replace(student("llama"), model="nobody/nothing"))


def test_missing_weights_are_never_drawn_at_random(student: Student, tmp_path: Path) -> None:
    source = Path(student("llama").model)
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(source / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj"):
        load_model(replace(student("llama"), model=str(tmp_path)))


def test_cut_off_weights_are_told(student: Student, tmp_path: Path) -> None:
    for path in Path(student("llama").model).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 1000 if path.suffix == ".safetensors" else None])
    with pytest.raises(UserError, match="the model in folder"):
        load_model(replace(student("llama"), model=str(tmp_path)))


def test_an_unknown_dtype_is_told(student: Student) -> None:
    with pytest.raises(UserError, match="dtype is 'fp8'; one of auto, float32"):
        load_model(replace(student("llama"), dtype="fp8"))
