"""Small Parquet files that unpack to gigabytes: refused in bounded memory, and what is only repetitive is read."""

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from models_py.errors import UserError
from models_py.sources.read import SourcesRead, check_bad_fraction, read_sources
from models_py.sources.spec import Source

MB = 1 << 20


def repeated(value: str, times: int) -> pa.Array:
    """One value so many times, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()).take(pa.array([0] * times)), [value])


# What it holds, and whether equal texts are stored once.
BOMBS: dict[str, tuple[Callable[[], dict[str, Any]], bool]] = {
    "one text of 100 MB": (lambda: {"instruction": ["Name a sea."], "output": ["a" * (100 * MB)]}, False),
    "100 texts of 1 MB": (lambda: {"instruction": ["Name a sea."] * 100, "output": ["a" * MB] * 100}, False),
    "in a chat": (lambda: {"messages": [[{"role": "user", "content": "a" * MB}]] * 100}, False),
    "20 million equal rows": (
        lambda: {"instruction": repeated("Name a sea.", 20_000_000), "output": repeated("Aral", 20_000_000)},
        True,
    ),
    "one text of 1 MB, 400 times": (
        lambda: {"instruction": [str(number) for number in range(400)], "output": repeated("a" * MB, 400)},
        True,
    ),
}


def read(path: Path) -> SourcesRead:
    return read_sources([Source("mine", path=str(path))])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="maxrss is in kilobytes")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_in_a_clear_error_and_bounded_memory(tmp_path: Path, bomb: str) -> None:
    rows, once = BOMBS[bomb]
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pa.table(rows()), path, compression="zstd", use_dictionary=once)
    assert path.stat().st_size < 2 * MB
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 700_000
    told = "the Parquet file unpacks to more than 200 times its size, as no text does; if that is right, write its rows"
    with pytest.raises(UserError, match=told):
        check_bad_fraction(result, 1.0)


def test_a_column_that_is_not_read_may_be_what_it_likes(tmp_path: Path) -> None:
    rows = {"instruction": ["Name a sea."], "output": ["Aral"], "embedding": ["a" * (32 * MB)]}
    parquet.write_table(pa.table(rows), tmp_path / "a.parquet", use_dictionary=False)
    assert read(tmp_path / "a.parquet").pairs["output"].to_list() == ["Aral"]


def test_a_file_that_says_the_same_often_is_read(tmp_path: Path) -> None:
    path = tmp_path / "same.parquet"
    system = "You are a patient teacher of geography. " * 50  # 2,000 characters, in every row
    rows = [f"Name sea number {number * 7919 % 100_003}." for number in range(20_000)]
    parquet.write_table(pa.table({"instruction": [system] * len(rows), "input": rows, "output": rows}), path)
    assert read(path).pairs.height == len(rows)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"{}"])
def test_what_is_no_parquet_is_still_told_as_that(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match="the Parquet file cannot be read"):
        check_bad_fraction(read(tmp_path / "a.parquet"), 1.0)
