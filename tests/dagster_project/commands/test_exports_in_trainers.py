"""Exports in the trainers that they are for: TRL takes a step on each as it is, a tiny model under it."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from tests.dagster_project.commands.conftest import Told
from tests.models_py.training.conftest import save_tiny_student

pytestmark = pytest.mark.slow

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainers") / "tiny"
    save_tiny_student(folder)
    return folder


def stepped(trainer: Any, config: Any, told: Told, student: Path, **settings: Any) -> tuple[Any, float]:
    """The trainer after one step on the export, and the loss of that step."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.chat_template, tokenizer.pad_token = CHAT_TEMPLATE, tokenizer.eos_token
    rows = load_dataset(str(told.profile.root / "out"), split="train", cache_dir=str(told.profile.root / "cache"))
    arguments = config(
        output_dir=str(told.profile.root / "trained"),
        **{"max_steps": 1, "max_length": 128, "report_to": "none", "save_strategy": "no", "use_cpu": True},
        **{"bf16": False, "per_device_train_batch_size": 2, "disable_tqdm": True, "logging_steps": 1},
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = trainer(
            model=AutoModelForCausalLM.from_pretrained(student),
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
        )
        made.train()
    return made, made.state.log_history[0]["loss"]


@pytest.mark.parametrize("files", ["parquet", "jsonl"])
def test_sft_takes_messages_as_they_are(told: Told, student: Path, files: str) -> None:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    told.export("raw", "--format", "messages", "--files", files)
    made, loss = stepped(SFTTrainer, SFTConfig, told, student, assistant_only_loss=True)
    assert loss > 0 and len(made.train_dataset) == 4
    tokenizer, row = made.processing_class, made.train_dataset[2]
    assert tokenizer.decode(row["input_ids"]) == (
        "system: Be brief.\nuser: Hi\nassistant: Hello</s>user: x c\nassistant: y c</s>"
    )
    taught = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    assert tokenizer.decode(taught) == "Hello</s>y c</s>"


def test_dpo_takes_preferences_as_they_are(told: Told, student: Path) -> None:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    told.export("paper", "--format", "preference")
    made, loss = stepped(DPOTrainer, DPOConfig, told, student)
    assert loss > 0 and len(made.train_dataset) == 3
    tokenizer = made.processing_class
    said = {
        tuple(tokenizer.decode(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids"))
        for row in made.train_dataset
    }
    assert ("user: x b\nin b\nassistant: ", "y b</s>", "y'' b response</s>") in said
