"""Folders: what is read, what is left out, and what stops a run before anything is paid."""

import bz2
import gzip
import json
import lzma
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from models_py.errors import UserError
from models_py.sources.read import SourcesRead, check_bad_fraction, read_sources, told
from models_py.sources.spec import Sample, Source

ROWS = [{"instruction": f"Question {number}", "output": f"Answer {number}"} for number in range(6)]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"


def source(path: Path | str, **spec: Any) -> Source:
    return Source("mine", path=str(path), **spec)


def answers(path: Path | str, **spec: Any) -> list[str]:
    result = read_sources([source(path, **spec)])
    assert result.quarantined.is_empty(), result.quarantined["reason"].to_list()
    return result.pairs["output"].to_list()


def refusal(path: Path | str, **spec: Any) -> str:
    with pytest.raises(UserError, match=r"^sources\.mine\.path: ") as caught:
        read_sources([source(path, **spec)])
    return str(caught.value)


def shards(folder: Path, *names: str) -> Path:
    """A row a file, in that order."""
    for name, row in zip(names, ROWS, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(row))
    return folder


# --- what is left out and what is read


def test_papers_and_leftovers_are_left_out_and_told(tmp_path: Path) -> None:
    papers = ["README.md", "LICENSE", "License.txt", "dataset_info.json", "dataset_infos.json", "state.json", "NOTICE"]
    papers += ["._a.jsonl", ".gitattributes", "_SUCCESS", "load.py", "a.jsonl.sha256", "readme.txt"]
    folder = shards(tmp_path, "a.jsonl", "more/b.jsonl", "more/deep/c.jsonl")
    for paper in (*papers, ".ipynb_checkpoints/a-checkpoint.jsonl", "__MACOSX/._a.jsonl"):
        (folder / paper).parent.mkdir(exist_ok=True)
        (folder / paper).write_text("not data")
    # A folder with dataset_info.json and state.json is one that `datasets` saved.
    (folder / "state.json").unlink()
    assert answers(folder) == ["Answer 0", "Answer 1", "Answer 2"]
    result = read_sources([source(folder)])
    left_out = {Path(name).name for name in result.counts[0].files_left_out}
    assert left_out == {*papers, ".ipynb_checkpoints", "__MACOSX"} - {"state.json"}
    assert told(result, [source(folder)])[0].startswith("mine: left out beside the data: ")


def test_files_without_rows_among_others_are_counted_and_named(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl", "b.jsonl")
    for name, content in {"empty.jsonl": "", "blank.jsonl": "\n\n", "head.csv": "instruction,output\n"}.items():
        (folder / name).write_text(content)
    with gzip.open(folder / "packed.jsonl.gz", "wb"):
        pass
    pl.DataFrame({"instruction": [], "output": []}).write_parquet(folder / "none.parquet")
    result = read_sources([source(folder)])
    names = ["blank.jsonl", "empty.jsonl", "head.csv", "none.parquet", "packed.jsonl.gz"]
    (counts,) = result.counts
    assert (counts.row_count, [Path(name).name for name in counts.files_without_rows]) == (2, names)
    assert told(result, [source(folder)]) == [
        f"mine: 5 of its files hold no row: {', '.join(str(folder / name) for name in names)}"
    ]


def test_a_file_behind_a_limit_is_not_called_empty(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl", "b.jsonl")
    (folder / "c.jsonl").touch()
    result = read_sources([Source("mine", path=str(folder), limit=1)])
    assert result.counts[0].files_without_rows == []


def test_a_glob_reads_folders_and_leaves_out_the_same(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl", "more/b.jsonl")
    (folder / "README.md").touch()
    (folder / "._a.jsonl").touch()
    assert answers(folder / "*") == ["Answer 0", "Answer 1"]
    assert answers(folder / "**/*.jsonl") == ["Answer 0", "Answer 1"]


def test_a_link_to_a_folder_above_is_no_trap(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", "a.jsonl")
    (folder / "again").symlink_to(folder)
    assert answers(folder) == ["Answer 0"]


# --- what stops a run


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl")
    (folder / "b.jsonl").write_text(POINTER)
    (folder / "c.jsonl").symlink_to(folder / "gone.jsonl")
    (folder / "d.xlsx").write_text("")
    (folder / "sub").mkdir()
    (folder / "sub" / "e.jsonl.part").write_text("")
    os.mkfifo(folder / "f.jsonl")
    message = refusal(folder)
    for line in (
        f"{folder}/b.jsonl is a git-lfs pointer, not the data; run `git lfs pull`",
        f"{folder}/c.jsonl is a broken link to {folder}/gone.jsonl",
        f"{folder}/d.xlsx ends in none of .json, ",
        f"{folder}/sub/e.jsonl.part ends in none of .json, ",
        f"{folder}/f.jsonl is a pipe, not a file that ends",
    ):
        assert f"\n  {line}" in message
    assert "a.jsonl" not in message.replace("/a.jsonl", "")


def test_problems_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_sources([source(tmp_path / "gone.csv"), Source("other", path=str(tmp_path / "lost.csv"))])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "sources.mine.path",
        "sources.other.path",
    ]


def test_a_damaged_shard_stops_and_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(TEXT.encode())[:-20])
    (folder / "c.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError) as caught:
        check_bad_fraction(read_sources([source(folder)]), 1.0)
    assert [
        name for name in ("a.jsonl", "b.jsonl.gz", "c.parquet") if f"{folder}/{name} cannot" in str(caught.value)
    ] == [
        "b.jsonl.gz",
        "c.parquet",
    ]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "pipe"])
def test_what_never_ends_is_not_opened(tmp_path: Path, device: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    message = refusal(path if device == "pipe" else device, format="jsonl")
    assert "not a file that ends; write its rows to a file" in message


@pytest.mark.parametrize("name", ["a\0b.jsonl", "x" * 5000 + ".jsonl", "x" * 300 + "*.jsonl", "[.jsonl", "'\"#%ü.csv"])
def test_odd_names_are_told_not_raised(tmp_path: Path, name: str) -> None:
    refusal(tmp_path / name)


# --- packings and formats


def zstd(text: bytes) -> bytes:
    return bytes(pa.compress(text, codec="zstd", asbytes=True))


PACKS = [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)]


@pytest.mark.parametrize(("suffix", "pack"), PACKS)
def test_packed_files_are_read_and_broken_ones_are_told(tmp_path: Path, suffix: str, pack: Any) -> None:
    packed = pack(TEXT.encode())
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed)
    (tmp_path / "b.csv").write_bytes(pack(b"instruction,output\nHi?,Hello.\n"))  # told by its content
    assert answers(tmp_path) == [*(row["output"] for row in ROWS), "Hello."]
    long = b"".join(b'{"instruction": "%d", "output": "%d"}\n' % (number, number**7) for number in range(20_000))
    (tmp_path / f"a.jsonl{suffix}").write_bytes(pack(long)[:-40])
    result = read_sources([source(tmp_path / f"a.jsonl{suffix}")])
    assert len(result.unfinished_files) == 1
    assert "file is damaged or breaks off here" in result.quarantined["reason"][-1]


@pytest.mark.parametrize(("suffix", "pack"), PACKS)
def test_what_stands_behind_a_packed_stream_is_another_or_is_told(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    lines = TEXT.encode().splitlines(keepends=True)
    first, second = pack(b"".join(lines[:3])), pack(b"".join(lines[3:]))
    path.write_bytes(first + second)
    assert answers(path) == [row["output"] for row in ROWS]
    for behind in (second[1:], second[:2], second[:-1], b"notes", b"\0\0\0\0notes"):
        path.write_bytes(first + behind)
        result = read_sources([source(path)])
        assert len(result.unfinished_files) == 1, behind
        assert "file is damaged or breaks off here" in result.quarantined["reason"][-1]


@pytest.mark.parametrize(("suffix", "pack"), PACKS)
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_table_that_is_packed_is_to_be_unpacked(tmp_path: Path, form: str, suffix: str, pack: Any) -> None:
    path = tmp_path / f"a.{form}{suffix}"
    path.write_bytes(pack(b"a table"))
    name = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}[suffix]
    result = read_sources([source(path)])
    told = f"the file is packed ({name}), and only text is unpacked here; unpack it"
    assert result.quarantined["reason"].to_list() == [told]
    assert result.unfinished_files == (str(path),)


@pytest.mark.parametrize(("suffix", "pack"), PACKS[:3])
def test_zeros_that_fill_up_a_packed_file_are_nothing(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(TEXT.encode()) + b"\0" * 200_000)
    assert answers(path) == [row["output"] for row in ROWS]


def test_streams_of_one_packing_that_were_joined_with_zeros_between(tmp_path: Path) -> None:
    for pack, suffix in ((bz2.compress, "bz2"), (lzma.compress, "xz")):
        half = len(TEXT) // 2
        packed = b"\0\0\0\0".join(pack(text.encode()) for text in (TEXT[:half], "", TEXT[half:]))
        (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
        assert answers(tmp_path / f"a.jsonl.{suffix}") == [row["output"] for row in ROWS]


def test_arrow_files_and_streams(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**row, "extra": b"\x00"} for row in ROWS])
    for name, new in (("a.arrow", pa.ipc.new_file), ("b.arrow", pa.ipc.new_stream)):
        with new(tmp_path / name, table.schema) as writer:
            for number in range(len(ROWS)):
                writer.write_table(table.slice(number, 1))
        assert answers(tmp_path / name) == [row["output"] for row in ROWS]
    whole = (tmp_path / "b.arrow").read_bytes()
    (tmp_path / "b.arrow").write_bytes(whole[:-8])  # every row is there, and the end is not
    result = read_sources([source(tmp_path / "b.arrow")])
    assert (result.pairs.height, len(result.unfinished_files)) == (6, 1)
    for content in (b"", b"nothing", whole[:-200]):
        (tmp_path / "b.arrow").write_bytes(content)
        assert len(read_sources([source(tmp_path / "b.arrow")]).unfinished_files) == 1


def saved(folder: Path, shards: int = 2) -> Path:
    """What `datasets.save_to_disk` makes."""
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(folder, num_shards=shards)
    return folder


def test_a_saved_data_set_is_read_by_its_own_papers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "set")
    (folder / "cache-0123.arrow").write_text("of an earlier map")
    assert answers(folder) == [row["output"] for row in ROWS]
    (folder / "data-00001-of-00002.arrow").unlink()
    assert "data-00001-of-00002.arrow is missing, and" in refusal(folder)
    (folder / "state.json").write_text("{")
    assert "state.json cannot be read" in refusal(folder)


def test_of_several_splits_one_is_to_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "set" / split, 1)
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert f"holds the splits test, train; name one: {tmp_path}/set/train" in refusal(tmp_path / "set")
    assert len(answers(tmp_path / "set" / "train")) == 6
    shutil.rmtree(tmp_path / "set" / "test")
    assert len(answers(tmp_path / "set")) == 6


# --- a few rows


def test_a_limit_takes_the_first_rows_of_all_files(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl", "b.jsonl", "c.jsonl")
    assert answers(folder, limit=2) == ["Answer 0", "Answer 1"]
    result = read_sources([source(folder, limit=5)])
    assert (result.counts[0].row_count, told(result, [source(folder, limit=5)])) == (3, [])


def test_a_sample_is_drawn_by_its_seed_in_the_order_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"instruction": str(n), "output": "c"}) + "\n" for n in range(500)))

    def drawn(rows: int, seed: int) -> list[int]:
        result: SourcesRead = read_sources([source(path, sample=Sample(rows, seed))])
        assert result.counts[0].rows_seen == 500
        return [int(text) for text in result.pairs["instruction"]]

    first = drawn(50, 1)
    assert first == sorted(first) == drawn(50, 1) and len(set(first)) == 50
    assert drawn(50, 2) != first
    assert drawn(1000, 1) == list(range(500))
    halves = [sum(number < 250 for number in drawn(50, seed)) for seed in range(20)]
    assert 20 < sum(halves) / len(halves) < 30


def test_a_sample_does_not_hide_a_broken_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(TEXT.encode())[:-20])
    result = read_sources([source(tmp_path / "a.jsonl.gz", sample=Sample(1))])
    assert len(result.unfinished_files) == 1


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"limit": 0}, r"sources\.mine\.limit: 0 is no number of rows; use 1 or more"),
        ({"sample": Sample(-1)}, r"sources\.mine\.sample\.rows: -1 is no number of rows"),
        ({"limit": 1, "sample": Sample(1)}, r"sources\.mine\.sample: give limit or sample, not both"),
        ({"fields": {"messages": "a", "input": "b"}}, r"sources\.mine\.fields: input and messages exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused(spec: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        source("a", **spec)


# --- what explodes


def packed(path: Path, unit: bytes, megabytes: int) -> Path:
    block = unit * ((1 << 20) // len(unit))
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(megabytes):
            file.write(block)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unit", "reason"),
    [
        ("bad.jsonl.gz", b"x\n", "sources.mine: given up after 100,000 bad rows of 100,000"),
        ("bad.csv.gz", b'instruction,output\n"a"b,c\n', "sources.mine: given up after 100,000 bad rows"),
        ("blank.jsonl.gz", b"\n", "more than 1,000,000 blank lines one upon the other"),
        ("nul.json.gz", b"\0", "unpacks to more than 200 times its size"),
        ("array.json.gz", b"[1,", "nested too deeply; the file cannot be read any further"),
        ("good.jsonl.gz", b'{"instruction": "a", "output": "' + b"b" * 900 + b'"}\n', "unpacks to more than 200 times"),
    ],
)
def test_a_packed_file_that_explodes_ends_in_a_sentence(tmp_path: Path, name: str, unit: bytes, reason: str) -> None:
    path = packed(tmp_path / name, unit, 100)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError) as caught:
        check_bad_fraction(read_sources([source(path)], max_bad_fraction=0.05), 0.05)
    assert reason in str(caught.value)


def test_a_line_without_an_end_is_left(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jsonl"
    with path.open("wb") as file:
        file.truncate(200 << 30)
    result = read_sources([source(path)])
    assert result.quarantined["reason"].to_list() == ["the line does not end; there are no rows in it"]
