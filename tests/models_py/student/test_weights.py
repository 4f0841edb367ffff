"""What weight files hold: each type of number, in every kind of file, without a model being loaded."""

import math
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models_py.errors import UserError
from models_py.student import weights as module
from models_py.student.resolve import make_student
from models_py.student.spec import ResolvedStudent, Student
from models_py.student.weights import check_weights, highest_token_id
from tests.models_py.student.test_loading import (
    all_zero,
    copied,
    edit,
    nan_everywhere,
    one_infinity,
    zero_head,
)

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2]
OPEN = Callable[[str], ResolvedStudent]


def written(folder: Path, name: str = "model.safetensors", **tensors: torch.Tensor) -> Path:
    """A file of tensors; `__` in a name stands for a dot."""
    named = {key.replace("__", "."): value for key, value in tensors.items()}
    save_file(named, folder / name) if name.endswith("safetensors") else torch.save(named, folder / name)
    return folder / name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_one_value_without_a_meaning_is_found(tmp_path: Path, dtype: torch.dtype, bad: float, name: str) -> None:
    if name.endswith("bin") and dtype is torch.float8_e5m2:
        pytest.skip("torch itself cannot look for infinities in it")
    values = torch.ones(300, 7, dtype=torch.float32)
    file = written(tmp_path, name, a__weight=values.to(dtype), b__weight=(values + 1).to(dtype))
    check_weights([file], "students.a.model")
    values[299, 6] = bad
    file = written(tmp_path, name, a__weight=torch.ones(2, 2), b__weight=values.to(dtype))
    told = rf"^students\.a\.model: 1 of the 2 weights in {name} hold NaN or infinite values \(first: b\.weight\)"
    with pytest.raises(UserError, match=told):
        check_weights([file], "students.a.model")


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_and_the_smallest_numbers_are_sound(tmp_path: Path, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    numbers = torch.tensor([[info.max, info.min, info.tiny, -info.tiny, 0.0, -0.0]], dtype=torch.float64).to(dtype)
    check_weights([written(tmp_path, a__weight=numbers)], "students.a.model")


def test_nothing_but_zeros_are_found_over_all_files_whatever_their_sign(tmp_path: Path) -> None:
    zeros, norm = torch.zeros(4, 4), torch.ones(4)
    files = [
        written(tmp_path, "model-1.safetensors", a__weight=zeros, norm__weight=norm),
        written(tmp_path, "model-2.safetensors", b__weight=-zeros),
    ]
    with pytest.raises(UserError, match=r"2 of the 3 weights in its 2 weight files are all zero \(first: a\.weight\)"):
        check_weights(files, "students.a.model")
    written(tmp_path, "model-2.safetensors", b__weight=torch.eye(4))
    check_weights(files, "students.a.model")  # an adapter, a gate: some matrices may be zero


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight"])
def test_a_head_or_embeddings_of_zeros_are_found(tmp_path: Path, name: str) -> None:
    save_file({name: torch.zeros(4, 4), "a.weight": torch.ones(4, 4)}, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=rf"1 of the 2 weights in m\.safetensors are all zero \(first: {name}\)"):
        check_weights([tmp_path / "m.safetensors"], "students.a.model")


def test_masks_integers_and_what_cannot_be_read_are_left_alone(tmp_path: Path) -> None:
    mask = torch.full((3, 3), -math.inf)
    check_weights([written(tmp_path, mask=mask, steps=torch.arange(3), a__weight=torch.ones(2, 2))], "students.a.model")
    for number, content in enumerate(
        (b"", b"{}", b"<html>", b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}", b"\7\0\0\0\0\0\0\0[1,2,3]")
    ):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(content)
        check_weights([file], "students.a.model")
        check_weights([file.rename(file.with_suffix(".bin"))], "students.a.model")


@pytest.mark.skipif(sys.platform != "linux", reason="maxrss is in kilobytes")
def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1 << 20)
    file = written(tmp_path, a__weight=torch.ones(256 << 20, dtype=torch.uint8).view(torch.bfloat16).view(-1, 1024))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_weights([file], "students.a.model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (all_zero, "are all zero"),
        (zero_head, "are all zero"),
        (nan_everywhere, "21 of the 21 weights in model.safetensors hold NaN"),
        (one_infinity, r"1 of the 21 weights in model.safetensors hold NaN .*first: model.layers.1.mlp.up_proj"),
    ],
)
def test_a_student_whose_weights_say_nothing_is_not_made_however_often(
    student: OPEN, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], complaint: str
) -> None:
    broken = copied(student("llama"), tmp_path)
    sound = load_file(Path(broken.model) / "model.safetensors")
    edit(broken, change)
    spec = Student(name="llama", model=broken.model, max_length=64)
    for _ in range(2):  # the first look is not remembered
        with pytest.raises(UserError, match=rf"students\.llama\.model: .*{complaint}"):
            make_student(spec, tmp_path / "students")
    save_file(sound, Path(broken.model) / "model.safetensors", {"format": "pt"})
    assert make_student(spec, tmp_path / "students").name == "llama"


def test_weights_are_looked_through_once(student: OPEN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = module._in_file

    def watched(file: Path) -> Iterator[module.Found]:
        seen.append(file.name)
        return real(file)

    monkeypatch.setattr(module, "_in_file", watched)
    spec = Student(name="llama", model=copied(student("llama"), tmp_path).model, max_length=64)
    made = [make_student(spec, tmp_path / "students") for _ in range(3)]
    assert seen == ["model.safetensors"] and made[0] == made[2]


# --- tokens


def test_the_largest_id_is_read_of_every_kind_of_vocabulary(tmp_path: Path) -> None:
    for vocabulary, added, largest in (
        ('{"a": 0, "b": 7}', '[{"id": 3}]', 7),
        ('{"a": 0}', '[{"id": 9}]', 9),
        ('[["a", -1.0], ["b", -2.0]]', "null", 1),
        ("{}", "[]", None),
        ("7", "[]", None),
    ):
        text = f'{{"model": {{"vocab": {vocabulary}}}, "added_tokens": {added}}}'
        (tmp_path / "tokenizer.json").write_text(text)
        assert highest_token_id(tmp_path) == largest
    for text in ("", "{}", "[]", '{"model": null}'):
        (tmp_path / "tokenizer.json").write_text(text)
        assert highest_token_id(tmp_path) is None
    (tmp_path / "tokenizer.json").unlink()
    assert highest_token_id(tmp_path) is None


def test_more_tokens_than_embeddings_are_told_when_the_student_is_made(student: OPEN, tmp_path: Path) -> None:
    broken = copied(student("llama"), tmp_path)
    config = Path(broken.model) / "config.json"
    rows = highest_token_id(Path(broken.model))
    assert rows is not None
    config.write_text(config.read_text().replace(f'"vocab_size": {rows + 1}', f'"vocab_size": {rows - 10}'))
    told = rf"students\.llama\.model: the tokenizer in .* has 11 tokens beyond the model's {rows - 10} embeddings"
    with pytest.raises(UserError, match=told):
        make_student(Student(name="llama", model=broken.model, max_length=64), tmp_path / "students")
