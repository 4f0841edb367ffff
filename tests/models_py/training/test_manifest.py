from pathlib import Path
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.training.manifest import (
    Manifest,
    check_same_origin,
    checkpoint_id,
    package_versions,
    read_manifest,
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
