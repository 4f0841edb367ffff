"""Ray clusters of several machines, all of them this one: a raylet each."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from dagster_project.root import PROJECT_ROOT
from tests.support.ui import free_port

_STARTS = 4


@contextmanager
def raylets(count: int, *, jobs: bool = False, num_gpus: int = 0) -> Iterator[Any]:
    """That many machines of one core, each a raylet, in a `ray.cluster_utils.Cluster`. num_gpus: that each claims."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT_ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "60")
        patch.setenv("RAY_worker_niceness", "0")  # else actors wait for whatever else runs on this machine
        patch.setenv("RAY_health_check_timeout_ms", "60000")  # two busy cores answer late
        patch.delenv("RAY_ADDRESS", raising=False)
        machine = {"num_cpus": 1, "num_gpus": num_gpus, "object_store_memory": 80 << 20}
        # A folder of its own: from a shared one a job takes the address of whichever cluster was started last.
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            cluster = _started(count, machine, folder, jobs=jobs)
            try:
                yield cluster
            finally:
                cluster.shutdown()


def _started(count: int, machine: dict[str, Any], folder: str, *, jobs: bool) -> Any:
    """Tried again where a raylet is not there in time: Ray gives it 30 s, which busy cores may exceed."""
    from ray.cluster_utils import Cluster

    for tries in range(1, _STARTS + 1):
        cluster: Any = None
        try:
            ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": 0}
            head = {**machine, "include_dashboard": jobs, "temp_dir": folder, **ports}
            cluster = Cluster(initialize_head=True, head_node_args=head)
            for _ in range(count - 1):
                cluster.add_node(**machine)
            return cluster
        except Exception:  # Ray raises no narrower one
            if cluster is not None:
                cluster.shutdown()
            if tries == _STARTS:
                raise
    raise AssertionError


def add_machine(cluster: Any) -> None:
    """One more, of one core."""
    for tries in range(1, _STARTS + 1):
        try:
            cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
            return
        except Exception:  # as above
            if tries == _STARTS:
                raise


def workers(named: str, below: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes of the clusters below this one, or another, that run an actor of that name; oldest first."""
    found = [child for child in (below or psutil.Process(os.getpid())).children(recursive=True) if _is(child, named)]
    return sorted(found, key=psutil.Process.create_time)


def _is(process: psutil.Process, named: str) -> bool:
    try:
        return process.name().startswith("ray::") and named in process.cmdline()[0]
    except (psutil.Error, IndexError):
        return False
