"""Actors that share one work: as many as were asked for, whoever dies replaced by another.

    crew = Crew(remote_actors(Scorer, machines, count=4, gpus=1)(...), 4, on_death)
    crew.give(actor, actor.score.remote(shard), shard)
    for heard in crew.hear(): ...               # whoever has done something, with what it had and what came of it

An actor loads what it needs when it is started (its method `load`), and is heard without work when that is done.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from models_py.errors import UserError
from models_py.ray_cluster import worker_variables

_LOOK_S = 5.0

Machines = Sequence[dict[str, float]]
Work = TypeVar("Work")


@dataclass(frozen=True, slots=True)
class Heard(Generic[Work]):
    """An actor that has done something. work: what it was given, None: it has loaded. came: what it returned."""

    actor: Any
    work: Work | None
    came: Any


class Crew(Generic[Work]):
    """`count` actors. make: starts one. on_death: told what a dead one had, None: it was loading; may raise.

    lost: what an actor raises that is of no use any more, as if it had died. Raises a UserError that an actor raises.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        count: int,
        on_death: Callable[[Work | None, Exception], None],
        lost: tuple[type[Exception], ...] = (),
    ) -> None:
        self._make, self._on_death, self._lost = make, on_death, lost
        self._actors: list[Any] = []
        self._under_way: dict[Any, tuple[Any, Work | None]] = {}  # by what was asked: whom, about what
        for _ in range(count):
            self._start()

    @property
    def at_work(self) -> int:
        """How many have something to do, loading not counted."""
        return sum(work is not None for _, work in self._under_way.values())

    @property
    def loading(self) -> int:
        """How many are being started."""
        return len(self._under_way) - self.at_work

    def _start(self) -> None:
        actor = self._make()
        self._actors.append(actor)
        self._under_way[actor.load.remote()] = actor, None

    def give(self, actor: Any, asked: Any, work: Work) -> None:
        """Remember that it was asked for that. asked: what its method's `remote` returned."""
        self._under_way[asked] = actor, work

    def hear(self) -> list[Heard[Work]]:
        """Who has done something, nobody after a while; for each that died another is started."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        heard: list[Heard[Work]] = []
        ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=_LOOK_S)
        for asked in ready:
            actor, work = self._under_way.pop(asked)
            try:
                heard.append(Heard(actor, work, ray.get(asked)))
                continue
            except RayActorError as error:
                died: Exception = error
            except RayTaskError as error:
                if not isinstance(error.cause, self._lost):
                    raise (UserError(str(error.cause)) if isinstance(error.cause, UserError) else error) from error
                died = error.cause
            self._actors.remove(actor)
            ray.kill(actor)
            self._on_death(work, died)
            self._start()
        return heard

    def end(self) -> None:
        """Nobody works on."""
        import ray

        while self._actors:
            ray.kill(self._actors.pop())


def remote_actors(kind: type, machines: Machines, *, count: int, gpus: int) -> tuple[Callable[..., Any], int | None]:
    """What starts an actor of that class with that many GPUs for itself, or its share of a machine's cores where there
    are none; and how many threads are its share then.
    """
    import ray

    has_gpu = any(machine.get("GPU", 0) for machine in machines)
    cores = int(min((machine.get("CPU", 1) for machine in machines), default=1))
    cpus = 1 if has_gpu else max(1, cores // math.ceil(count / len(machines)))
    remote = ray.remote(
        num_gpus=gpus if has_gpu else 0,
        num_cpus=cpus,
        max_restarts=0,  # a new one is started wherever there is room
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": {**worker_variables(), "OMP_NUM_THREADS": str(cpus)}},
    )(kind)
    return remote.remote, None if has_gpu else cpus


def as_many_as(machines: Machines, *, gpus: int = 1) -> int:
    """What `auto` means: one for that many GPUs, or one a machine where several have none; 0 where none is needed."""
    fit = sum(int(machine.get("GPU", 0)) // gpus for machine in machines)
    return fit or (len(machines) if len(machines) > 1 else 0)


def last_words(error: Exception) -> str:
    """Why an actor died, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
