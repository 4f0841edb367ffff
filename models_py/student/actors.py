"""Scoring by several scorers at once: Ray actors, each with a model of its own, take shards of the requests.

    with open_scorer(student, 8, address=None) as scorer:        # one a GPU; "auto": as many as there are GPUs
        for row in scorer.score(requests): ...                   # as they come, not in the order of the requests

A shard is a run of requests that costs about as much as any other (by its characters, for a text's length is what its
score takes), so nobody waits for whoever has the longest. An actor has one at a time; one that dies, or whose machine
does, costs that one: another actor takes it, and a new actor is started wherever there is room. What is committed, and
in which batches, is the caller's alone.

Plain actors under `ray.wait`, and not Ray Data: its Dataset reads from a source that is known beforehand, while pending
texts are pages of one query in this process, so that each page would start actors anew, or all texts would lie in Ray's
memory; and it gives a shard back to the actor that died with it, which waits for a machine while the others are done.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from models_py.progress import OnProgress, Progress, silent
from models_py.ray_cluster import connected, need_ray, ray_cluster
from models_py.ray_crew import Crew, Heard, Machines, as_many_as, remote_actors
from models_py.student.batching import shards
from models_py.student.spec import ResolvedStudent

if TYPE_CHECKING:
    from models_py.student.scorer import ScoreRequest, ScoreRow

_SHARD_ROWS, _SHARD_CHARACTERS = 512, 500_000
_SHARDS_EACH = 8  # that an actor gets at least, where there are few requests

Actors = int | Literal["auto"] | None


class Scores(Protocol):
    """What scores: a `Scorer`, or several of them."""

    tokens_scored: int

    @property
    def path(self) -> str:
        """How batches are computed."""

    @property
    def paths_left(self) -> list[str]:
        """Why not faster, a sentence each."""

    def score(
        self, requests: Iterable["ScoreRequest"], on_progress: OnProgress = silent, total: int | None = None
    ) -> Iterator["ScoreRow"]:
        """A row for each request."""


@contextmanager
def open_scorer(student: ResolvedStudent, actors: Actors, *, address: str | None) -> Iterator[Scores]:
    """A scorer in this process (actors: None), or as many actors as that on the cluster at `address`, else here.

    "auto" is one a GPU, or one a machine where several have none; on one machine without a GPU none is needed.
    """
    if actors is None:
        yield _scorer(student)
        return
    need_ray("scoring.actors")
    with ray_cluster(address) as found, connected(found) as machines:
        count = as_many_as(machines) if actors == "auto" else actors
        yield ScoringActors(student, count, machines) if count else _scorer(student)


def _scorer(student: ResolvedStudent, threads: int | None = None) -> Any:
    import torch

    from models_py.student.loading import load_chat, load_model
    from models_py.student.scorer import Scorer

    if threads is not None:
        torch.set_num_threads(threads)
    return Scorer(load_model(student), load_chat(student))


class _Actor:
    """What an actor is: a scorer, loaded when it is asked to."""

    def __init__(self, student: ResolvedStudent, threads: int | None) -> None:
        self._student, self._threads = student, threads

    def load(self) -> None:
        self._scorer = _scorer(self._student, self._threads)

    def score(self, shard: "list[ScoreRequest]", ahead: int) -> "_Scored":
        before = self._scorer.tokens_scored
        rows = list(self._scorer.score(shard, total=ahead))
        tokens = self._scorer.tokens_scored - before
        return _Scored(rows, tokens, self._scorer.path, self._scorer.paths_left)


@dataclass(frozen=True, slots=True)
class _Scored:
    rows: "list[ScoreRow]"
    tokens: int
    path: str
    paths_left: list[str]


@dataclass
class ScoringActors:
    """`count` scorers on the machines of the cluster that this process is connected to."""

    student: ResolvedStudent
    count: int
    machines: Machines
    shard_rows: int | None = None  # at most in a shard; None: by how many requests there are
    path: str = ""
    paths_left: list[str] = field(default_factory=list)
    tokens_scored: int = 0

    def score(
        self, requests: Iterable["ScoreRequest"], on_progress: OnProgress = silent, total: int | None = None
    ) -> Iterator["ScoreRow"]:
        """A row for each request, as its shard is done. total: as a `Scorer` takes it.

        Raises UserError where the model cannot be loaded, or actors die again and again at the same place.
        """
        if total is None:
            total = len(requests) if isinstance(requests, Sized) else None
        rows = self.shard_rows or _shard_rows(total, self.count)
        cut = shards(requests, _characters, most=_SHARD_CHARACTERS, rows=rows)
        left: list[list[ScoreRequest]] = []
        done, began = 0, time.monotonic()
        start, threads = remote_actors(_Actor, self.machines, count=self.count, gpus=1)
        crew: Crew[list[ScoreRequest]] = Crew(
            f"students.{self.student.name}: scorers",
            lambda: start(self.student, threads),
            self.count,
            left=left.append,
            names=lambda shard: [f"{shard[0].content_id[:12]} and what follows"],
        )
        idle: list[Any] = []
        heard: list[Heard[list[ScoreRequest]]] = []
        try:
            while True:
                # Whoever is idle works on while the caller commits what came.
                while idle and (shard := left.pop() if left else next(cut, None)):
                    actor, ahead = idle.pop(), max(len(shard), ((total or 0) - done) // self.count)
                    crew.give(actor, actor.score.remote(shard, ahead), shard)
                for one in heard:
                    if one.work is not None:
                        done += len(one.work)
                        self.path, self.paths_left = one.came.path, one.came.paths_left
                        self.tokens_scored += one.came.tokens
                        yield from one.came.rows
                        on_progress(Progress(done, total, "rows", note=self._note(done, time.monotonic() - began)))
                if idle and not crew.at_work:
                    return  # nothing is left; who is still starting is not needed
                heard = crew.hear()
                idle += [one.actor for one in heard]
                if not heard and not crew.at_work:
                    on_progress(Progress(done, total, "rows", note=f"{self.count} scorers are starting"))
        finally:
            crew.end()

    def _note(self, rows: int, seconds: float) -> str:
        rate = max(seconds, 1e-9)
        return f"{self.tokens_scored / rate:,.0f} tokens/s, {rows / rate:,.1f} rows/s, {self.count} × {self.path}"


def _shard_rows(total: int | None, count: int) -> int:
    return _SHARD_ROWS if total is None else min(_SHARD_ROWS, max(1, math.ceil(total / (_SHARDS_EACH * count))))


def _characters(request: "ScoreRequest") -> int:
    history = sum(len(turn.content) for turn in request.context.history)
    return history + len(request.context.system) + len(request.instruction) + len(request.input) + len(request.output)
