"""Several of vLLM's engines at once, each in an actor of a Ray cluster: on the GPUs of one machine, or of many.

    requests ──> each actor has two batches queued, topped up with every turn ──> each reply as it finishes
                 a turn: take these in, hand out what has finished

An actor is the engine of offline.py and nothing more. Replies go to whoever asked here, who commits them: the ledger
has one writer, and nothing is asked that it knows. Whoever dies, or loses its machine, costs what it had under way:
others are asked that again, and another actor is started. With `criteria_first` prompts each engine computes once what
all requests share.

Plain actors, and not ray.data.llm: that wants a vLLM of its own, an older one, and gives replies away by the block, so
that what has finished waits, uncommitted, for the slowest of its block.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from models_py.ray_cluster import connected, need_ray, ray_cluster
from models_py.ray_crew import Crew, as_many_as, remote_actors
from models_py.teacher.engines.base import Engine, profile_key
from models_py.teacher.engines.vllm.offline import BrokenDownError, VllmEngine
from models_py.teacher.request import TeacherReply, TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import VllmSettings  # which opens the engines

_TURN_S = 2.0  # after which an actor is heard though nothing has finished: whoever asks may want to stop
_ALL_S = 60.0  # that the first to be loaded wait for the others


class _Actor:
    """What an actor is: an engine and its queue."""

    def __init__(self, name: str, settings: "VllmSettings", warehouse: Path | None, number: int) -> None:
        there = warehouse if warehouse is not None and warehouse.is_dir() else None  # on this machine too
        self._engine = VllmEngine(name, settings, there, number)

    def load(self) -> int:
        """How many requests keep it busy."""
        self._queue = self._engine.queue()
        return self._queue.room

    def turn(self, requests: list[TeacherRequest]) -> list[TeacherReply]:
        """Take them in; what has finished as soon as something has, nothing after a while."""
        replies = [reply for request in requests for reply in self._queue.add(request)]
        until = time.monotonic() + _TURN_S
        while self._queue and not replies and time.monotonic() < until:
            replies = self._queue.step()
        return replies


@dataclass(slots=True)
class _Seat:
    """An actor, how many requests keep it busy, and those that it has."""

    actor: Any
    most: int
    under_way: dict[str, TeacherRequest] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return len(self.under_way) < self.most


class _Engines:
    """The actors of one teacher: who is idle, what was left by the dead. start: an actor, by its number."""

    def __init__(self, start: Callable[[int], Any], count: int, model_key: str) -> None:
        self.count = count
        self._idle: list[_Seat] = []
        self._left: deque[TeacherRequest] = deque()
        numbers = itertools.count(1)
        self._crew: Crew[_Seat] = Crew(
            f"{model_key}: vLLM's engines",
            lambda: start(next(numbers)),
            count,
            left=lambda seat: self._left.extend(seat.under_way.values()),
            names=lambda seat: [f"request {name[:12]}" for name in seat.under_way],
            lost=(BrokenDownError,),
        )
        self._wait_until = time.monotonic() + _ALL_S
        self.has_begun = False

    def replies(self, waiting: Iterator[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """The replies to all of them, or to those that come before `stop`."""
        self._crew.begin()
        while not stop.is_set():
            self._hand_out(waiting)
            if self._idle and not self._crew.at_work and not self._is_early:
                return  # nothing is left; who is still starting is not needed
            came = self._hear()
            self._hand_out(waiting)  # they work on while the caller commits what came
            yield from came

    @property
    def is_at_work(self) -> bool:
        """Whether something is under way."""
        return self._crew.at_work > 0

    def end(self) -> None:
        """Whatever is under way is given up."""
        self._crew.end()

    @property
    def _is_early(self) -> bool:
        """Whether more engines are worth waiting for: the first would take all of few requests."""
        return not self.has_begun and self._crew.loading > 0 and time.monotonic() < self._wait_until

    def _hand_out(self, waiting: Iterator[TeacherRequest]) -> None:
        """One to each in turn, until none has room or nothing is left."""
        if self._is_early or not self._idle:
            return
        self.has_begun = True
        new: list[list[TeacherRequest]] = [[] for _ in self._idle]
        hungry = deque(place for place, seat in enumerate(self._idle) if seat.has_room)
        while hungry and (request := self._left.popleft() if self._left else next(waiting, None)):
            place = hungry.popleft()
            self._idle[place].under_way[request.request_id] = request
            new[place].append(request)
            if self._idle[place].has_room:
                hungry.append(place)
        for seat, requests in zip(self._idle, new, strict=True):
            if seat.under_way:
                self._crew.give(seat.actor, seat.actor.turn.remote(requests), seat)
        self._idle = [seat for seat in self._idle if not seat.under_way]

    def _hear(self) -> list[TeacherReply]:
        came: list[TeacherReply] = []
        for heard in self._crew.hear():
            if heard.work is None:
                self._idle.append(_Seat(heard.actor, most=heard.came))
                continue
            self._idle.append(heard.work)
            for reply in heard.came:
                del heard.work.under_way[reply.request_id]
            came += heard.came
        return came


class VllmActors(Engine):
    """`settings.actors` engines, started at the first request. cluster: the Ray cluster's address, None: this machine.

    Where `auto` needs none it is the engine in this process.
    """

    def __init__(self, name: str, settings: "VllmSettings", warehouse: Path | None, cluster: str | None) -> None:
        self.name, self.settings = name, settings
        self._warehouse, self._cluster = warehouse, cluster
        self._alone = VllmEngine(name, settings, warehouse)
        self._resources = ExitStack()
        self._engines: _Engines | None = None
        self._one_is_enough = False

    @property
    def identity(self) -> str:
        """As of one engine: what answers is the same."""
        return self._alone.identity

    def check_ready(self) -> None:
        """Raises UserError for what one engine would lack, and where Ray is not installed."""
        need_ray(f"{profile_key(self.name)}.actors")
        self._alone.check_ready()

    @property
    def busy_with(self) -> str:
        if self._engines is None or self._engines.has_begun:
            return self._alone.busy_with
        return f"{self._engines.count} engines load {self.settings.model}"

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """As one engine answers, but that whoever dies is replaced.

        Raises UserError as that does, and where engines die again and again at one place.
        """
        waiting = iter(requests)
        first = next(waiting, None)
        if first is None or stop.is_set():
            return
        engines, waiting = self._started(), chain([first], waiting)
        if engines is None:
            yield from self._alone.ask(waiting, stop)
            return
        try:
            yield from engines.replies(waiting, stop)
        finally:
            if engines.is_at_work:
                self.close()

    def close(self) -> None:
        """Ends the engines and gives their memory back."""
        self._engines = None
        self._resources.close()
        self._alone.close()

    def _started(self) -> _Engines | None:
        """The engines, which are started once; None where the one in this process is enough."""
        if self._engines is None and not self._one_is_enough:
            need_ray(f"{profile_key(self.name)}.actors")
            with ExitStack() as resources:
                address = resources.enter_context(ray_cluster(self._cluster))
                machines = resources.enter_context(connected(address))
                actors, gpus = self.settings.actors, self.settings.gpus
                count = as_many_as(machines, gpus=gpus) if actors == "auto" else actors
                if not count:
                    self._one_is_enough = True
                    return None
                start, _ = remote_actors(_Actor, machines, count=count, gpus=gpus)
                engines = _Engines(
                    lambda number: start(self.name, self.settings, self._warehouse, number),
                    count,
                    f"{profile_key(self.name)}.model",
                )
                resources.callback(engines.end)
                self._engines, self._resources = engines, resources.pop_all()
        return self._engines
