"""Ids hash what was hashed in the first release, and of what came later only what is used."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.content import FileHashes, fingerprint, fingerprint_of_list, hashed_fields
from tests.support.properties import examples

ALWAYS = ("epochs", "seed")


@dataclass(frozen=True)
class First:
    epochs: float
    seed: int = 0


@dataclass(frozen=True)
class Grown(First):
    packing: bool = False
    layers: list[str] = field(default_factory=list)


def test_a_field_that_is_added_changes_nothing_where_it_is_not_used() -> None:
    assert hashed_fields(First(3.0), ALWAYS) == {"epochs": 3.0, "seed": 0}
    assert hashed_fields(Grown(3.0), ALWAYS) == hashed_fields(First(3.0), ALWAYS)


@pytest.mark.parametrize("used", [{"packing": True}, {"layers": ["q"]}])
def test_a_field_that_is_used_is_hashed(used: dict[str, Any]) -> None:
    assert hashed_fields(Grown(3.0, **used), ALWAYS) == {"epochs": 3.0, "seed": 0, **used}


def test_without_a_first_release_every_default_is_left_out() -> None:
    assert hashed_fields(Grown(3.0, seed=1), ()) == {"epochs": 3.0, "seed": 1}


def test_hashes_are_remembered_in_a_file_that_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    hashes = FileHashes(tmp_path / "hashes.json")
    digest = hashes.of(tmp_path / "weights")
    hashes.save()
    assert FileHashes(tmp_path / "hashes.json")._known[str(tmp_path / "weights")][-1] == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hashes.json", "weights"]


def test_a_file_is_read_again_where_that_is_asked_and_what_it_is_now_is_remembered(tmp_path: Path) -> None:
    weights, memory = tmp_path / "weights", tmp_path / "hashes.json"
    weights.write_text("one")
    first = FileHashes(memory)
    digest = first.of(weights)
    weights.write_text("two")
    first._known[str(weights)][:-1] = FileHashes.seen(weights.stat())  # within one tick of the clock
    first.save()
    assert FileHashes(memory).of(weights) == digest
    again = FileHashes(memory, reread=True)
    assert again.of(weights) != digest
    again.save()
    assert FileHashes(memory).of(weights) == again.of(weights)


def test_a_copy_of_equal_size_and_age_is_another_file(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("one")
    hashes = FileHashes()
    digest, stat = hashes.of(weights), weights.stat()
    (tmp_path / "copy").write_text("two")
    os.utime(tmp_path / "copy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "copy").rename(weights)
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert hashes.of(weights) != digest


@given(st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
@examples(100)
def test_a_list_has_the_fingerprint_of_the_whole_though_it_comes_piece_by_piece(items: list[Any]) -> None:
    assert fingerprint_of_list(iter(items)) == fingerprint(items)
