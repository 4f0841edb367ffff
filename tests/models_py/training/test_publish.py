import fcntl
import os

import pytest

from models_py.training.publish import published_folder, remove_leftovers


def test_a_folder_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "deep" / "target"
    with published_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert (target / "a").read_text() == "1"


def test_a_failed_writer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), published_folder(tmp_path / "target") as folder:
        (folder / "a").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_runs_leftover_goes_and_a_living_ones_stays(tmp_path):
    dead, alive = tmp_path / ".target.partial-1-aa", tmp_path / ".target.partial-2-bb"
    other = tmp_path / ".target2.partial-3-cc"
    for folder in (dead, alive, other):
        folder.mkdir()
    holder = os.open(alive, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert remove_leftovers(tmp_path / "target") == [dead]
    assert sorted(tmp_path.iterdir()) == [alive, other]
    os.close(holder)


def test_who_publishes_first_wins(tmp_path):
    target = tmp_path / "target"
    with published_folder(target) as folder:
        (folder / "who").write_text("second")
        with published_folder(target) as first:
            (first / "who").write_text("first")
    assert (target / "who").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_files_are_readable_as_any_other_file(tmp_path):
    with published_folder(tmp_path / "target") as folder:
        (folder / "private").touch(mode=0o600)
        (folder / "plain").write_text("")
    modes = {path.stat().st_mode for path in (tmp_path / "target").iterdir()}
    assert len(modes) == 1
