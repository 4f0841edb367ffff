"""Actors that share one work: as many as were asked for, whoever dies replaced by another.

    start, threads = remote_actors(Scorer, machines, count=4, gpus=1)
    crew = Crew("students.toy: scorers", start, 4, left=left.append, names=names)
    crew.give(actor, actor.score.remote(shard), shard)
    for heard in crew.hear(): ...               # whoever has done something, with what it had and what came of it

An actor loads what it needs when it is started (its method `load`), and is heard without work when that is done.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from models_py.errors import UserError
from models_py.ray_cluster import worker_variables

_LOOK_S = 5.0
_MOST_DEATHS = 3  # of actors at one piece of work, or of each at loading

_log = logging.getLogger(__name__)

Machines = Sequence[dict[str, float]]
Work = TypeVar("Work")


@dataclass(frozen=True, slots=True)
class Heard(Generic[Work]):
    """An actor that has done something. work: what it was given, None: it has loaded. came: what it returned."""

    actor: Any
    work: Work | None
    came: Any


class Crew(Generic[Work]):
    """`count` actors, told of as `who`. make: starts one. left: takes what a dead one had, so that others do it.

    names: of each piece of some work; actors that die again and again at the same piece, or loading, are a UserError,
    for whatever it is would kill the others too. lost: what an actor raises that is of no use any more, as if it had
    died. A UserError that an actor raises is raised here.
    """

    def __init__(
        self,
        who: str,
        make: Callable[[], Any],
        count: int,
        *,
        left: Callable[[Work], None],
        names: Callable[[Work], Sequence[str]],
        lost: tuple[type[Exception], ...] = (),
    ) -> None:
        self._who, self._make, self._count = who, make, count
        self._left, self._names, self._lost = left, names, lost
        self._actors: list[Any] = []
        self._under_way: dict[Any, tuple[Any, Work | None]] = {}  # by what was asked: whom, about what
        self._died_loading = 0  # since some work was done
        self._deaths: Counter[str] = Counter()  # by the name of a piece
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

    def begin(self) -> None:
        """Something new is to be done: who died before did not die of it."""
        self._deaths.clear()

    def give(self, actor: Any, asked: Any, work: Work) -> None:
        """Remember that it was asked for that. asked: what its method's `remote` returned."""
        self._under_way[asked] = actor, work

    def hear(self) -> list[Heard[Work]]:
        """Who has done something, nobody after a while; for each that died another is started."""
        import ray
        from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError

        heard: list[Heard[Work]] = []
        ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=_LOOK_S)
        for asked in ready:
            actor, work = self._under_way.pop(asked)
            try:
                heard.append(Heard(actor, work, ray.get(asked)))
                self._died_loading = 0 if work is not None else self._died_loading
                continue
            except (RayActorError, OutOfMemoryError, ObjectLostError) as error:  # Ray kills who takes too much memory
                died: Exception = error
            except RayTaskError as error:
                if not isinstance(error.cause, self._lost):
                    raise (UserError(str(error.cause)) if isinstance(error.cause, UserError) else error) from error
                died = error.cause
            self._actors.remove(actor)
            ray.kill(actor)
            self._mourn(work, died)
            self._start()
        return heard

    def _mourn(self, work: Work | None, error: Exception) -> None:
        """Others do what it had, unless it is what they die of."""
        if work is None:
            self._died_loading += 1
            deaths, at = self._died_loading // self._count, "loading the model"
        else:
            self._left(work)
            names = self._names(work)
            self._deaths.update(names)
            worst = max(names, key=self._deaths.__getitem__)
            deaths, at = self._deaths[worst], f"at {worst}"
        if deaths == _MOST_DEATHS:
            raise UserError(
                f"{self._who} died {deaths} times {at}, as happens when memory runs out: {last_words(error)}. "
                "Run again: what came is kept."
            ) from error
        _log.warning("%s: one died, another is started (%s)", self._who, last_words(error))

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
    """Why an actor died, in a line: Ray ends with it, save where it killed for memory and advice follows."""
    from ray.exceptions import OutOfMemoryError

    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, OutOfMemoryError) else lines[-1]
