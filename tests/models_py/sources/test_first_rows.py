"""A field that a source names and no row has: told by the first rows, with what there is."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from models_py.errors import UserError
from models_py.sources.first_rows import check_fields
from models_py.sources.spec import Source

ROW = {"question": "Why?", "answer": "So.", "context": "Here."}
SOUND = {"instruction": "question", "output": "answer"}


def write(folder: Path, name: str) -> Path:
    """One row in that format."""
    file, text = folder / name, json.dumps(ROW) + "\n"
    match name.split(".", 1)[1]:
        case "jsonl" | "txt":
            file.write_text(text)
        case "jsonl.gz":
            file.write_bytes(gzip.compress(text.encode()))
        case "json":
            file.write_text(json.dumps([ROW, ROW]))
        case "csv":
            file.write_text("question,answer,context\nWhy?,So.,Here.\n")
        case "tsv":
            file.write_text("question\tanswer\tcontext\nWhy?\tSo.\tHere.\n")
        case "parquet":
            pl.DataFrame([ROW]).write_parquet(file)
        case "arrow":
            pl.DataFrame([ROW]).write_ipc(file)
    return file


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.tsv", "a.parquet", "a.arrow"])
def test_in_every_format(tmp_path: Path, name: str) -> None:
    file = str(write(tmp_path, name))
    check_fields(Source("mine", path=file))
    check_fields(Source("mine", path=file, fields=SOUND | {"input": "context"}))
    with pytest.raises(UserError) as caught:
        check_fields(
            Source("mine", path=file, fields={"instruction": "qestion", "output": "answer", "input": "Context"})
        )
    assert str(caught.value).splitlines() == [
        f"sources.mine.fields.instruction: no row of {file} has a field 'qestion' (did you mean question?); "
        "there are: answer, context, question",
        f"sources.mine.fields.input: no row of {file} has a field 'Context' (did you mean context?); "
        "there are: answer, context, question",
    ]


def test_the_format_that_the_source_names_counts(tmp_path: Path) -> None:
    file = write(tmp_path, "a.txt")
    check_fields(Source("mine", path=str(file), format="jsonl", fields=SOUND))
    with pytest.raises(UserError, match=r"fields\.output: .* 'reply'"):
        check_fields(Source("mine", path=str(file), format="jsonl", fields=SOUND | {"output": "reply"}))


def test_what_may_be_missing_is_looked_for_in_all_files(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"question": "Who?", "answer": "I."}\n')
    source = Source("mine", path=str(tmp_path), fields=SOUND | {"input": "context"})
    check_fields(source)
    (tmp_path / "a.jsonl").write_text('{"question": "Who?", "answer": "I.", "kind": 1}\n')
    with pytest.raises(
        UserError, match=r"fields\.input: no row of .*a\.jsonl \(and 1 more files\) has a field 'context'"
    ):
        check_fields(source)


def test_a_field_of_later_rows_is_found_among_the_first(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    bare, full = '{"question": "Who?", "answer": "I."}\n', json.dumps(ROW) + "\n"
    source = Source("mine", path=str(file), fields=SOUND | {"input": "context"})
    file.write_text(bare * 199 + full)
    check_fields(source)
    file.write_text(bare * 200 + full)
    with pytest.raises(UserError, match="context"):
        check_fields(source)


@pytest.mark.parametrize("content", ["", "{\n", "[1, 2]\n", "\x00\x01"])
def test_a_file_without_fields_is_told_elsewhere(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    check_fields(Source("mine", path=str(tmp_path / "a.jsonl"), fields=SOUND))


def test_the_turns_of_a_files_only_chat_are_not_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 7, "talk": [{"role": "user", "content": "Why?"}]}))
    check_fields(Source("mine", path=str(tmp_path / "a.jsonl"), fields={"messages": "talk"}))


def test_a_chat_is_a_field_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"talk": [], "topic": "rivers"}\n')
    check_fields(Source("mine", path=str(tmp_path / "a.jsonl"), fields={"messages": "talk", "category": "topic"}))
    with pytest.raises(UserError, match=r"fields\.messages: .*'talks' \(did you mean talk\?\)"):
        check_fields(Source("mine", path=str(tmp_path / "a.jsonl"), fields={"messages": "talks"}))
