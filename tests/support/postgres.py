"""A private PostgreSQL server on loopback, one a worker, gone after the tests, and a fresh database in it a test.

Needs the server's programs (Debian: the package `postgresql`) and the lock group `team`; skipped where they are absent.
"""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dagster_project.lakehouse.lake import Lake
from models_py.postgres import POSTGRES, connect

_numbers = itertools.count()


@cache
def binaries() -> Path | None:
    """The folder of the newest server installed: Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    binary = found[-1] if found else Path(on_path).resolve() if on_path else None
    return binary.parent if binary else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """`postgres:` and the libpq string of a fresh server that trusts loopback and keeps nothing safe, only quick."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    if find_spec("psycopg2") is None:
        pytest.skip("no PostgreSQL driver here (make setup WITH=team)")
    account = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="lake-pg-") as folder:
        if account:
            os.chown(folder, account["user"], account["group"])
        data, log = Path(folder) / "data", Path(folder) / "log"
        made = ["initdb", "-U", "lake", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]
        subprocess.run(
            [f"{binaries()}/{made[0]}", *made[1:], data], check=True, capture_output=True, cwd=folder, **account
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [f"{binaries()}/postgres", "-D", data, "-p", str(port), *options], stderr=output, cwd=folder, **account
            )
            try:
                _wait_until_ready(process, log)
                yield f"{POSTGRES}host=127.0.0.1 port={port} user=lake"
            finally:
                process.send_signal(signal.SIGQUIT)  # at once, whatever is under way
                process.wait(timeout=20)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The address of a fresh database."""
    return fresh_database(postgres_server)


@pytest.fixture(scope="session")
def empty_postgres_lake(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with such a lake's catalog, to be copied."""
    folder = tmp_path_factory.mktemp("empty")
    catalog = fresh_database(postgres_server)
    Lake(folder / "warehouse", catalog=catalog, data_path=f"{folder}/data/").prepare()
    return catalog


@pytest.fixture
def postgres_lake(empty_postgres_lake: str, postgres_server: str, tmp_path: Path) -> Lake:
    """As `lake`, with its catalog in PostgreSQL."""
    catalog = fresh_database(postgres_server, copied=empty_postgres_lake)
    ((data,),) = run_sql(catalog, "select value from ducklake_metadata where key = 'data_path'")
    shutil.copytree(data, tmp_path / "data")
    run_sql(catalog, f"update ducklake_metadata set value = '{tmp_path}/data/' where key = 'data_path'")
    return Lake(tmp_path / "warehouse", catalog=catalog, data_path=f"{tmp_path}/data/")


def fresh_database(server: str, *, copied: str = "") -> str:
    """The address of a new database, a copy perhaps of the one at that address."""
    name, origin = f"team{next(_numbers)}", copied.rpartition("=")[2]
    template = f" template {origin}" if copied else ""
    if copied:  # of a database in which a session is open PostgreSQL makes no copy
        end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{origin}'"
        run_sql(f"{server} dbname=postgres", end)
    run_sql(f"{server} dbname=postgres", f"create database {name}{template}")
    return f"{server} dbname={name}"


def run_sql(address: str, query: str) -> list[tuple[Any, ...]]:
    """What a query gives there."""
    with closing(connect(address, name="a test")) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(query)
        return list(cursor.fetchall()) if cursor.description else []


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then as its own user, or nobody."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while b"ready to accept connections" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
