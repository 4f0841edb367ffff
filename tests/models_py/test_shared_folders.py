"""Folders that go from one machine to another by way of a shared place: a folder, a real S3 server."""

from pathlib import Path

import pytest

from models_py.errors import UserError
from models_py.shared_folders import fetch, share


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "shared")
    return f"{root}/checkpoints/paper/3f0a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here" / "3f0a"
    (folder / "adapter").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "z.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "adapter" / "b.json").write_text("[]")
    (folder / "manifest.json").write_text('{"loss": 1}')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sound(_: Path) -> None:
    """Nothing is wrong."""


def test_a_folder_comes_as_it_was_shared_and_is_shared_once(place: str, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "there" / "3f0a"
    assert fetch(place, target, last="manifest.json", wrong=sound) == f"{place} holds no manifest.json"
    assert share(folder, place, last="manifest.json")
    assert not share(folder, place, last="manifest.json")
    assert fetch(place, target, last="manifest.json", wrong=sound) is None
    assert contents(target) == contents(folder)
    (folder / "manifest.json").write_text('{"loss": 2}')  # made anew
    assert share(folder, place, last="manifest.json")


def test_a_copy_that_is_not_what_it_says_is_none(place: str, folder: Path, tmp_path: Path) -> None:
    share(folder, place, last="manifest.json")
    told = fetch(place, tmp_path / "there" / "3f0a", last="manifest.json", wrong=lambda partial: "z is cut")
    assert told == f"{place}: z is cut"
    assert not [*(tmp_path / "there").iterdir()]


def test_a_place_that_cannot_be_used_is_named(s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"s3://nobucket/x cannot be written: .*lake\.checkpoints"):
        share(folder, "s3://nobucket/x", last="manifest.json")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="without a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        share(folder, f"{s3}/x", last="manifest.json")
