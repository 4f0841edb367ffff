"""A model card says what the manifest says, how the model is served, and whether its adapter can be."""

from typing import Any

import pytest
import yaml

from models_py.card_text import SourceOfRows
from models_py.training.card import CardFacts, card
from models_py.training.settings import TrainingSettings

MANIFEST: dict[str, Any] = {
    "recipe": "paper",
    "data_version": "d" * 16,
    "snapshot_id": 7,
    "student": {"name": "qwen", "model": "owner/base", "revision": "r" * 40, "fingerprint": "f" * 64},
    "settings": TrainingSettings(seed=2).hashed,
    "rows": 1200,
    "rows_by_candidate": {"original": 200, "both": 1000},
    "target_tokens": 345_678,
    "loss_before": 2.5,
    "loss_after": 1.25,
    "loss_rows": 256,
    "steps": 30,
    "seconds": 12.5,
    "device": "cpu",
    "dtype": {"computed": "float32", "stored": "bfloat16"},
    "versions": {"torch": "2.13.0"},
    "project": {"version": "0.1.0", "commit": "c" * 40, "changed": True},
}


def told(base_license: str | None = "llama2", **changes: Any) -> str:
    sources = [SourceOfRows("al|paca", 1200, "cc-by-nc-4.0")]
    facts = CardFacts(
        manifest=MANIFEST | changes, policy="Keeps all.", sources=sources, base_license=base_license, serve="make serve"
    )
    return card(facts)


def test_a_card_is_what_the_hub_reads_and_what_people_read() -> None:
    text = told()
    assert yaml.safe_load(text.split("---")[1]) == {
        "license": "llama2",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "owner/base",
        "tags": ["reflection-lake", "selective-reflection-tuning", "sft"],
    }
    for line in (
        "| of which both | 1,000 |",
        "| loss after | 1.2500 nats a token, on 256 of the rows it was trained on |",
        "| al\\|paca | 1,200 | cc-by-nc-4.0 |",
        "| seed | 2 |",
        f"| reflection-lake | 0.1.0, commit {'c' * 40} with changes |",
    ):
        assert line in text
    assert "adapter" not in text
    assert "max_steps" not in text


def test_a_licence_that_nobody_states_is_unknown() -> None:
    text = told(None)
    assert yaml.safe_load(text.split("---")[1])["license"] == "unknown"
    assert "| its licence | not stated in its files |" in text


@pytest.mark.parametrize(
    ("adapter", "line"),
    [
        ({"served": True, "rank": 16}, "vllm serve owner/base --enable-lora --max-lora-rank 16"),
        (
            {"served": False, "rank": 1024, "reason": "vLLM serves ranks up to 512"},
            "vLLM serves ranks up to 512. Serve the merged",
        ),
    ],
)
def test_an_adapter_is_served_or_the_card_says_why_not(adapter: dict[str, Any], line: str) -> None:
    assert line in told(adapter=adapter)
