"""Two writers on one PostgreSQL catalog, as from two machines: no commit fails, no row is lost, nothing is done twice.

For some seconds with the suite, for ten minutes with `make soak`, which says how many commits there were and how slow
the slowest was.
"""

import hashlib
import json
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from tests.support.processes import python
from tests.support.soak import long_form, tell

WRITER = """
import json, sys, time
from pathlib import Path
from dagster_project.lakehouse.lake import Commit, Lake
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.request import TeacherReply
from tests.support.engines import request
from tests.support.lakes import append, ids, pairs

name, catalog, data_path, seconds = sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])
warehouse = Path(sys.argv[1]) / name
lake = Lake(warehouse, catalog=catalog, data_path=data_path)
lake.prepare()
appended, commits, both = [], [], []
number, end = 0, time.monotonic() + seconds
with Ledger(LedgerPlace(warehouse / "teacher.sqlite", catalog)) as ledger:
    while time.monotonic() < end:
        new = [f"{name}{number}-{row}" for row in range(20)]
        began = time.monotonic()
        append(lake, *new)
        commits.append(time.monotonic() - began)
        appended += new
        with lake.exclusively("both"):  # what each would do where the other has not
            task = f"task{number}"
            if lake.recall("select count(*) from raw.quarantined_rows where source = ?", [task]).item() == 0:
                both.append(task)
                began = time.monotonic()
                lake.append({"raw.quarantined_rows": [{"source": task, "reason": name}]}, Commit("task"))
                commits.append(time.monotonic() - began)
        one = request(f"Name {number} seas.")
        ledger.record(one, TeacherReply(one.request_id, reply=name))
        if name == "a" and number % 50 == 49:
            lake.compact([])
        number += 1
print(json.dumps([appended, sorted(commits), both, number]))
"""


def sum_of_hashes(texts: list[str]) -> int:
    return sum(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)


def write(lake: Lake, folder: Path, seconds: float) -> None:
    """Two writers at once, and whether all that they committed is there."""
    writers = [python(WRITER, folder, name, lake.catalog, lake.data_path, seconds) for name in "ab"]
    said = [process.communicate(timeout=seconds + 120) for process in writers]
    assert [process.returncode for process in writers] == [0, 0], said
    (ours, theirs) = (json.loads(out) for out, _ in said)
    appended = [*ours[0], *theirs[0]]
    found = lake.read("select pair_id from raw.raw_pairs")["pair_id"].to_list()
    assert (len(found), sum_of_hashes(found)) == (len(appended), sum_of_hashes(appended))
    tasks = lake.read("select source from raw.quarantined_rows")["source"].to_list()
    assert sorted(tasks) == sorted([*ours[2], *theirs[2]]) == sorted({*tasks})
    with Ledger(LedgerPlace(folder / "teacher.sqlite", lake.catalog)) as ledger:
        rows = list(ledger.all_since())
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) == max(ours[3], theirs[3])
    commits = sorted([*ours[1], *theirs[1]])
    tell(
        seconds=seconds,
        commits=len(commits),
        rows=len(found),
        done_once=len(tasks),
        replies=len(rows),
        slowest_commit_s=round(commits[-1], 2),
        median_commit_s=round(commits[len(commits) // 2], 2),
        waits_told=sum(len(err.splitlines()) for _, err in said),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, long_form(600)])
def test_two_writers_lose_nothing(seconds: float, postgres_lake: Lake, tmp_path: Path) -> None:
    postgres_lake.prepare()
    write(postgres_lake, tmp_path, seconds)
