"""What the engine `vllm` says of itself without vLLM: nothing is loaded here."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models_py import content
from models_py.errors import UserError
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.open_teacher import open_teacher
from models_py.teacher.spec import TeacherSpec, VllmSettings
from tests.support.engines import request

SHARD = "model-00001-of-2.safetensors"


@pytest.fixture
def settings(tmp_path: Path) -> VllmSettings:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(name)
    return VllmSettings(model=str(folder))


def identity(settings: VllmSettings, warehouse: Path | None = None) -> str:
    ledger = LedgerPlace(warehouse / "teacher.sqlite") if warehouse else None
    return open_teacher(TeacherSpec("local", settings), ledger).engine.identity


def test_a_hub_model_is_known_by_its_id_and_revision() -> None:
    assert identity(VllmSettings(model="Qwen/Qwen3-8B")) == "Qwen/Qwen3-8B"
    assert identity(VllmSettings(model="Qwen/Qwen3-8B", revision="b968826")) == "Qwen/Qwen3-8B@b968826"


def test_a_folder_is_known_by_its_name_and_what_it_holds(settings: VllmSettings, tmp_path: Path) -> None:
    first = identity(settings)
    assert first.startswith("tiny:")
    moved = shutil.copytree(settings.model, tmp_path / "elsewhere" / "tiny")
    assert identity(replace(settings, model=str(moved))) == first
    (moved / "model.safetensors").write_text("other weights")
    assert identity(replace(settings, model=str(moved))) != first


def test_a_gguf_file_is_known_by_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    first, moved, other = (tmp_path / name / "m.gguf" for name in ("a", "b", "c"))
    for file, bytes_ in ((first, b"GGUF1"), (moved, b"GGUF1"), (other, b"GGUF2")):
        file.parent.mkdir()
        file.write_bytes(bytes_)
    found = [identity(VllmSettings(model=str(file))) for file in (first, moved, other)]
    assert found[0] == found[1] != found[2]
    assert found[0].startswith("m.gguf:")


def test_a_gguf_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"^teachers\.local\.model: .*m\.gguf is no GGUF file"):
        identity(VllmSettings(model=str(tmp_path / "m.gguf")))
    with pytest.raises(UserError, match=r"^teachers\.local\.model: there is no Python package 'no_such'"):
        identity(VllmSettings(model="package:no_such/m.gguf"))


def test_another_template_is_another_teacher(settings: VllmSettings, tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_text("a")
    (tmp_path / "b.jinja").write_text("b")
    templates = [None, tmp_path / "a.jinja", tmp_path / "b.jinja"]
    assert len({identity(replace(settings, chat_template=template)) for template in templates}) == 3


def test_weights_are_read_once_a_warehouse(
    settings: VllmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(settings, tmp_path)
    monkeypatch.setattr(content, "file_sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert identity(settings, tmp_path) == first


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "holds no config.json; name what save_pretrained wrote, or a hub id"),
        ({"config.json": b"{}"}, r"holds no weights \(\*\.safetensors\); copy the whole model"),
        (
            {
                "config.json": b"{}",
                SHARD: b"",
                "model.safetensors.index.json": json.dumps({"weight_map": {"a": SHARD, "b": "b.safetensors"}}).encode(),
            },
            r"holds no b\.safetensors; copy the whole model",
        ),
        ({"config.json": b"{}", "model.safetensors": b"\x02"}, r"model\.safetensors .*; copy it again"),
    ],
)
def test_a_model_that_is_not_whole_is_told_before_anything_is_asked(
    files: dict[str, bytes], complaint: str, tmp_path: Path
) -> None:
    for name, content_ in files.items():
        (tmp_path / name).write_bytes(content_)
    with pytest.raises(UserError, match=rf"^teachers\.local\.model: .*{complaint}"):
        TeacherSpec("local", VllmSettings(model=str(tmp_path))).open_engine(None).check_ready()


def test_a_gguf_file_that_breaks_off_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    engine = TeacherSpec("local", VllmSettings(model=str(tmp_path / "m.gguf"))).open_engine(None)
    with pytest.raises(UserError, match=r"^teachers\.local\.model: .*m\.gguf is no whole GGUF file"):
        engine.check_ready()
    TeacherSpec("local", VllmSettings(model="Qwen/Qwen3-8B")).open_engine(None).check_ready()


@pytest.mark.parametrize("field", ["model", "chat_template"])
def test_a_path_that_is_nowhere_is_told(settings: VllmSettings, tmp_path: Path, field: str) -> None:
    missing = tmp_path / "missing"
    value: Any = str(missing) if field == "model" else missing
    with pytest.raises(UserError, match=rf"^teachers\.local\.{field}: .*missing cannot be read"):
        identity(replace(settings, **{field: value}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"engine_args": {"max_model_len": 64}}, "engine_args.max_model_len: 64 belongs in `max_length`"),
        ({"engine_args": {"trust_remote_code": True}}, "trust_remote_code: True is not taken: code .* is never run"),
        ({"max_length": 0}, "max_length: 0 is below 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: VllmSettings, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        replace(settings, **changes)


def test_a_missing_vllm_is_told_with_the_command_that_installs_it(
    settings: VllmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    engine = open_teacher(TeacherSpec("local", settings)).engine
    with pytest.raises(UserError, match=r"^teachers\.local\.engine: vLLM is not installed\. `make setup WITH=vllm`"):
        next(engine.ask([request()], Event()))
