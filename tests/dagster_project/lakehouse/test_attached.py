"""Attached lakes are kept: one attachment for many operations, in nobody's way, and never of a lake that is gone."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from dagster_project.lakehouse import attached
from dagster_project.lakehouse.attached import Instance, Setting
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError
from tests.support.disks import small_disk
from tests.support.lakes import append, attachment, ids
from tests.support.processes import finish, python

HOST = socket.gethostname()
APPEND = """
import sys
from pathlib import Path
from dagster_project.lakehouse.lake import Lake
from tests.support.lakes import append

append(Lake(Path(sys.argv[1])), "theirs")
"""


def test_reading_and_writing_attach_once_each(written_lake: Lake) -> None:
    reading, writing = attachment(written_lake), attachment(written_lake, read_only=False)
    append(written_lake, "more")
    assert ids(written_lake) == ["more", "whole"]
    assert (attachment(written_lake), attachment(written_lake, read_only=False)) == (reading, writing)
    assert reading != writing


def test_two_who_read_at_once_are_not_in_one_connection(written_lake: Lake) -> None:
    with written_lake.connect() as first, written_lake.connect() as second:
        assert first is not second


def test_what_others_commit_is_seen_and_kept_attachments_hold_nobody_up(written_lake: Lake) -> None:
    assert ids(written_lake) == ["whole"]
    finish(python(APPEND, written_lake.warehouse))
    assert ids(written_lake) == ["theirs", "whole"]
    append(written_lake, "ours")
    assert ids(written_lake) == ["ours", "theirs", "whole"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for open files in /proc")
def test_a_result_read_in_part_leaves_the_catalog_closed(written_lake: Lake) -> None:
    append(written_lake, "more")
    assert written_lake.scalar("select pair_id from raw.raw_pairs order by all") == "more"
    links = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert written_lake.warehouse not in {link.parent for link in links}


@pytest.mark.parametrize("made_again", [True, False])
def test_a_lake_that_was_deleted_is_never_answered_for(written_lake: Lake, tmp_path: Path, made_again: bool) -> None:
    assert ids(written_lake) == ["whole"]
    new = Lake(tmp_path / "new")
    append(new, "anew")
    shutil.rmtree(written_lake.warehouse)
    if made_again:
        shutil.copytree(new.warehouse, written_lake.warehouse)
        assert ids(written_lake) == ["anew"]
    else:
        with pytest.raises(UserError, match="There is no lake at"):
            ids(written_lake)


def test_a_catalog_that_was_restored_is_read_as_it_is(written_lake: Lake) -> None:
    """Snapshots are numbered alike in both histories."""
    catalog = written_lake.warehouse / "catalog.sqlite"
    count = "select count(*) from raw.raw_pairs"
    append(written_lake, "older")
    assert written_lake.recall(count).item() == 2
    backup = shutil.copy(catalog, written_lake.warehouse / "backup")
    append(written_lake, "lost")
    assert (ids(written_lake), written_lake.recall(count).item()) == (["lost", "older", "whole"], 3)
    shutil.copy(backup, catalog)
    finish(python(APPEND.replace('"theirs"', '"theirs", "and more"'), written_lake.warehouse))
    assert ids(written_lake) == ["and more", "older", "theirs", "whole"]
    assert written_lake.recall(count).item() == 4


def test_more_lakes_than_are_kept_are_all_answered_for(empty_warehouse: Path, tmp_path: Path) -> None:
    lakes = [Lake(shutil.copytree(empty_warehouse, tmp_path / str(number))) for number in range(5)]
    for number, lake in enumerate(lakes):
        append(lake, str(number))
    assert [ids(lake) for lake in lakes] == [[str(number)] for number in range(5)]


def spilled(lake: Lake) -> list[str]:
    return sorted(path.name for path in lake.warehouse.glob("spill-*"))


OUTGROWN = (
    "create or replace temp table sorted as select md5(i::varchar) as text from range(3_000_000) t(i) order by text"
)


def spilling(lake: Lake) -> Instance:
    instance = Instance(Setting((), "100MB"))
    instance.spill_to(lake.warehouse)
    return instance


def test_many_lakes_share_a_few_instances_and_each_has_its_own_folder_to_spill_to(tmp_path: Path) -> None:
    for number in range(5):
        lake = Lake(tmp_path / str(number), memory_limit="777MB")
        lake.prepare()
        with lake.connect() as connection:
            (spill,) = connection.execute("select current_setting('temp_directory')").fetchone() or ("",)
        assert Path(spill).parent == lake.warehouse
    assert 1 <= sum(one.setting.memory_limit == "777MB" for one in attached._idle) <= 3


def test_what_outgrows_the_memory_limit_waits_in_the_warehouse_and_is_gone_afterwards(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(tmp_path / "warehouse", memory_limit="100MB")
    lake.prepare()
    instance = spilling(lake)
    instance.connection.execute(OUTGROWN)
    [folder] = spilled(lake)
    assert folder.startswith(f"spill-{HOST}-{os.getpid()}-") and any((lake.warehouse / folder).iterdir())
    instance.close()
    assert spilled(lake) == []
    assert capfd.readouterr().out == ""


def test_a_query_that_cannot_wait_on_the_disk_names_the_limit(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "warehouse", memory_limit="60MB")
    lake.prepare()
    one_value = "select length(string_agg(md5(i::varchar), '')) from range(4_000_000) as numbers (i)"
    with pytest.raises(UserError, match=r"its limit \(60MB\) at once, .* Raise `lake: \{memory_limit: \.\.\.\}`"):
        lake.scalar(one_value)


def test_of_two_queries_that_outgrow_it_at_once_neither_takes_the_others_files(written_lake: Lake) -> None:
    instances = [spilling(written_lake) for _ in range(2)]
    for instance in instances:
        instance.connection.execute(OUTGROWN)
    assert len(spilled(written_lake)) == 2
    rows = [one.connection.execute("select count(distinct text) from sorted").fetchone() for one in instances]
    assert rows == [(3_000_000,), (3_000_000,)]
    for instance in instances:
        instance.close()


def test_what_a_killed_process_had_written_there_is_removed_and_no_others(written_lake: Lake) -> None:
    gone = finish(python("import os; print(os.getpid())")).strip()
    names = [f"spill-{HOST}-{pid}-0" for pid in (gone, os.getpid())]
    names += [f"spill-another-host-{gone}-0", f"spill-another-host-{gone}-1", f"spill-{gone}-0"]
    for name in names:
        (written_lake.warehouse / name).mkdir()
    for name in names[3:]:
        os.utime(written_lake.warehouse / name, (0, 0))
    Lake(written_lake.warehouse).prepare()
    assert spilled(written_lake) == sorted([names[1], names[2]])


def test_rows_that_are_set_aside_are_read_in_their_order_and_gone_afterwards(written_lake: Lake) -> None:
    with written_lake.set_aside("select unnest(range(100_000)) as n, 'it''s' as word order by n desc") as file:
        assert file.parent.name in spilled(written_lake)
        frames = [*written_lake.batches(f"select n from read_parquet('{file}')", rows=10_000)]
        assert len(frames) > 1
        assert [n for frame in frames for n in frame["n"]] == [*range(99_999, -1, -1)]
    assert spilled(written_lake) == []
    with pytest.raises(ZeroDivisionError), written_lake.set_aside("select 1"):
        raise ZeroDivisionError
    assert spilled(written_lake) == []


def test_what_fits_neither_memory_nor_disk_names_the_disk(tmp_path: Path) -> None:
    large = "select md5(i::varchar) as text from range(4_000_000) t(i)"
    with small_disk(tmp_path / "disk", megabytes=40) as disk:
        lake = Lake(disk / "warehouse", memory_limit="60MB")
        append(lake, "whole")
        full = r"or of .*warehouse is full \(.*\)\. Make room and run again"
        with pytest.raises(UserError, match=full), lake.set_aside(large):
            pass
        for reading in (lake.connect, lake.locked):
            sorts = f"select max(text) from (select text from ({large}) order by text offset 1)"
            without_room = r"its limit \(60MB\), and .*warehouse, where .* has no room for it\. Make"
            with pytest.raises(UserError, match=without_room), reading() as connection:
                connection.execute(sorts)
        assert spilled(lake) == []
        append(lake, "later")
        assert ids(lake) == ["later", "whole"]
