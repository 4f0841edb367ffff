"""Tiny students made on the fly, saved as folders and opened through loading.py like anybody's model.

Random weights suffice: what is tested is which tokens are scored, not how well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from models_py.student.chat import StudentChat
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, DEFAULT_REVERSE_PROMPT, ResolvedStudent

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MAX_LENGTH = 512
_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
}


def make_tokenizer(bos: str | None, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; the turn tokens are special, `<tool>` is added without that flag."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["</s>", "<|user|>", "<|assistant|>", "<|end|>", *([bos] if bos and bos != "</s>" else [])]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    text = "Name the colour of the sky and say why it is blue. The answer: light is scattered by air. "
    backend.train_from_iterator([text * 3, DEFAULT_REVERSE_PROMPT.read_text("utf-8")], trainer)
    if adds_bos:
        assert bos
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token="</s>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"],
    )
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def _llama() -> tuple[PreTrainedTokenizerFast, torch.nn.Module]:
    tokenizer = make_tokenizer("<s>", adds_bos=True)
    return tokenizer, LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **_SIZE))


def _gpt2() -> tuple[PreTrainedTokenizerFast, torch.nn.Module]:
    tokenizer = make_tokenizer("</s>")
    size: dict[str, Any] = {"n_positions": MAX_LENGTH, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return tokenizer, GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size))


def _qwen() -> tuple[PreTrainedTokenizerFast, torch.nn.Module]:
    tokenizer = make_tokenizer(None)
    return tokenizer, Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), head_dim=8, **_SIZE))


_FAMILIES: dict[str, Callable[..., Any]] = {"llama": _llama, "gpt2": _gpt2, "qwen": _qwen}


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ResolvedStudent]:
    """Saves a random "llama", "gpt2" or "qwen" once a session; gpt2 chats under the project's default template."""
    made: dict[str, ResolvedStudent] = {}

    def get(family: str) -> ResolvedStudent:
        if family not in made:
            torch.manual_seed(1)
            tokenizer, model = _FAMILIES[family]()
            for parameter in model.parameters():  # far from uniform, so that a wrong position shows
                torch.nn.init.normal_(parameter, std=0.3)
            folder: Path = tmp_path_factory.mktemp(family)
            template = DEFAULT_CHAT_TEMPLATE.read_text("utf-8") if family == "gpt2" else CHAT_TEMPLATE
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
            reverse = DEFAULT_REVERSE_PROMPT.read_text("utf-8")
            made[family] = ResolvedStudent(family, str(folder), None, "f" * 64, MAX_LENGTH, template, reverse)
        return made[family]

    return get


@pytest.fixture(scope="session")
def chat() -> StudentChat:
    return StudentChat(make_tokenizer("<s>", adds_bos=True), CHAT_TEMPLATE, MAX_LENGTH)
