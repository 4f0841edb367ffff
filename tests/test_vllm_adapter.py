"""A model overfitted on ten pairs says them again and stops: through transformers, vLLM, and as an adapter there."""

import dataclasses
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from models_py.training.fine_tune import fine_tune
from models_py.training.settings import Lora, TrainingRow, TrainingSettings
from tests.models_py.training.conftest import save_tiny_student, trained_here
from tests.support.ui import free_port

# What vLLM and what it imports warn of is for them to mend.
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
__all__ = ["trained_here"]

THINGS = ["sky", "sea", "night", "rain", "ice", "sun", "moon", "leaf", "rose", "snow"]
COLOURS = ["blue", "green", "black", "grey", "white", "yellow", "silver", "red", "pink", "pale"]
PAIRS = [
    TrainingRow(f"p{n}", f"name the colour of the {thing}", "", f"{colour}, it is {colour}.")
    for n, (thing, colour) in enumerate(zip(THINGS, COLOURS, strict=True))
]


@pytest.fixture(scope="module")
def folders(trained_here: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base that gives each thing another's colour, and the checkpoint whose adapter knows better."""
    folder = tmp_path_factory.mktemp("overfitted")
    student = save_tiny_student(folder / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(student.model)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    # Heads of 32 are the smallest that vLLM computes on a CPU.
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes, **ends)
    ).save_pretrained(student.model)
    shifted = [dataclasses.replace(row, output=PAIRS[(n + 3) % 10].output) for n, row in enumerate(PAIRS)]
    whole = TrainingSettings(epochs=120, learning_rate=1e-2, batch_size=10, device_batch_size=10)
    beside = dataclasses.replace(whole, method="lora", lora=Lora(rank=16))
    fine_tune(shifted, student=student, settings=whole, out_dir=folder / "base", manifest={})
    base = dataclasses.replace(student, model=str(folder / "base"))
    fine_tune(PAIRS, student=base, settings=beside, out_dir=folder / "tuned", manifest={}, model="base")
    return folder / "base", folder / "tuned"


@contextmanager
def served(folder: Path, log: Path, *more: str) -> Iterator[str]:
    """The address of vLLM's server of a folder."""
    from models_py.teacher.engines.vllm.offline import cpu_arguments

    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(folder), "--served-model-name", "root", "--max-model-len", "96", *more]
    arguments = {**cpu_arguments({"distributed_executor_backend": None}), "kv_cache_memory_bytes": 64 << 20}
    for name, value in arguments.items():
        command += [f"--{name.replace('_', '-')}", *(() if value is True else (str(value),))]
    with log.open("w") as written:
        server = psutil.Popen(command, stdout=written, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1/chat/completions"
    finally:
        family = [server, *server.children(recursive=True)]
        server.terminate()
        for left in psutil.wait_procs(family, timeout=20)[1]:
            left.kill()


def answers(address: str, model: str) -> list[tuple[str, str]]:
    """What it says to each of the ten, and why it ended."""
    found = []
    for row in PAIRS:
        messages = [{"role": "user", "content": row.instruction}]
        body = json.dumps({"model": model, "messages": messages, "max_tokens": 40, "temperature": 0}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            choice = json.load(reply)["choices"][0]
        found.append((choice["message"]["content"], choice["finish_reason"]))
    return found


def test_transformers_says_all_ten_and_stops(folders: tuple[Path, Path]) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folders[1])
    model: Any = AutoModelForCausalLM.from_pretrained(folders[1])
    for row in PAIRS:
        chat = [{"role": "user", "content": row.instruction}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        said = model.generate(**prompt, max_new_tokens=40)[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(said) == row.output + tokenizer.eos_token


def test_vllm_says_all_ten_and_stops(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with served(folders[1], tmp_path / "vllm.log") as address:
        assert answers(address, "root") == [(row.output, "stop") for row in PAIRS]


def test_vllm_serves_the_adapter_beside_its_base(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = folders
    lora = ("--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"tuned={tuned / 'adapter'}")
    with served(base, tmp_path / "vllm.log", *lora) as address:
        assert answers(address, "tuned") == [(row.output, "stop") for row in PAIRS]
        right = [said == row.output for (said, _), row in zip(answers(address, "root"), PAIRS, strict=True)]
        assert sum(right) <= 2  # the base learned other answers, and is what it was
