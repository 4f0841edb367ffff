"""Ids hash what was hashed in the first release, and of what came later only what is used."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models_py.content import FileHashes, hashed_fields

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
