"""A Ray cluster for as long as something needs it: the one that is named, else one on this machine.

    with ray_cluster(None) as address: ...      # started here, on this machine's cores and GPUs, ended with the block
    with ray_cluster("auto") as address: ...    # the one that `ray start` made this machine part of

As in Ray itself RAY_ADDRESS goes before what is named. Within the block it names the cluster, for this process and
those that it starts.

A cluster started here belongs to a process of its own, `python -m models_py.ray_cluster`: Ray takes over the signals of
the process that starts it, and a Ctrl-C in the terminal would reach every part of it. It lives by its standard input:
when that closes, however its parent ended, jobs under way are told to end and waited for. Its ports answer whoever has
a token that is drawn here, its folder goes with it, and Ray's usage statistics stay off. What is done on a cluster is
not said here.
"""

import contextlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models_py.errors import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS = "RAY_ADDRESS"
_ROOT = Path(__file__).parents[1]
_AGAIN_S = (3.0, 10.0)  # before further tries to be let into a cluster, where Ray itself has not waited so long:
_WAITED_S = 30.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else every worker warns that this will be so
    "RAY_JOB_START_TIMEOUT_SECONDS": "604800",  # a job waits for a GPU as long as it takes
    "RAY_raylet_start_wait_time_s": "60",
}
_STORE_BYTES = 256 << 20  # shared memory for texts and scores under way
_SHORT = 24  # characters of a folder below which Ray's sockets keep to the 107 that a path of one may have
_READY = "ready "
_QUOTED = "Traceback (most recent call last)"
_STARTS = 4  # tries: a raylet gives its helpers 15 s to start and dies where a busy machine takes longer
_END_S = 30.0
_ANSWER_S = 5.0


def need_ray(key: str) -> None:
    """Raise UserError that names the profile's key where Ray is not installed. Imports nothing."""
    if any(importlib.util.find_spec(package) is None for package in ("ray", "dagster_ray")):
        raise UserError(f"{key}: Ray is not installed. `make setup WITH=ray` installs it.")


def named_cluster(address: str | None) -> str | None:
    """The address of the cluster that is named, as Ray sees it; None where none is."""
    return os.environ.get(ADDRESS) or address


@contextlib.contextmanager
def ray_cluster(address: str | None, *, jobs: bool = False) -> Iterator[str]:
    """The address of a cluster that is there within the block. jobs: one started here takes jobs too.

    Raises UserError where none can be started; whether a named one answers shows when it is asked.
    """
    named = named_cluster(address)
    if named:
        with _variables({**_QUIET, ADDRESS: named}):
            yield named
        return
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    with _variables(_QUIET | token), _kept(jobs=jobs) as local, _variables({ADDRESS: local}):
        yield local


@lru_cache(maxsize=1)
def _token() -> str:
    """One for the life of this process: Ray reads it once."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """The environment has these, and not those that are None, within the block."""
    before = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _kept(*, jobs: bool) -> Iterator[str]:
    """A cluster on this machine, with its keeper; its address."""
    with tempfile.TemporaryFile("a+") as said:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "models_py.ray_cluster", *(["--jobs"] if jobs else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=os.environ | worker_variables(),
            start_new_session=True,
        )
        assert keeper.stdin is not None and keeper.stdout is not None
        try:
            ready = next((line for line in keeper.stdout if line.startswith(_READY)), None)
            if ready is None:
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise UserError(f"ray: no cluster could be started on this machine: {last}")
            yield ready.removeprefix(_READY).strip()
        finally:
            keeper.terminate()  # what was to be waited for has been
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(_END_S)
            keeper.kill()
            keeper.wait()
            keeper.stdin.close()
            keeper.stdout.close()


@contextlib.contextmanager
def connected(address: str) -> Iterator[list[dict[str, float]]]:
    """While this process may ask the cluster for actors; what each of its machines has. Quiet, and signals stay ours.

    Raises UserError where the cluster does not answer.
    """
    import ray

    for pause_s in (*_AGAIN_S, None):
        began = time.monotonic()
        try:
            _connect(address)
            break
        except (ConnectionError, RuntimeError, ValueError) as error:
            has_waited = time.monotonic() - began > _WAITED_S
            if pause_s is None or has_waited or not isinstance(error, ConnectionError):
                why = ": ".join(_in_a_line(one) for one in (error, error.__cause__) if one is not None)
                raise UserError(f"ray.address: this machine is in no Ray cluster at {address} ({why})") from error
            time.sleep(pause_s)  # a busy machine answers late
    try:
        nodes: list[dict[str, Any]] = ray.nodes()
        yield [node["Resources"] for node in nodes if node["Alive"]]
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    takes_jobs = "://" in address  # where it is asked for actors this machine knows; Ray would look there too
    try:
        with _variables({ADDRESS: None} if takes_jobs else {}):
            ray.init(
                "auto" if takes_jobs else address,
                configure_logging=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def worker_variables() -> dict[str, str]:
    """What a process of the cluster needs in its environment to find this project."""
    return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def _in_a_line(error: BaseException) -> str:
    """What an error says first, or last where it quotes another with all that led to it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if _QUOTED in str(error) else 0]


def job_client(address: str) -> "JobSubmissionClient":
    """Who takes the cluster's jobs. Raises UserError where nobody answers."""
    try:
        _check_listens(address)
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"ray.address: no Ray cluster answers at {address} ({_in_a_line(error)}). Name a running one "
            "(http://<head>:8265, or auto on a machine of it), or leave the address out: then one is started on this "
            "machine"
        ) from error


def _check_listens(address: str) -> None:
    """Raises OSError where nobody does, soon: Ray would wait for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=_ANSWER_S).close()


def machines(address: str) -> list[dict[str, float]]:
    """What each machine of the cluster has: `CPU`, `GPU`, `memory` (bytes) and whatever else it was given."""
    from ray.util.state import list_nodes

    nodes = list_nodes(address=address, filters=[("state", "=", "ALIVE")])
    return [dict(node.resources_total) for node in nodes]


def stop_job(client: "JobSubmissionClient", job: str) -> None:
    """Tell it to end; one that has ended, or is not known any more, is well."""
    with contextlib.suppress(RuntimeError):
        client.stop_job(job)


def has_ended(client: "JobSubmissionClient", job: str) -> bool:
    """Whether nothing of a job is under way. One that is not known has ended with its cluster."""
    try:
        return bool(client.get_job_status(job).is_terminal())
    except RuntimeError:
        return True


def _let_each_have_its_own_port() -> None:
    """Who takes a machine's jobs listens on a port that Ray fixes, and a second cluster there would take none.

    `ray start` has an option for that port, `ray.init` has not (2.60).
    """
    from ray._private import parameter

    class FreePort(parameter.RayParams):  # type: ignore[misc]
        def __init__(self, *args: Any, **params: Any) -> None:
            super().__init__(*args, **{"dashboard_agent_listen_port": 0, **params})

    parameter.RayParams = FreePort


def main() -> None:
    """Keep a cluster until standard input closes or SIGTERM comes."""
    import ray

    jobs = "--jobs" in sys.argv
    _let_each_have_its_own_port()
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= _SHORT else "/tmp"
    with tempfile.TemporaryDirectory(prefix="ray-", dir=place, ignore_cleanup_errors=True) as folder:
        for tries in range(1, _STARTS + 1):
            try:
                ray.init(
                    address="local",
                    include_dashboard=jobs,  # whoever takes jobs is part of it
                    dashboard_host="127.0.0.1",
                    object_store_memory=_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                )
                break
            except Exception:  # Ray raises no narrower one
                ray.shutdown()
                if tries == _STARTS:
                    raise
        try:
            address = ray.get_runtime_context().gcs_address
            sys.stdout.write(f"{_READY}{address}\n")
            sys.stdout.flush()
            sys.stdin.read()
            if jobs:
                _end_jobs(job_client(address))
        finally:
            ray.shutdown()


def _end_jobs(client: "JobSubmissionClient") -> None:
    under_way = [job.submission_id for job in client.list_jobs() if job.submission_id]
    for job in under_way:
        stop_job(client, job)
    while not all(has_ended(client, job) for job in under_way):
        time.sleep(0.2)


if __name__ == "__main__":
    main()
