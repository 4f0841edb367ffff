"""Ray clusters of several machines, all of them this one: a raylet each."""

import os
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
        patch.setenv("RAY_health_check_timeout_ms", "60000")  # two busy cores answer late
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = _started(count, {"num_cpus": 1, "num_gpus": num_gpus, "object_store_memory": 80 << 20}, jobs=jobs)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def _started(count: int, machine: dict[str, Any], *, jobs: bool) -> Any:
    """Tried again where a raylet is not there in time: Ray gives it 30 s, which busy cores may exceed."""
    from ray.cluster_utils import Cluster

    for tries in range(1, _STARTS + 1):
        cluster: Any = None
        try:
            head = {**machine, "include_dashboard": jobs, "dashboard_port": free_port()}
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


def workers(named: str, below: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes of the clusters below this one, or another, that run an actor of that name; oldest first."""
    found = [child for child in (below or psutil.Process(os.getpid())).children(recursive=True) if _is(child, named)]
    return sorted(found, key=psutil.Process.create_time)


def _is(process: psutil.Process, named: str) -> bool:
    try:
        return process.name().startswith("ray::") and named in process.cmdline()[0]
    except (psutil.Error, IndexError):
        return False
