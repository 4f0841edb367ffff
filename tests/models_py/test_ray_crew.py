"""Actors that share one work: whoever dies is replaced, and what kills one after the other is told and ends it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.ray_crew import Crew, remote_actors
from tests.support.ray_clusters import raylets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    # What Ray leaves for the garbage collector in the process that starts a cluster.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]


class LostItsWitsError(Exception):
    pass


class Doubler:
    """Dies of one number, is of no use after another, refuses a third; `dies`: as soon as it loads."""

    def __init__(self, dies: bool) -> None:
        self._dies = dies

    def load(self) -> None:
        if self._dies:
            os._exit(1)

    def double(self, number: int) -> int:
        if number == 13:
            os._exit(1)
        if number == 14:
            raise LostItsWitsError("no wits left")
        if number == 15:
            raise UserError("numbers.mine: 15 is out of range")
        return 2 * number


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Any]]:
    import ray

    machines = [{"CPU": 1.0}]
    with raylets(1) as cluster:
        ray.init(cluster.address, log_to_driver=False, configure_logging=False)
        yield remote_actors(Doubler, machines, count=1, gpus=0)[0]
        ray.shutdown()


def doubled(start: Callable[..., Any], numbers: list[int], *, dies: bool = False) -> tuple[list[int], list[int]]:
    """The doubles as they come, and what was left by the dead."""
    given, left, doubles = iter(numbers), list[int](), list[int]()

    def leave(number: int) -> None:
        left.append(number)
        again.append(number)

    again: list[int] = []
    name = "numbers.mine: doublers"
    crew = Crew[int](
        name, lambda: start(dies), 1, left=leave, names=lambda number: [f"number {number}"], lost=(LostItsWitsError,)
    )
    try:
        while True:
            for heard in crew.hear():
                doubles += [heard.came] if heard.work is not None else []
                number = again.pop() if again else next(given, None)
                if number is None:
                    return doubles, left
                crew.give(heard.actor, heard.actor.double.remote(number), number)
    finally:
        crew.end()


def test_what_kills_one_after_the_other_is_named(start: Callable[..., Any]) -> None:
    assert doubled(start, [1, 2, 3]) == ([2, 4, 6], [])
    with pytest.raises(
        UserError,
        match=r"^numbers\.mine: doublers died 3 times at number 13, as happens .*Run again: what came is kept\.$",
    ):
        doubled(start, [1, 13, 2])


def test_one_that_is_of_no_use_any_more_is_replaced_like_one_that_died(start: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"doublers died 3 times at number 14, .*: no wits left\. Run again"):
        doubled(start, [14])


def test_those_that_die_loading_are_told(start: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"doublers died 3 times loading the model, as happens when memory runs out"):
        doubled(start, [1], dies=True)


def test_what_a_user_is_to_be_told_is_told_as_it_is(start: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"^numbers\.mine: 15 is out of range$"):
        doubled(start, [15])
