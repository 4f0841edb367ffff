"""A student of 20,000 weights: enough to train, save, load and stop; too small to say anything."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.progress import OnProgress
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, DEFAULT_REVERSE_PROMPT, ResolvedStudent
from models_py.training import fine_tune
from models_py.training.process import RefusedError
from models_py.training.settings import TrainingRow, TrainingSettings
from models_py.training.task import Task

TEXT = "Request: Reply: name a colour that is warm or cold. Red, blue and green are colours; so is grey.\n"


def save_tiny_student(folder: Path, dtype: str = "float32") -> ResolvedStudent:
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([TEXT] * 4, vocab_size=320, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return ResolvedStudent(
        name="tiny",
        model=str(folder),
        revision=None,
        fingerprint="f00d",
        max_length=96,
        chat_template=DEFAULT_CHAT_TEMPLATE.read_text("utf-8"),
        reverse_prompt=DEFAULT_REVERSE_PROMPT.read_text("utf-8"),
    )


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> ResolvedStudent:
    return save_tiny_student(tmp_path_factory.mktemp("students") / "tiny")


@pytest.fixture(scope="session")
def rows() -> list[TrainingRow]:
    colours = ["red", "blue", "green", "grey"]
    return [TrainingRow(f"p{i}", f"name a colour {i}", "", f"{colours[i % 4]}.") for i in range(8)]


@pytest.fixture(scope="session")
def settings() -> TrainingSettings:
    return TrainingSettings(epochs=2, learning_rate=1e-2, batch_size=4, device_batch_size=2, seed=3)


@pytest.fixture(scope="module")
def trained_here() -> Iterator[None]:
    """Training in this process: what it does is the same, and starting another one takes ten times as long."""
    from models_py.training.trainer import train

    def here(task: Task, on_progress: OnProgress) -> dict[str, Any]:
        task.work.mkdir(parents=True, exist_ok=True)
        try:
            outcome: dict[str, Any] = json.loads(json.dumps(train(task, on_progress)))
        except UserError as error:
            raise RefusedError(str(error)) from error
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tune, "trained_apart", here)
        yield
