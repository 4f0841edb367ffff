import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from models_py import content
from models_py.errors import UserError
from models_py.student.architectures import causal_models, reads_gguf
from models_py.student.resolve import _read, _renders_as_at_first, check_student, find_student, make_student
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE, ResolvedStudent, ScratchSpec, Student


@pytest.fixture
def folder(student: Callable[[str], ResolvedStudent], tmp_path: Path) -> Path:
    return Path(shutil.copytree(student("llama").model, tmp_path / "model"))


@pytest.fixture
def spec(folder: Path) -> Student:
    return Student("tiny", model=str(folder), max_length=256)


def found(spec: Student, tmp_path: Path) -> ResolvedStudent:
    return make_student(spec, tmp_path / "students")


def test_a_folder_without_template_gets_the_default(spec: Student, folder: Path, tmp_path: Path) -> None:
    resolved = found(spec, tmp_path)
    assert (resolved.model, resolved.revision, resolved.max_length) == (str(folder), None, 256)
    assert resolved.chat_template == DEFAULT_CHAT_TEMPLATE.read_text("utf-8")


def test_its_own_template_comes_before_the_default(spec: Student, folder: Path, tmp_path: Path) -> None:
    config = folder / "tokenizer_config.json"
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "mine"}]
    for own in ("mine", named):
        config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": own}))
        assert found(spec, tmp_path).chat_template == "mine"
    (folder / "chat_template.jinja").write_text("in a file")
    assert found(spec, tmp_path).chat_template == "in a file"


def test_the_profiles_template_comes_first(spec: Student, folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").write_text("its own")
    (tmp_path / "profile.jinja").write_text("the profile's")
    assert found(replace(spec, chat_template=tmp_path / "profile.jinja"), tmp_path).chat_template == "the profile's"


def test_the_fingerprint_does_not_depend_on_where_the_model_lies(spec: Student, folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    before = found(spec, tmp_path).fingerprint
    assert found(replace(spec, name="other", model=str(moved)), tmp_path).fingerprint == before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_the_fingerprint_depends_on_every_file_that_matters(
    spec: Student, folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / "chat_template.jinja").write_text("one")
    before = found(spec, tmp_path).fingerprint
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"}", b', "more": 1}', 1) if name == "config.json" else content + b" ")
    assert found(spec, tmp_path).fingerprint != before


def test_the_fingerprint_depends_on_every_setting_that_matters(spec: Student, tmp_path: Path) -> None:
    (tmp_path / "ask.jinja").write_text("What asks for {{ answer }}?")
    specs = [spec, replace(spec, max_length=255), replace(spec, dtype="float32")]
    specs.append(replace(spec, reverse_prompt=tmp_path / "ask.jinja"))
    assert len({found(one, tmp_path).fingerprint for one in specs}) == 4


def test_weights_are_hashed_once(spec: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, hashed = found(spec, tmp_path), list[str]()
    real = content.file_sha256

    def watched(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(content, "file_sha256", watched)
    assert found(spec, tmp_path) == first
    assert "model.safetensors" not in hashed


def test_a_damaged_memory_of_hashes_is_made_anew(spec: Student, tmp_path: Path) -> None:
    first = found(spec, tmp_path)
    (tmp_path / "students" / "file_hashes.json").write_text('{"cut')
    assert found(spec, tmp_path) == first


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer*.json", "no tokenizer")],
)
def test_what_a_folder_lacks_is_told(spec: Student, folder: Path, tmp_path: Path, missing: str, complaint: str) -> None:
    for path in folder.glob(missing):
        path.unlink()
    with pytest.raises(UserError, match=rf"students\.tiny\.model: .*{complaint}.*; \w+"):
        found(spec, tmp_path)


def test_a_pointer_in_place_of_weights_is_told(spec: Student, folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n"
    (folder / "model.safetensors").write_text(pointer)
    with pytest.raises(UserError, match=r"model\.safetensors is a git-lfs pointer, not weights; run `git lfs pull`"):
        check_student(spec)


def test_a_missing_part_of_the_weights_is_told(spec: Student, folder: Path) -> None:
    parts = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    (folder / "model.safetensors").rename(folder / parts[0])
    index = {"weight_map": {f"w{n}": part for n, part in enumerate(parts)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=rf"students\.tiny\.model: .* lacks {parts[1]}, .*and 1 more; copy the model"):
        check_student(spec)
    (folder / parts[1]).write_bytes(b"w")
    (folder / parts[2]).symlink_to(folder / "nowhere")
    with pytest.raises(UserError, match=rf"lacks {parts[2]}, which its index names; copy the model"):
        check_student(spec)


def test_weights_that_break_off_are_told(spec: Student, folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    check_student(spec)
    for length in (0, 7, 8, 30, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(
            UserError, match=r"students\.tiny\.model: .*model\.safetensors .*breaks off.*; copy the model"
        ):
            check_student(spec)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"model_type": "clip"}, r"is of the model_type 'clip', which is no causal"),
        ({"model_type": "lama"}, r"'lama', .*\(did you mean \w+\?\); name another model"),
        ({"model_type": "nobodys", "auto_map": {"AutoModelForCausalLM": "theirs.Model"}}, "code that a model brings"),
        ({"architectures": ["LlamaForCausalLM"]}, "config.json names no model_type"),
        ({"model_type": ["llama"]}, "is of the model_type"),
    ],
)
def test_an_architecture_that_nobody_knows_is_told(
    spec: Student, folder: Path, config: dict[str, object], complaint: str
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=complaint):
        check_student(spec)


def test_the_architectures_are_those_of_transformers() -> None:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert causal_models() == MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys()
    assert all(map(reads_gguf, GGUF_SUPPORTED_ARCHITECTURES))
    assert [reads_gguf(name) for name in ("gpt-oss", "qwen2moe", "clip", "")] == [True, True, False, False]


@pytest.mark.slow
def test_a_models_own_chat_template_that_does_not_end_is_told_before_it_is_made(
    spec: Student, folder: Path, tmp_path: Path
) -> None:
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(loop)
    told = r"students\.tiny\.model: the chat template of .* takes more than 2 seconds .*; name another one as "
    with pytest.raises(UserError, match=told + r"students\.tiny\.chat_template"):
        check_student(spec)


def test_broken_files_are_told(spec: Student, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"students\.tiny\.chat_template: .*no\.jinja cannot be read"):
        found(replace(spec, chat_template=tmp_path / "no.jinja"), tmp_path)
    (tmp_path / "own.jinja").write_text("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    with pytest.raises(UserError, match=r"students\.tiny\.chat_template: .*own\.jinja calls itself without end; take"):
        found(replace(spec, chat_template=tmp_path / "own.jinja"), tmp_path)
    with pytest.raises(UserError, match="is a file; give the folder"):
        found(replace(spec, model=str(folder / "config.json")), tmp_path)
    (folder / "config.json").write_text("[1")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        found(spec, tmp_path)


def test_a_max_length_beyond_the_positions_is_told(spec: Student, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_length is 4096, but the model has 512 positions; set"):
        found(replace(spec, max_length=4096), tmp_path)


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 64}, 64),
        ({"max_seq_len": 64}, 64),  # MPT, DBRX
        ({"n_ctx": 64}, 64),
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": -1}, None),
        ({"text_config": None, "max_position_embeddings": 64}, 64),
        ({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 32}, 64),
        ({"text_config": {"max_position_embeddings": 64}}, 64),
        ({"text_config": None}, None),
        ({"max_position_embeddings": 64, "rope_scaling": None}, 64),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 64),
        ({"max_position_embeddings": 64, "rope_parameters": YARN}, 256),
        ({"max_position_embeddings": 64, "rope_parameters": {**YARN, "original_max_position_embeddings": 32}}, 128),
        ({"max_position_embeddings": 64, "rope_parameters": {**YARN, "original_max_position_embeddings": 8}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 2}}, 128),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3]}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 64),
        ({"max_position_embeddings": 64, "rope_parameters": {"full_attention": YARN, "sliding_attention": {}}}, 256),
        ({"text_config": {"max_position_embeddings": 64, "rope_parameters": YARN}}, 256),
    ],
)
def test_the_positions_of_a_model_are_found_whatever_its_config_calls_them(
    spec: Student, folder: Path, tmp_path: Path, config: dict[str, Any], limit: int | None
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    assert found(replace(spec, max_length=limit or 99_999), tmp_path).max_length == limit or 99_999
    if limit:
        with pytest.raises(
            UserError, match=rf"students\.tiny\.max_length is {limit + 1}, but the model has {limit} pos"
        ):
            found(replace(spec, max_length=limit + 1), tmp_path)


@pytest.mark.parametrize("model", ["nobody/nothing", "./no/such/folder", "/no/such/folder"])
def test_a_model_that_is_nowhere_is_told(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"students\.tiny\.model: .* is no folder here and cannot be fetched"):
        found(Student("tiny", model=model), tmp_path)


@pytest.mark.parametrize("model", ["nobody/nothing", "./no/such/folder"])
def test_what_was_never_fetched_is_not_found(tmp_path: Path, model: str) -> None:
    with pytest.raises(UserError, match=r"no folder here and was not fetched .*materialize profile/base_students"):
        find_student(Student("tiny", model=model), tmp_path)


def test_what_is_wrong_shows_before_anything_is_made(spec: Student, folder: Path, tmp_path: Path) -> None:
    check_student(spec)
    toy = Student("tiny", scratch=ScratchSpec(texts=(tmp_path / "no.txt",)))
    (folder / "model.safetensors").unlink()
    for wrong, complaint in (
        (spec, "no weights"),
        (toy, r"no\.txt cannot be read"),
        (replace(toy, scratch=ScratchSpec(), chat_template=tmp_path / "no.jinja"), "no.jinja cannot be read"),
    ):
        with pytest.raises(UserError, match=complaint):
            check_student(wrong)


@dataclass(frozen=True, slots=True)
class LaterStudent(Student):
    """As a student may be one day."""

    sliding_window: int = 0


def test_a_field_of_a_later_release_changes_the_fingerprint_of_those_who_use_it(spec: Student, tmp_path: Path) -> None:
    of_today = {field.name: getattr(spec, field.name) for field in fields(spec)}
    assert found(LaterStudent(**of_today), tmp_path) == found(spec, tmp_path)
    assert found(LaterStudent(**of_today, sliding_window=9), tmp_path).fingerprint != found(spec, tmp_path).fingerprint


@pytest.mark.parametrize("more", [{"scratch": ScratchSpec()}, {"model": None}])
def test_model_or_scratch_and_not_both(spec: Student, more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"students\.tiny: give either model"):
        replace(spec, **more)


def test_a_folder_resolves_without_torch(spec: Student, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models_py.student.resolve import *; "
        f"find_student(Student('tiny', model={spec.model!r}, max_length=256), Path({str(tmp_path)!r})); "
        "sys.exit(bool({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_templates_that_ask_for_something_else_than_an_answer_have_another_fingerprint(tmp_path: Path) -> None:
    """The first release gave them 3c233ddd and 3f62d34b: where the first changes, everybody scores again."""
    asks = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    asks += "{{ '<|assistant|>' if add_generation_prompt }}"
    thinks = asks.replace("<|assistant|>' if", "<|assistant|><think>' if")
    prints = []
    for name in ("tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"):
        (tmp_path / name).write_text("{}")
    for template in (asks, thinks):
        (tmp_path / "chat_template.jinja").write_text(template)
        prints.append(found(Student("tiny", model=str(tmp_path), max_length=256), tmp_path).fingerprint[:8])
    assert prints == ["3c233ddd", "cb6ba3e9"]


@pytest.mark.parametrize(
    ("tokenizer", "spaces"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]}}, True),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}}, True),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, True),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "decoder": {"add_prefix_space": True}},
            False,
        ),
        (None, True),
    ],
)
def test_a_space_that_the_tokenizer_writes_anyhow_changes_no_fingerprint(
    tmp_path: Path, tokenizer: dict[str, Any] | None, spaces: bool
) -> None:
    asks = "'[INST] ' + m.content + ' [/INST]' if m.role == 'user'"
    own = "{% for m in messages %}{{ " + asks + " else ' ' + m.content }}{% endfor %}"
    for name in ("tokenizer_config.json", "model.safetensors", "config.json", "tokenizer.model"):
        (tmp_path / name).write_text("{}")
    if tokenizer is not None:
        (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    prints = []
    for template in (own, own.replace("else ' ' + ", "else ")):
        (tmp_path / "chat_template.jinja").write_text(template)
        read = _read(Student("tiny", model=str(tmp_path), max_length=256), tmp_path)
        prints.append(_renders_as_at_first(read))
    assert prints == [spaces, True]


@pytest.mark.parametrize("own", ["{% if %}", "no text", "{{ messages[0].content }}<think>"])
def test_a_template_that_no_answer_can_follow_shows_before_anything_is_made(
    spec: Student, folder: Path, own: str
) -> None:
    (folder / "chat_template.jinja").write_text(own)
    with pytest.raises(UserError, match=r"students\.tiny: the student's chat template"):
        check_student(spec)
