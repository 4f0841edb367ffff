import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models_py.errors import UserError
from models_py.student.loading import load_chat, load_config, load_model, load_tokenizer
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


def copied(student: ResolvedStudent, folder: Path) -> ResolvedStudent:
    return replace(student, model=str(shutil.copytree(student.model, folder / "copy")))


def edit(student: ResolvedStudent, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights of a folder."""
    path = Path(student.model) / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def all_zero(weights: dict[str, torch.Tensor]) -> None:
    for weight in weights.values():
        weight.zero_()


def zero_norms(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"].zero_()


def zero_head(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"].zero_()


def nan_everywhere(weights: dict[str, torch.Tensor]) -> None:
    for weight in weights.values():
        weight.fill_(math.nan)


def one_infinity(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] = math.inf


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (all_zero, r"finds every token equally likely \((\d+) of its \1 weights are all zero\)"),
        (zero_norms, r"finds every token equally likely \(1 of its 21 weights are all zero\)"),
        (zero_head, r"finds every token equally likely \(1 of its 21 weights are all zero\)"),
        (nan_everywhere, r"21 of the 21 weights in .* hold NaN or infinite values \(first: model.embed_tokens"),
        (one_infinity, r"1 of the 21 weights .* hold NaN or infinite values \(first: model.layers.1.mlp.up_proj"),
    ],
)
def test_weights_that_say_nothing_are_named(
    student: Student, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], complaint: str
) -> None:
    broken = copied(student("llama"), tmp_path)
    edit(broken, change)
    with pytest.raises(UserError, match=rf"students\.llama\.model: .*{complaint}.*; copy or train the model again"):
        load_model(broken, "cpu")


@pytest.mark.parametrize("load", [load_model, load_tokenizer, load_config, load_chat])
@pytest.mark.parametrize("known", [True, False])
def test_code_that_a_model_brings_along_is_never_run(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, load: Callable[..., Any], known: bool
) -> None:
    """`known`: the same names an architecture of transformers, which is taken instead."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask a person
    brought = copied(student("llama"), tmp_path)
    folder = Path(brought.model)
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit")
    names = {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M", "AutoTokenizer": ["mine.T", "mine.T"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) | {"auto_map": names}
        if not known:
            content |= {"model_type": "mine", "tokenizer_class": "Mine"}
        (folder / name).write_text(json.dumps(content))
    if known:
        assert load(brought) is not None
    else:
        with pytest.raises(UserError, match=r"students\.llama\.model: the (model|tokenizer|config) in folder"):
            load(brought)
    assert not (tmp_path / "ran").exists()


def test_a_text_token_without_an_embedding_is_refused(student: Student, tmp_path: Path) -> None:
    grown = copied(student("llama"), tmp_path)
    tokenizer = load_tokenizer(grown)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<unheard>", "<of>"])
    tokenizer.save_pretrained(grown.model)
    complaint = rf"students\.llama\.model: .* has 2 tokens beyond the model's {rows} embeddings \(first: '<unheard>'"
    with pytest.raises(UserError, match=complaint):
        load_chat(grown)


def test_a_turn_token_without_an_embedding_is_refused(student: Student, tmp_path: Path) -> None:
    grown = copied(student("llama"), tmp_path)
    tokenizer = load_tokenizer(grown)
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    tokenizer.save_pretrained(grown.model)
    with pytest.raises(UserError, match=r"1 tokens beyond .*first: '<\|im_end\|>'"):
        load_chat(replace(grown, chat_template=grown.chat_template.replace("<|end|>", "<|im_end|>")))


def test_a_padding_token_without_an_embedding_is_never_an_input(student: Student, tmp_path: Path) -> None:
    """Published so more than once: `[PAD]` was added to the tokenizer and the model left as it was."""
    grown = copied(student("llama"), tmp_path)
    tokenizer = load_tokenizer(grown)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(grown.model)
    chat, before = load_chat(grown), load_chat(student("llama"))
    assert chat.tokenizer.pad_token_id == chat.tokenizer.eos_token_id
    row = ("Why [PAD]?", "", "Because [PAD].")
    assert chat.answer_sequences(*row) == before.answer_sequences(*row)
