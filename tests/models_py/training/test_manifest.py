import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models_py.content import FileHashes
from models_py.errors import UserError
from models_py.training.manifest import (
    Manifest,
    check_same_origin,
    checkpoint_id,
    damage,
    package_versions,
    read_manifest,
    require_better,
    sealed,
    write_manifest,
)
from models_py.training.settings import TrainingSettings

CONTENT = {"loss_before": 5.5, "loss_after": 2.5, "steps": 4, "rows": 8, "dropped": [["p1", "why"]], "seconds": 1.5}


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, {**CONTENT, "recipe": "paper"})
    assert read_manifest(tmp_path) == Manifest(5.5, 2.5, 4, 8, 1.5, (("p1", "why"),), {**CONTENT, "recipe": "paper"})


def test_no_folder_and_an_empty_folder_are_no_checkpoint(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "nowhere") is None


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"in the way: no checkpoint.*remove"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"loss_before": 1}'])
def test_an_unreadable_manifest_names_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json cannot be read.*Remove"):
        read_manifest(tmp_path)


def test_a_nan_never_reaches_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_manifest(tmp_path, {"loss_after": float("nan")})


def test_another_origin_is_refused() -> None:
    found = {"data_version": "a", "student": {"name": "x", "fingerprint": "1"}, "settings": {"epochs": 3}}
    check_same_origin(found, {**found, "recipe": "r", "student": {"fingerprint": "1"}}, Path("c"))
    others = ({"data_version": "b"}, {"student": {"fingerprint": "2"}}, {"settings": {"epochs": 1}})
    for other in (*others, {"settings": {"epochs": 3, "added_later": 1}}):
        with pytest.raises(UserError, match=f"another {next(iter(other))}"):
            check_same_origin(found, {**found, **other}, Path("c"))


def test_the_id_is_that_of_the_first_release() -> None:
    assert checkpoint_id("paper", "v1", "f1", TrainingSettings()) == "3512489b8fa6"
    others: tuple[dict[str, Any], ...] = ({"seed": 1}, {"max_steps": 9})
    ids = {checkpoint_id("paper", "v1", "f1", TrainingSettings(**other)) for other in others}
    assert len(ids) == 2 and "3512489b8fa6" not in ids


def test_versions_name_the_main_packages() -> None:
    assert {"python", "torch", "transformers", "trl"} <= package_versions().keys()


# ── damage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def published(folder: Path) -> Path:
    """A checkpoint as it is published, without a model in it."""
    (folder / "original").mkdir(parents=True)
    for name, text in (("config.json", '{"a": 1}'), ("chat_template.jinja", "{{ x }}"), ("original/log.jsonl", "{}\n")):
        (folder / name).write_text(text)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    write_manifest(folder, sealed(folder, {**CONTENT, "recipe": "paper"}))
    return folder


HEADER = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(16)


def edit(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file's bytes and give it back its time of before."""
    file = folder / name
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(change(file.read_bytes()))
    os.utime(file, ns=times)


def test_a_published_checkpoint_is_whole_and_so_is_none(tmp_path: Path) -> None:
    folder = published(tmp_path / "c")
    assert damage(folder) is None
    assert set(json.loads((folder / "manifest.json").read_text())["files"]) == {
        "config.json",
        "chat_template.jinja",
        "original/log.jsonl",
        "model.safetensors",
    }
    (tmp_path / "empty").mkdir()
    assert [damage(tmp_path / name) for name in ("nowhere", "empty")] == [None, None]
    (folder / "notes.txt").write_text("mine")  # what nobody reads may lie there
    assert damage(folder) is None


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("model.safetensors", lambda b: b[:-1] + b"\x01", "model.safetensors is not what was published"),
        ("model.safetensors", lambda b: b[:-4], "model.safetensors is not what was published"),
        ("model.safetensors", lambda b: b"", "model.safetensors is not what was published"),
        ("config.json", lambda b: b.replace(b"1", b"2"), "config.json is not what was published"),
        ("config.json", lambda b: b + b"\n", "config.json is not what was published"),
        ("chat_template.jinja", lambda b: b"{{ y }}", "chat_template.jinja is not what was published"),
        ("original/log.jsonl", lambda b: b"[]\n", "original/log.jsonl is not what was published"),
        ("manifest.json", lambda b: b.replace(b"2.5", b"2.4"), "manifest.json was edited"),
        ("manifest.json", lambda b: b.replace(b'"paper"', b'"other"'), "manifest.json was edited"),
        ("manifest.json", lambda b: b.replace(b'"seal": "', b'"seal": "0'), "manifest.json was edited"),
        ("manifest.json", lambda b: b[: len(b) // 2], "manifest.json cannot be read"),
        ("manifest.json", lambda b: b"", "manifest.json cannot be read"),
        ("manifest.json", lambda b: b"\xff\xfe", "manifest.json cannot be read"),
        ("manifest.json", lambda b: b"[]", "manifest.json cannot be read"),
        ("manifest.json", lambda b: b"null", "manifest.json cannot be read"),
        ("manifest.json", lambda b: b.replace(b'"dropped": [', b'"dropped": [7, '), "manifest.json cannot be read"),
    ],
)
def test_what_is_cut_or_edited_is_noticed(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], told: str
) -> None:
    folder, hashes = published(tmp_path / "c"), FileHashes()
    assert damage(folder, hashes=hashes) is None
    edit(folder, name, change)
    assert (damage(folder, hashes=hashes) or "").startswith(told)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "chat_template.jinja", "original/log.jsonl"])
def test_what_is_missing_is_noticed(tmp_path: Path, name: str) -> None:
    folder = published(tmp_path / "c")
    (folder / name).unlink()
    assert damage(folder) == f"{name} is missing"


def test_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    folder = published(tmp_path / "c")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    assert damage(folder) == "config.json is not what was published: cut or edited, model.safetensors is missing"


def test_a_checkpoint_without_hashes_is_judged_by_what_shows(tmp_path: Path) -> None:
    """As 0.1 published them: no file is hashed, the lake's copy stands for the manifest."""
    folder = published(tmp_path / "c")
    old = {**CONTENT, "recipe": "paper"}
    write_manifest(folder, old)
    (folder / "tokenizer_config.json").write_text("{}")
    assert damage(folder) is None
    assert damage(folder, recorded=old) is None
    assert damage(folder, recorded={**old, "loss_after": 2.4}) == "manifest.json is not the one that the lake recorded"
    for cut in (WEIGHTS[:-1], WEIGHTS[:30], WEIGHTS[:8], b"1", b"", bytes(40), WEIGHTS + b"0"):
        (folder / "model.safetensors").write_bytes(cut)
        assert damage(folder) == "model.safetensors is cut"
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_text('{"a"')
    assert damage(folder) == "model.safetensors is missing, config.json is no JSON: cut or edited"


@pytest.mark.parametrize(
    ("before", "after"), [(5.96, 83_360.0), (3.0, 3.02), (3.0, float("nan")), (3.0, float("inf")), (float("nan"), 3.0)]
)
def test_a_loss_that_is_worse_is_refused_with_the_remedy(before: float, after: float) -> None:
    with pytest.raises(UserError, match=r"Recipe paper: training diverged.*Lower training\.learning_rate \(now 0\.1\)"):
        require_better(before, after, recipe="paper", learning_rate=0.1)


@pytest.mark.parametrize(("before", "after"), [(5.96, 2.0), (3.0, 3.0), (3.0, 3.0004)])
def test_a_loss_that_is_no_worse_than_rounding_is_taken(before: float, after: float) -> None:
    require_better(before, after, recipe="paper", learning_rate=0.1)
