import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from models_py.publish import published_file, published_folder, remove_leftovers, replaced_folder
from tests.conftest import PROJECT


def test_a_folder_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with published_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert (target / "a").read_text() == "1"


def test_a_folder_that_is_replaced_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target, of_another = tmp_path / "target", tmp_path / ".other.partial-1-ab"
    of_another.mkdir()
    (tmp_path / ".target.partial-1-ab").mkdir()  # a killed writer's
    for number in ("1", "2"):
        with replaced_folder(target) as folder:
            (folder / number).write_text(number)
            assert [file.name for file in target.glob("*")] == ([] if number == "1" else ["1"])
        assert [file.name for file in target.iterdir()] == [number]
    assert sorted(tmp_path.iterdir()) == [of_another, target]


def test_a_file_replaces_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    target.write_text("old")
    with published_file(target) as file:
        file.write_text("new")
        assert target.read_text() == "old"
    assert (list(tmp_path.iterdir()), target.read_text()) == ([target], "new")


@pytest.mark.parametrize("publish", [published_folder, published_file])
def test_a_failed_writer_leaves_nothing(
    tmp_path: Path, publish: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(RuntimeError), publish(tmp_path / "target"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from models_py.publish import published_file, published_folder
publish = {"file": published_file, "folder": published_folder}[sys.argv[1]]
with publish(Path(sys.argv[2])) as partial:
    (partial / "a" if partial.is_dir() else partial).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(target)], cwd=PROJECT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [".target.partial"]
    with {"file": published_file, "folder": published_folder}[kind](target):
        pass
    assert list(tmp_path.iterdir()) == [target]


def leftover(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path


@pytest.mark.kill
def test_a_killed_runs_leftover_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, alive = leftover(tmp_path, ".target.partial-1-aa"), leftover(tmp_path, ".target.partial-2-bb")
    other = leftover(tmp_path, ".target2.partial-3-cc")
    holder = os.open(alive, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert remove_leftovers(tmp_path, "target") == [dead]
    assert sorted(tmp_path.iterdir()) == [alive, other]
    assert remove_leftovers(tmp_path) == [other]
    os.close(holder)


def test_a_folder_clears_its_own_shelf_and_a_file_touches_nothing_of_others(tmp_path: Path) -> None:
    other = leftover(tmp_path, ".other.partial-3-cc")
    with published_file(tmp_path / "file"):
        pass
    assert other.exists()
    with published_folder(tmp_path / "folder"):
        pass
    assert not other.exists()


def test_of_folders_the_first_stays_and_of_files_the_last(tmp_path: Path) -> None:
    with published_folder(tmp_path / "folder") as second, published_file(tmp_path / "file") as last:
        (second / "who").write_text("second")
        with published_folder(tmp_path / "folder") as first, published_file(tmp_path / "file") as earlier:
            (first / "who").write_text("first")
            earlier.write_text("earlier")
        last.write_text("last")
    assert ((tmp_path / "folder" / "who").read_text(), (tmp_path / "file").read_text()) == ("first", "last")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_files_are_readable_as_any_other_file(tmp_path: Path) -> None:
    with published_folder(tmp_path / "target") as folder, published_file(tmp_path / "file"):
        (folder / "private").touch(mode=0o600)
        (folder / "plain").write_text("")
    modes = {path.stat().st_mode for path in [*(tmp_path / "target").iterdir(), tmp_path / "file"]}
    assert len(modes) == 1
