"""A lake whose catalog is PostgreSQL: a private server on loopback, gone after the test.

Needs the server's programs (Debian: the package `postgresql`); skipped where they are absent.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.locked import check
from models_py.errors import UserError
from tests.support.lakes import ids, snapshots
from tests.support.processes import finish, python


def _binaries() -> Path | None:
    """The folder of the newest server installed: Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    binary = found[-1] if found else Path(on_path).resolve() if on_path else None
    return binary.parent if binary else None


BINARIES = _binaries()
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(BINARIES is None, reason="no PostgreSQL server here (Debian: apt-get install postgresql)"),
]


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then as its own user, or nobody."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The libpq string of a fresh server that trusts loopback and keeps nothing safe, only quick."""
    assert BINARIES is not None
    account = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="lake-pg-") as folder:
        if account:
            os.chown(folder, account["user"], account["group"])
        data, log = Path(folder) / "data", Path(folder) / "log"
        initdb = [
            f"{BINARIES}/initdb",
            "-D",
            str(data),
            "-U",
            "lake",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **account)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [BINARIES / "postgres", "-D", data, "-p", str(port), *options], stderr=output, cwd=folder, **account
            )
            try:
                _wait_until_ready(process, log)
                yield f"host=127.0.0.1 port={port} user=lake dbname=postgres"
            finally:
                process.terminate()
                process.wait(timeout=20)


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while b"ready to accept connections" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


WRITER = """
import sys
from pathlib import Path
from dagster_project.lakehouse.lake import Lake
from tests.support.lakes import append

# A lock file of one's own: as from two machines that share catalog and data.
lake = Lake(Path(sys.argv[1]) / sys.argv[2], catalog=sys.argv[3], data_path=sys.argv[4])
for i in range(4):
    append(lake, f"{sys.argv[2]}{i}")
"""


@pytest.mark.slow
def test_a_catalog_in_postgres_serves_readers_and_writers(server: str, tmp_path: Path) -> None:
    catalog, data = f"postgres:{server}", f"{tmp_path}/data/"
    lake = Lake(tmp_path / "warehouse", catalog=catalog, data_path=data)
    with pytest.raises(UserError, match="`make run` creates it"):
        lake.read("select 1")

    lake.prepare()
    empty = lake.snapshot_id()
    lake.append(
        {"raw.raw_pairs": pl.DataFrame({"pair_id": ["a"], "category": [None]})}, Commit("it's told", asset="raw")
    )
    assert (ids(lake), ids(lake, as_of=empty)) == (["a"], [])
    assert lake.read("select commit_message, commit_extra_info from lake.snapshots() order by snapshot_id desc").row(
        0
    ) == (
        "it's told",
        '{"asset": "raw", "rows": 1}',
    )
    counted = "select count(*) from raw.raw_pairs"
    assert lake.recall(counted).item() == 1
    before = snapshots(lake)
    Lake(tmp_path / "warehouse", catalog=catalog, data_path=data).prepare()
    assert snapshots(lake) == before

    with lake.locked() as connection:  # as `make sql` does
        for query, answer in (("select pair_id from raw.raw_pairs", "a"), ("select count(*) from lake.snapshots()", 3)):
            check(connection, query)
            assert connection.execute(query).fetchone() == (answer,)
        with pytest.raises(UserError, match="does not call postgres_query"):
            check(connection, "from postgres_query('__ducklake_metadata_lake', 'delete from ducklake_snapshot')")
    assert "postgres_scanner.duckdb_extension'; ATTACH" in lake.attach_line()

    writers = [python(WRITER, tmp_path, name, catalog, data) for name in "xy"]
    for writer in writers:
        finish(writer)
    assert ids(lake) == ["a", *(f"{name}{i}" for name in "xy" for i in range(4))]
    assert lake.recall(counted).item() == 9
    shutil.rmtree(data)
    assert lake.recall(counted).item() == 9  # known


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path, catalog="postgres:host=127.0.0.1 port=1 user=lake dbname=lake")
    with pytest.raises(UserError, match=r"lake at postgres:host=127\.0\.0\.1 port=1 .*cannot be opened"):
        lake.prepare()
