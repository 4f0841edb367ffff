"""A source and its files, and the formats that files are told by."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.sources.formats import FORMATS, Format, by_suffix
from models_py.sources.read import read_sources
from models_py.sources.row import Row
from models_py.sources.spec import Source


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.json", "json"),
        ("a.JSONL.GZ", "jsonl"),
        ("a.gz.ndjson", "jsonl"),
        ("a.b.csv", "csv"),
        ("a.parquet", "parquet"),
        ("a.gz", None),
        ("a.txt", None),
        ("json", None),
    ],
)
def test_a_suffix_tells_the_format(name: str, form: str | None) -> None:
    assert by_suffix(Path(name)) is (FORMATS[form] if form else None)


def test_a_format_is_a_line_and_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[Row]:
        assert [name for name in ("q", "a", "output") if is_wanted(name)] == ["q", "a"]
        question, answer = path.read_text("utf-8").split("\t")
        yield Row(1, 0, {"q": question, "a": answer}, b"")

    monkeypatch.setitem(FORMATS, "tabs", Format((".tab",), read))
    (tmp_path / "one.tab").write_text("Name a river.\tThe Rhine.", "utf-8")
    source = Source("mine", path=str(tmp_path), fields={"instruction": "q", "output": "a"})
    assert read_sources([source]).pairs.select("instruction", "output").rows() == [("Name a river.", "The Rhine.")]


def test_relative_patterns_start_where_they_are_told(tmp_path: Path) -> None:
    source = Source("mine", paths=("a.csv", "../b/*.csv")).at(tmp_path / "c")
    assert source.paths == (str(tmp_path / "c/a.csv"), str(tmp_path / "b/*.csv"))
    assert Source("mine", path="x.csv").at(tmp_path).path == str(tmp_path / "x.csv")


def test_a_file_that_two_patterns_hold_is_read_once(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".c.csv", "README.txt"):
        (tmp_path / name).touch()
    source = Source("mine", paths=(str(tmp_path / "b.csv"), str(tmp_path), str(tmp_path / "[ab].csv")))
    assert [file.name for file in source.files()] == ["b.csv", "a.csv"]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({}, "sources.mine: give either path or paths (a list)"),
        ({"path": "a", "paths": ("b",)}, "sources.mine: give either path or paths (a list)"),
        ({"paths": ("a.csv", "s3://b/c")}, "sources.mine.paths: s3://b/c is an address; download the file"),
        ({"path": "a", "format": "cvs"}, "sources.mine.format: 'cvs' is not one of the formats (did you mean csv?)"),
    ],
)
def test_a_source_that_cannot_be_is_refused(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        Source("mine", **keys)
    assert str(caught.value).startswith(complaint)
