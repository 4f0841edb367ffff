"""A model small enough to be made by each run, whose answers differ from prompt to prompt and sometimes end."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_py.evaluation.model import EvaluatedModel
from models_py.student.spec import DEFAULT_REVERSE_PROMPT, ResolvedStudent
from tests.models_py.teacher.engines.vllm.tiny_chat_model import tiny_chat_model

MAX_LENGTH = 256


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    folder: Path = tiny_chat_model(tmp_path_factory.mktemp("evaluated") / "tiny")
    template = (folder / "chat_template.jinja").read_text("utf-8")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():  # its logit varies the most, so that it is the highest now and then
        model.get_output_embeddings().weight[tokenizer.eos_token_id] *= 1.6
    model.save_pretrained(folder)
    reverse = DEFAULT_REVERSE_PROMPT.read_text("utf-8")
    student = ResolvedStudent("tiny", str(folder), None, "f" * 64, MAX_LENGTH, template, reverse)
    return EvaluatedModel("f" * 64, "base", "tiny (base)", student)
