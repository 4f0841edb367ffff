"""A training on several machines of a Ray cluster: an actor on each starts torchrun there, see process.py.

    step ──task──> actor on machine 0 ──> torchrun --nnodes 2 --node-rank 0 ──> child.py, one a GPU ─┐ a process group
      ^    │                                                                                         │ (FSDP2)
      │    └─────> actor on machine 1 ──> torchrun --nnodes 2 --node-rank 1 ──> child.py, one a GPU ─┘
      └── progress and outcome, by the first process of all; what went wrong, by any

The actors have a placement group: a bundle a machine, each on another one, the first on the step's own where that has
room. An actor holds the standard input that its processes live by, so they end with it, with its machine and with the
step. All machines see the checkpoint's folder: each writes there its part of the saved states, see saved_state.py.
"""

import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from models_py.errors import UserError
from models_py.progress import OnProgress, Progress
from models_py.ray_cluster import connected, named_cluster, need_ray, ray_cluster, worker_variables
from models_py.ray_crew import last_words
from models_py.training.process import (
    END_S,
    LOG,
    BrokenDownError,
    Node,
    RefusedError,
    TrainingProcess,
    broken_down,
    heard,
)
from models_py.training.settings import TrainingSettings
from models_py.training.task import Task

_LOOK_S = 1.0
_AFTER_S = 5.0  # from the end on one machine to that on all, in order or by the same cause
_NODE = "ray.io/node-id"  # Ray's label
MACHINES = "training.machines"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where machines are. address: as `ray_cluster` takes it. wait_minutes: for those that are not there yet."""

    address: str | None = None
    wait_minutes: float = 0.0


NO_CLUSTER = Cluster()


def trained_on_machines(task: Task, on_progress: OnProgress, cluster: Cluster) -> dict[str, Any]:
    """Train on as many machines as the settings say; what `trainer.train` returns on the first.

    Raises UserError where the cluster has too few machines; else as `process.trained_apart` does, and BrokenDownError
    also when a machine is lost. Whatever is raised, here or there, ends the processes on all machines.
    """
    need_ray(MACHINES)
    if named_cluster(cluster.address) is None:
        raise UserError(unnamed(task.settings))
    with (
        ray_cluster(cluster.address) as address,
        connected(address),
        _actors(task.settings, cluster, on_progress) as actors,
    ):
        return _trained_by(actors, task, on_progress)


def unnamed(settings: TrainingSettings) -> str:
    """What is told where no cluster is named: one that is started on this machine has this machine."""
    return (
        f"{MACHINES} is {settings.machines}, and no Ray cluster is named; name one (ray: {{address: auto}}), or set "
        f"{MACHINES} to 1"
    )


def too_few_machines(settings: TrainingSettings, machines: Sequence[dict[str, float]]) -> str | None:
    """What is told where fewer of a cluster's machines than the settings ask for have what each must have."""
    needed = _needed(settings, machines)
    able = sum(_has(machine, needed) for machine in machines)
    if able >= settings.machines:
        return None
    return (
        f"{MACHINES} is {settings.machines}, each with {_counted(needed)}, and the cluster has {able} of these among "
        f"its {len(machines)}; start Ray on more machines, name another cluster (ray.address), or lower {MACHINES}. "
        "Of a cluster that scales up by itself, say how long that may take: ray.wait_minutes."
    )


def _counted(resources: Mapping[str, float]) -> str:
    """`8 GPUs, 1 CPU`."""
    return ", ".join(f"{count:g} {what}{'' if count == 1 else 's'}" for what, count in resources.items())


def _needed(settings: TrainingSettings, machines: Sequence[dict[str, float]]) -> dict[str, int]:
    """What a machine must have for its processes: a GPU each where the cluster has some, else a core each."""
    has_gpus = any(machine.get("GPU", 0) for machine in machines)
    return {"GPU" if has_gpus else "CPU": settings.processes_a_machine}


def _has(machine: Mapping[str, float], needed: Mapping[str, int]) -> bool:
    return all(machine.get(what, 0) >= count for what, count in needed.items())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a cluster. bundle: for an actor. first: labels of the machine that the first one must have."""

    bundle: dict[str, int]
    first: dict[str, str]


def wanted(settings: TrainingSettings, machines: Mapping[str, dict[str, float]], here: str) -> Wanted:
    """GPUs and a core each, or all cores of the smallest machine that is able; the first here, if this one is.

    machines: by their ids, one of which is `here`. The checkpoint's folder is nearest to whoever asks.
    """
    needed = _needed(settings, list(machines.values()))
    able = [machine for machine in machines.values() if _has(machine, needed)]
    if "GPU" in needed:
        bundle = {"CPU": 1, **needed}
    else:
        bundle = {"CPU": int(min((machine["CPU"] for machine in able), default=settings.processes_a_machine))}
    return Wanted(bundle, {_NODE: here} if _has(machines[here], needed) else {})


class _Machine:
    """The actor on a machine."""

    def __init__(self) -> None:
        self._process: TrainingProcess | None = None

    def address(self) -> tuple[str, int]:
        """Of this machine, and a port that is free there."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return str(ray.util.get_node_ip_address()), int(free.getsockname()[1])

    def train(self, task: Task, node: Node, address: str) -> Iterator[dict[str, Any]]:
        """Train as a part of all; what the processes here tell. address: this machine's."""
        if not task.folder.is_dir():
            raise UserError(
                f"{MACHINES}: {task.folder.parent} is not the step's own folder here; machines that train together "
                "have the warehouse at the same place, on a disk that they share"
            )
        if interface := _interface(address):  # gloo would take what the host's name stands for, often loopback
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        self._process = TrainingProcess(task, node)
        yield from self._process.said()

    def end(self) -> None:
        """Nothing of the training goes on here."""
        if self._process is not None:
            self._process.end()


def _interface(address: str) -> str | None:
    """The name of the network interface that has the address."""
    import psutil

    interfaces = psutil.net_if_addrs().items()
    return next((name for name, has in interfaces if any(one.address == address for one in has)), None)


@contextmanager
def _actors(settings: TrainingSettings, cluster: Cluster, on_progress: OnProgress) -> Iterator[list[Any]]:
    """An actor on each of as many machines; they and what they started end with the block.

    Raises UserError where there are too few machines for longer than they may be waited for.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    until = time.monotonic() + 60 * cluster.wait_minutes
    _require_machines(settings, until)
    asked = wanted(settings, _machines(), ray.get_runtime_context().get_node_id())
    group = placement_group(
        [asked.bundle] * settings.machines,
        strategy="STRICT_SPREAD",
        bundle_label_selector=[asked.first] + [{}] * (settings.machines - 1),
    )
    actors: list[Any] = []
    try:
        while not group.wait(_LOOK_S):
            _require_machines(settings, until)
            note = f"waiting for {settings.machines} machines with {_counted(asked.bundle)} free"
            on_progress(Progress(0, None, "steps", note=note))
        threads = max(1, asked.bundle["CPU"] // settings.processes_a_machine)
        remote = ray.remote(
            num_cpus=asked.bundle["CPU"],
            num_gpus=asked.bundle.get("GPU", 0),
            max_restarts=0,
            max_concurrency=2,  # it is told to end while it trains
            runtime_env={"env_vars": {**worker_variables(), "OMP_NUM_THREADS": str(threads)}},
        )(_Machine)
        for rank in range(settings.machines):
            there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            actors.append(remote.options(scheduling_strategy=there).remote())
        yield actors
    finally:
        if ending := [actor.end.remote() for actor in actors]:
            ray.wait(ending, num_returns=len(ending), timeout=END_S + _AFTER_S)
        for actor in actors:
            ray.kill(actor)
        remove_placement_group(group)


def _require_machines(settings: TrainingSettings, until: float) -> None:
    """Raise UserError where there are too few and the time to wait for more is over."""
    if time.monotonic() >= until and (told := too_few_machines(settings, list(_machines().values()))):
        raise UserError(told)


def _machines() -> dict[str, dict[str, float]]:
    """What each machine of the cluster has, by its id."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def _trained_by(actors: Sequence[Any], task: Task, on_progress: OnProgress) -> dict[str, Any]:
    """Have each train its part; the outcome."""
    import ray
    from ray.exceptions import RayError

    log = task.work / LOG
    try:
        addresses = ray.get([actor.address.remote() for actor in actors])
    except RayError as error:
        raise BrokenDownError(broken_down(f"a machine failed ({last_words(error)})", log)) from error
    (first, port), told = addresses[0], ray.put(task)
    under_way = {
        actor.train.remote(told, Node(rank, first, port), address): address
        for rank, (actor, (address, _)) in enumerate(zip(actors, addresses, strict=True))
    }
    outcome, broken, until = None, list[str](), math.inf
    while under_way and time.monotonic() < until:
        ready, _ = ray.wait(list(under_way), timeout=_LOOK_S)
        for lines in ready:
            address = under_way[lines]
            try:
                outcome = heard(ray.get(next(lines)), on_progress) or outcome
                continue
            except StopIteration:
                pass
            except BrokenDownError as error:
                broken.append(_said(error))
            except RefusedError as error:
                raise RefusedError(f"{error} (on machine {address})") from error
            except UserError as error:
                raise UserError(f"{_said(error)} (on machine {address})") from error
            except RayError as error:  # what the others say then only follows from it
                broken.insert(0, broken_down(f"machine {address} failed ({last_words(error)})", log))
            del under_way[lines]
            if outcome is not None or broken:
                until = min(until, time.monotonic() + _AFTER_S)
    if outcome is None:
        raise BrokenDownError(broken[0])
    return outcome


def _said(error: Exception) -> str:
    """Without what Ray adds to an error of an actor."""
    return str(getattr(error, "cause", error))
