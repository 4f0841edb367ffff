import errno
from pathlib import Path

import duckdb
import pytest

from models_py.disk import Reserve, says_disk_is_full
from tests.support.disks import fill, small_disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        duckdb.IOException('Could not write file "a.parquet": No space left on device'),
        duckdb.Error("Failed to commit DuckLake transaction: database or disk is full"),
        "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
    ],
    ids=str,
)
def test_a_full_disk_is_told_by_whatever_meets_it(error: BaseException | str) -> None:
    assert says_disk_is_full(error)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("full"), "disk I/O error"])
def test_other_errors_are_not_taken_for_it(error: BaseException | str) -> None:
    assert not says_disk_is_full(error)


def test_a_reserve_holds_room_that_others_cannot_take(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk, Reserve(disk) as reserve:
        reserve.hold(2_000_000)
        assert [*disk.iterdir()] == []
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            (disk / "paid").write_bytes(b"x" * 4096)
        with pytest.raises(OSError, match="No space left"):
            reserve.hold(3_000_000)
        reserve.release()
        (disk / "paid").write_bytes(b"x" * 1_900_000)
        reserve.hold(3_000_000)  # given back for good
