"""What `datasets` makes of the files: the declared types, whatever the first rows hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, load_dataset
from huggingface_hub import DatasetCard

from models_py.card_text import SourceOfRows
from models_py.export.card import CardFacts, card
from models_py.export.data_files import FILES, Written, features, write_data
from models_py.export.shapes import ALPACA, CANDIDATES, MESSAGES, PREFERENCE, SHAPES, SHAREGPT, Shape
from tests.models_py.export.test_shapes import CHAT, CONTEST, GREETED, PLAIN

BOTH = ("system", "history")


def write(folder: Path, shape: Shape, rows: list[dict[str, Any]], files: str = "parquet", **options: Any) -> Written:
    """The data set of these rows, with a card."""
    file = f"data/train.{files}"
    written = write_data(folder / file, shape, rows, **options)
    facts = CardFacts(
        name="mine",
        shape=shape,
        what="Rows.",
        place=str(folder),
        files={"default": (file, written)},
        counts=[("rows", "1")],
        lineage=[("teacher", "a | b")],
        policy="All.",
        sources=[SourceOfRows("a|b\nc", 1, None)],
        rights="None known.",
    )
    (folder / "README.md").write_text(card(facts), "utf-8")
    return written


def load(folder: Path, cache: Path, name: str | None = None) -> Any:
    return load_dataset(str(folder), name, split="train", cache_dir=str(cache))


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_datasets_reads_what_was_written(shape: Shape, files: str, tmp_path: Path) -> None:
    rows = [CONTEST, CONTEST] if shape is PREFERENCE else [PLAIN, CHAT]
    written = write(tmp_path / "out", shape, rows, files, used=BOTH)
    loaded = load(tmp_path / "out", tmp_path / "cache")
    assert loaded.to_list() == [shape.record(row) for row in rows]
    assert loaded.features == Features._from_yaml_list(features(written.columns))


@pytest.mark.parametrize("files", FILES)
def test_the_types_are_the_declared_ones_where_the_first_rows_have_nothing(files: str, tmp_path: Path) -> None:
    early = [{**PLAIN, "rank": rank, "output": "long " * 2_000} for rank in range(1_200)]  # more than one block of JSON
    write(tmp_path / "out", ALPACA, [*early, {**CHAT, "r_ifd": 0.25}], files, used=BOTH)
    loaded = load(tmp_path / "out", tmp_path / "cache")
    assert loaded[-1]["history"] == [["Hi", "Hello"]] and loaded[-1]["r_ifd"] == 0.25
    assert loaded[0]["history"] == [] and loaded[0]["r_ifd"] is None


@pytest.mark.parametrize("files", FILES)
def test_the_same_rows_give_the_same_bytes(files: str, tmp_path: Path) -> None:
    written = [write(tmp_path / name, MESSAGES, [PLAIN, CHAT], files) for name in ("a", "b")]
    first, second = ((tmp_path / name / f"data/train.{files}").read_bytes() for name in ("a", "b"))
    assert first == second and written[0] == written[1]
    other = write_data(tmp_path / f"other.{FILES[files == FILES[0]]}", MESSAGES, [PLAIN, CHAT])
    assert other.content == written[0].content
    assert write_data(tmp_path / "swapped.jsonl", MESSAGES, [CHAT, PLAIN]).content != other.content


def test_columns_that_nobody_uses_are_left_out(tmp_path: Path) -> None:
    written = write_data(tmp_path / "plain.jsonl", ALPACA, [PLAIN])
    assert [*written.columns][:4] == ["instruction", "input", "output", "rank"]
    assert set(json.loads((tmp_path / "plain.jsonl").read_text())) == set(written.columns)


def test_what_is_left_out_or_odd_is_counted(tmp_path: Path) -> None:
    reason = "user and assistant do not speak in turn, the user first"
    written = write_data(tmp_path / "a.jsonl", ALPACA, [GREETED, PLAIN, GREETED], used=BOTH)
    assert (written.rows, written.left_out, written.remarks) == (1, {reason: 2}, {})
    written = write_data(tmp_path / "b.jsonl", SHAREGPT, [GREETED, {**PLAIN, "ifd": float("inf")}])
    assert written.rows == 2 and not written.left_out
    assert [*written.remarks.values()] == [1, 1]
    assert json.loads((tmp_path / "b.jsonl").read_text().splitlines()[1])["ifd"] is None


def test_odd_texts_stay_as_they_are(tmp_path: Path) -> None:
    texts = ["a\r\nb\u2028c", '"quoted"\\', "日本 🌊", " blank ", "<|im_start|>", "---\nyaml: no"]
    for files in FILES:
        rows = [{**PLAIN, "instruction": text, "output": text} for text in texts]
        write(tmp_path / files, ALPACA, rows, files)
        assert load(tmp_path / files, tmp_path / "cache")["output"][:] == texts


def test_the_card_says_what_is_known_and_breaks_no_table(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, [CHAT])
    text = (tmp_path / "README.md").read_text()
    front: dict[str, Any] = DatasetCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert front["license"] == "unknown" and front["size_categories"] == ["n<1K"]
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train.parquet"}], "default": True}
    ]
    assert "| a\\|b c | 1 | not stated |" in text and "| teacher | a \\| b |" in text
    assert "| `messages` | list of {role, content} |" in text


def test_all_candidates_have_types(tmp_path: Path) -> None:
    row = {**CHAT, **{name: None for name in CANDIDATES.columns if name not in CHAT}}
    written = write_data(tmp_path / "train.parquet", CANDIDATES, [row], used=BOTH)
    loaded = Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == [CANDIDATES.record(row)]
    assert loaded.features == Features._from_yaml_list(features(written.columns))
