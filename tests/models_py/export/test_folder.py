"""A folder of an export gives way to the next one; what anybody else put there does not."""

from pathlib import Path

import pytest

from models_py.errors import UserError
from models_py.export.folder import MARK, check_place, export_folder, files_of, seal


def export(target: Path, text: str) -> Path:
    with export_folder(target) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "train.jsonl").write_text(text)
        seal(folder, {"recipe": "paper"})
    return target


def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    target = export(tmp_path / "deep" / "out", "one")
    with export_folder(target) as folder:
        (folder / "README.md").write_text("two")
        seal(folder, {})
        assert (target / "data" / "train.jsonl").read_text() == "one"
    assert files_of(target) == [MARK, "README.md"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_one_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    target = export(tmp_path / "out", "one")
    with pytest.raises(ZeroDivisionError), export_folder(target) as folder:
        (folder / "half").write_text("two")
        raise ZeroDivisionError
    assert (target / "data" / "train.jsonl").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert files_of(export(tmp_path / "out", "one")) == [MARK, "data/train.jsonl"]


def test_what_no_export_wrote_stays(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"own holds what no export wrote: notes\.txt\. Name another folder"):
        check_place(own)
    added = export(tmp_path / "added", "one")
    (added / "more").mkdir()
    (added / "more" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"added holds what no export wrote: more/notes\.txt\."):
        export(added, "two")
    edited = export(tmp_path / "edited", "one")
    (edited / "data" / "train.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"edited: data/train\.jsonl is not what the export wrote"):
        check_place(edited)
    (own / "notes.txt").rename(own / MARK)
    with pytest.raises(UserError, match=r"holds what no export wrote: \.export\.json"):
        check_place(own)
    (tmp_path / "hollow" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="hollow holds what no export wrote: empty folders"):
        check_place(tmp_path / "hollow")


def test_places_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(UserError, match=f"{name} is no folder of its own; name one that is not there yet"):
            check_place(tmp_path / name)
    with pytest.raises(UserError, match="file/out cannot be "), export_folder(tmp_path / "file" / "out"):
        pass
