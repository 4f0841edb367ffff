import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_py.errors import UserError
from models_py.progress import Progress
from models_py.student.loading import load_chat, load_model
from models_py.student.resolve import find_student, make_student
from models_py.student.scorer import Scorer, ScoreRequest
from models_py.student.scratch import read_corpus, scratch_identity, train_scratch
from models_py.student.spec import ScratchSpec, Student
from tests.support.values import known

# As little as still learns something.
SMALL = ScratchSpec(
    vocab_size=400, hidden_size=16, layers=1, heads=2, window=48, steps=12, batch_size=4, learning_rate=2e-2
)
TOY = Student("toy", scratch=SMALL, max_length=512)


@pytest.fixture(scope="module")
def students_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("students")
    make_student(TOY, directory)
    return directory


def test_the_loss_falls_and_progress_is_told(tmp_path: Path) -> None:
    said: list[Progress] = []
    losses = train_scratch(SMALL, tmp_path / "toy", said.append)
    assert len(losses) == SMALL.steps and sum(losses[-3:]) < sum(losses[:3]) - 0.5
    assert said[-1].share == 1.0 and f"loss {losses[-1]:.2f}" in said[-1].note


def test_the_same_spec_gives_the_same_weights(students_dir: Path, tmp_path: Path) -> None:
    again = make_student(TOY, tmp_path)
    assert again.fingerprint == find_student(TOY, students_dir).fingerprint


def test_plain_transformers_loads_it_and_it_ends_its_turn(students_dir: Path) -> None:
    folder = find_student(TOY, students_dir).model
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    message = {"role": "user", "content": "Name a colour ü漢"}
    prompt = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_tensors="pt")
    assert tokenizer.decode(prompt["input_ids"][0]) == "<|start|><|user|>Name a colour ü漢<|end|><|assistant|>"
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == "<|end|>"
    assert model.generate(**prompt, max_new_tokens=3).shape[1] > prompt["input_ids"].shape[1]


def test_it_scores(students_dir: Path) -> None:
    resolved = find_student(TOY, students_dir)
    chat = load_chat(resolved)
    row = next(Scorer(load_model(resolved, "cpu"), chat).score([ScoreRequest("a", "Name it", "", "The sky")]))
    assert row.status == "ok" and chat.template == resolved.chat_template
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id) == "<|end|>"


def test_a_current_toy_needs_no_torch(students_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models_py.student.resolve import *; "
        "from models_py.student.spec import ScratchSpec; "
        f"print(find_student(Student('toy', scratch={SMALL!r}, max_length=512), Path({str(students_dir)!r}))"
        ".fingerprint); sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == find_student(TOY, students_dir).fingerprint


def test_a_toy_that_nobody_trained_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"students\.toy\.scratch: .* not trained yet; materialize profile/base_students"
    ):
        find_student(TOY, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "*"])
def test_what_was_deleted_of_a_toy_is_made_again(students_dir: Path, tmp_path: Path, lost: str) -> None:
    shutil.copytree(students_dir, tmp_path / "students")
    (toy,) = (folder for folder in (tmp_path / "students").iterdir() if folder.is_dir())
    for path in toy.glob(lost):
        path.unlink()
    with pytest.raises(UserError, match="not trained yet"):
        find_student(TOY, tmp_path / "students")
    assert make_student(TOY, tmp_path / "students").fingerprint == find_student(TOY, students_dir).fingerprint


@pytest.mark.slow
@pytest.mark.kill
def test_a_killed_training_leaves_no_toy_and_the_next_one_clears_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from transformers import PreTrainedTokenizerFast; "
        "from models_py.student.resolve import *; from models_py.student.spec import ScratchSpec; "
        "PreTrainedTokenizerFast.save_pretrained = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        f"make_student(Student('toy', scratch={SMALL!r}, max_length=512), Path({str(tmp_path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert [".partial-" in path.name for path in tmp_path.iterdir()] == [True]
    with pytest.raises(UserError, match="not trained yet"):
        find_student(TOY, tmp_path)
    make_student(TOY, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_the_identity_is_spec_and_text_and_not_where_the_text_lies() -> None:
    assert scratch_identity(SMALL, "a") == scratch_identity(replace(SMALL, texts=(Path("x"),)), "a")
    assert (
        len({scratch_identity(SMALL, "a"), scratch_identity(SMALL, "b"), scratch_identity(known(TOY.scratch), "a")})
        == 2
    )
    assert scratch_identity(replace(SMALL, seed=7), "a") != scratch_identity(SMALL, "a")


def test_pair_files_give_their_strings(tmp_path: Path) -> None:
    rows = [json.dumps({"instruction": "Say hé", "rank": 3, "output": "hé"}), "{broken", "[1]"]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows), "utf-8")
    (tmp_path / "plain.txt").write_text('{"kept": "as it is"}')
    corpus = read_corpus([tmp_path / "pairs.jsonl", tmp_path / "plain.txt"])
    assert corpus.endswith('\n\nSay hé\n\nhé\n\n{"kept": "as it is"}')
    assert len(corpus) > 300_000


def test_a_missing_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scratch\.texts: .*no\.txt cannot be read"):
        read_corpus([tmp_path / "no.txt"])


def test_training_leaves_torch_as_it_found_it(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_scratch(replace(SMALL, steps=1), tmp_path / "toy")
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", "pipe", "folder", "socket"])
def test_a_text_without_an_end_is_told_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with socket.socket(socket.AF_UNIX) as server:
        if name == "pipe":
            os.mkfifo(path)
        elif name == "folder":
            path.mkdir()
        elif name == "socket":
            server.bind(str(path))
        with pytest.raises(UserError, match=rf"scratch\.texts: {path} is no file that ends; write its text to a file"):
            read_corpus([path])


def test_a_text_that_is_too_long_is_told_without_being_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # of zeros; it takes no room
    with pytest.raises(UserError, match=r"scratch\.texts: .*long\.txt is longer than 64 MB"):
        read_corpus([path])
