"""Packed rows mean what they mean by themselves: the same loss, the same gradients, the same training."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

from models_py.errors import UserError
from models_py.student.packed import configurations, inside_documents
from models_py.student.packed_attention import register
from models_py.student.spec import ResolvedStudent
from models_py.training.examples import LabelledRow
from models_py.training.fine_tune import fine_tune
from models_py.training.loss_log import read_loss_log
from models_py.training.losses import packed, padded, target_nll
from models_py.training.settings import TrainingRow, TrainingSettings
from models_py.training.trainer import _Trainer
from tests.models_py.training.conftest import save_tiny_student

pytestmark = pytest.mark.usefixtures("trained_here")
MANIFEST = {"recipe": "paper"}
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, vocab_size=320, num_key_value_heads=2, max_position_embeddings=128),
    "gpt2": GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=128, attn_pdrop=0.0),
    "qwen2": Qwen2Config(**SIZES, vocab_size=320, num_key_value_heads=2),
    "qwen2, sliding window": Qwen2Config(
        **SIZES, vocab_size=320, num_key_value_heads=4, use_sliding_window=True, sliding_window=8, max_window_layers=0
    ),
    "qwen3": Qwen3Config(**SIZES, vocab_size=320, num_key_value_heads=2, head_dim=8),
}


def some_rows() -> list[LabelledRow]:
    """Rows of 5 to 40 tokens, of which the last third counts."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for length in (5, 40, 12, 12, 31, 7):
        ids = torch.randint(0, 320, (length,), generator=generator).tolist()
        rows.append(LabelledRow(ids, [-100] * (length - length // 3) + ids[-(length // 3) :]))
    return rows


def loss_and_gradients(model: Any, batches: list[dict[str, Any]]) -> tuple[float, dict[str, torch.Tensor]]:
    """The sum over all targets, and what it leaves in every weight."""
    model.zero_grad()
    nll = torch.cat([target_nll(model, batch) for batch in batches]).sum()
    nll.backward()
    return nll.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_rows_by_themselves(family: str, checkpointing: bool) -> None:
    """Within 1e-6 of the loss, and of a gradient within 1e-5 of the largest one."""
    torch.manual_seed(0)
    register()
    model: Any = AutoModelForCausalLM.from_config(CONFIGS[family]).eval()
    rows = some_rows()
    alone, expected = loss_and_gradients(model, [padded([row], 0) for row in rows])
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    with inside_documents(configurations(model)):
        together, found = loss_and_gradients(model, [packed(rows)])
    assert together == pytest.approx(alone, rel=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert all(torch.allclose(found[name], expected[name], atol=1e-5 * largest) for name in expected)


def test_another_row_in_the_pack_changes_nothing() -> None:
    """What stands before and after a row is neither seen nor predicted."""
    torch.manual_seed(0)
    register()
    model: Any = AutoModelForCausalLM.from_config(CONFIGS["llama"]).eval()
    first, middle, last = some_rows()[:3]
    other = LabelledRow([7] * 20, [-100] * 10 + [7] * 10)
    with torch.no_grad(), inside_documents(configurations(model)):
        losses = [target_nll(model, packed([*before, middle, last])) for before in ([first], [other], [])]
    count = middle.target_tokens + last.target_tokens
    assert all(torch.allclose(one[-count:], losses[2], atol=1e-5) for one in losses)


@pytest.mark.parametrize("own_loss", [True, False])
def test_a_packed_training_is_the_unpacked_one(
    own_loss: bool,
    student: ResolvedStudent,
    settings: TrainingSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also by TRL's own loss, which is the one on a GPU. Losses within 1e-4, weights within 1e-3 after ten steps."""
    if not own_loss:
        monkeypatch.delattr(_Trainer, "compute_loss")
    rows = [TrainingRow(f"p{i}", f"name a colour {i}", "", "red and blue. " * (1 + i % 4)) for i in range(9)]
    padded_ = dataclasses.replace(settings, learning_rate=1e-3, max_steps=10)
    packed_ = dataclasses.replace(padded_, packing=True, max_length=96, device_batch_size=1)
    made = {
        name: fine_tune(rows, student=student, settings=asked, out_dir=tmp_path / name, manifest=MANIFEST)
        for name, asked in (("padded", padded_), ("packed", packed_))
    }
    lines = {name: read_loss_log(tmp_path / name) for name in made}
    same = ("step", "epoch", "learning_rate", "target_tokens", "tokens")
    assert [[line[name] for name in same] for line in lines["packed"]] == [
        [line[name] for name in same] for line in lines["padded"]
    ]
    for one, other in zip(lines["packed"], lines["padded"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in made)
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
    told = made["packed"].content
    assert 0.5 < told["packs_filled"] <= 1 and "packs_filled" not in made["padded"].content
    seen = {name: told[name] for name in ("rows_seen", "target_tokens_seen", "tokens_seen", "steps")}
    assert seen == {name: made["padded"].content[name] for name in seen}
    assert seen["target_tokens_seen"] == sum(line["target_tokens"] for line in lines["packed"])


def test_a_model_that_cannot_read_packs_is_refused_by_the_key(
    rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    """GPT-2 drops some of what it attends to while it trains, and kernels for packs do not."""
    base = save_tiny_student(tmp_path / "base")
    tokenizer: Any = AutoTokenizer.from_pretrained(base.model)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=128, attn_pdrop=0.1)
    AutoModelForCausalLM.from_config(config).save_pretrained(base.model)
    asked = dataclasses.replace(settings, packing=True)
    with pytest.raises(UserError, match=r"training\.packing: GPT2LMHeadModel cannot .*\(dropout.*set it to false"):
        fine_tune(rows, student=base, settings=asked, out_dir=tmp_path / "c", manifest=MANIFEST)
