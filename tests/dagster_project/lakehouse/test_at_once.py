"""Two processes write one lake while a third reads it, for a minute; `make soak` does it for ten.

What a reader sees is always whole commits, of both tables or of none, and never fewer than before. In the end the lake
holds what the writers say that they wrote, once.
"""

import json
import time
from pathlib import Path

import pytest

from dagster_project.lakehouse.lake import Lake
from tests.support.processes import python
from tests.support.soak import long_form, tell

pytestmark = pytest.mark.slow

ROWS = 3  # a commit and table
WRITER = f"""
import json, sys, time
from pathlib import Path
from dagster_project.lakehouse.lake import Commit, Lake

lake, name, end = Lake(Path(sys.argv[1])), sys.argv[2], time.monotonic() + float(sys.argv[3])
seconds = []
while time.monotonic() < end:
    ids = [f"{{name}}{{len(seconds)}}.{{row}}" for row in range({ROWS})]
    began = time.monotonic()
    lake.append(
        {{
            "raw.raw_pairs": [{{"pair_id": one}} for one in ids],
            "raw.quarantined_rows": [{{"reason": one}} for one in ids],
        }},
        Commit("a few of each"),
    )
    seconds.append(time.monotonic() - began)
    time.sleep(0.05)
print(json.dumps(seconds))
"""
SEEN = (
    "select left(pair_id, 1) as writer, count(*) as n, count(distinct pair_id) as ids, "
    "count(distinct split_part(pair_id, '.', 1)) as commits, "
    "(select count(*) from raw.quarantined_rows where left(reason, 1) = left(pair_id, 1)) as beside "
    "from raw.raw_pairs group by all order by writer"
)


@pytest.mark.parametrize("seconds", [60, long_form(600)])
def test_two_writers_and_a_reader(seconds: float, tmp_path: Path) -> None:
    Lake(tmp_path).prepare()
    writers = [python(WRITER, tmp_path, name, seconds) for name in "ab"]
    lake, before, reads, longest = Lake(tmp_path), {"a": 0, "b": 0}, 0, 0.0
    while any(writer.poll() is None for writer in writers):
        began = time.monotonic()
        seen = lake.read(SEEN).to_dicts()
        longest, reads = max(longest, time.monotonic() - began), reads + 1
        for row in seen:
            assert row["n"] == row["ids"] == row["beside"] == ROWS * row["commits"] >= before[row["writer"]], row
            before[row["writer"]] = row["n"]
        time.sleep(0.05)
    written = []
    for writer in writers:
        out, complaint = writer.communicate()
        assert writer.returncode == 0, complaint
        written.append(json.loads(out))
    held = {row["writer"]: row["commits"] for row in lake.read(SEEN).to_dicts()}
    assert held == {name: len(commits) for name, commits in zip("ab", written, strict=True)}
    commits = sorted(written[0] + written[1])
    tell(
        seconds=seconds,
        commits=len(commits),
        commit_median_ms=round(1000 * commits[len(commits) // 2]),
        commit_slowest_ms=round(1000 * commits[-1]),
        reads=reads,
        read_slowest_ms=round(1000 * longest),
    )
