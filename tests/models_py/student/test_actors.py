"""Several scorers at once give the scores of one, also when one of them, or its machine, is killed in the middle."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models_py.errors import UserError
from models_py.student.actors import Scores, ScoringActors, open_scorer
from models_py.student.batching import shards
from models_py.student.scorer import ScoreRequest, ScoreRow
from models_py.student.spec import ResolvedStudent
from tests.models_py.student.test_scorer import ALPACA, TERMS
from tests.support.ray_clusters import raylets, workers

# What Ray leaves for the garbage collector in the process that starts a cluster of several machines.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [
        ([3, 3, 3, 3], [[3, 3], [3, 3]]),  # as much as fits
        ([9, 1, 1, 1, 1], [[9], [1, 1, 1], [1]]),  # one that is too long stands alone; at most three
        ([], []),
    ],
)
def test_shards_cost_about_the_same(lengths: list[int], cut: list[list[int]]) -> None:
    assert list(shards(lengths, lambda length: length, most=7, rows=3)) == cut


def requests() -> list[ScoreRequest]:
    rows = json.loads(ALPACA.read_text(encoding="utf-8"))[:32]
    return [ScoreRequest(str(n), r["instruction"], r["input"], r["output"]) for n, r in enumerate(rows)]


Rows = dict[str, ScoreRow]


def scored(scorer: Scores, disturb: Callable[[], None] = lambda: None) -> Rows:
    """Each request's row; `disturb` comes after the first."""
    found: Rows = {}
    for row in scorer.score(requests()):
        assert row.content_id not in found
        found[row.content_id] = row
        if len(found) == 1:
            disturb()
    return found


def same(found: Rows, expected: Rows) -> bool:
    """Within what one engine's batches differ by: float32 sums in another order."""
    return found.keys() == expected.keys() and all(
        getattr(found[name], term) == pytest.approx(getattr(row, term), rel=1e-5)
        for name, row in expected.items()
        for term in TERMS
    )


@pytest.fixture(scope="module")
def llama(student: Callable[[str], ResolvedStudent]) -> ResolvedStudent:
    return student("llama")


@pytest.fixture(scope="module")
def alone(llama: ResolvedStudent) -> Rows:
    with open_scorer(llama, None, address=None) as scorer:
        return scored(scorer)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray

    with raylets(3) as cluster:
        ray.init(cluster.address, log_to_driver=False, configure_logging=False)
        yield cluster
        ray.shutdown()


MACHINES = [{"CPU": 1.0}] * 3


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.kill
def test_whoever_dies_costs_a_shard_and_changes_nothing(llama: ResolvedStudent, alone: Rows, cluster: Any) -> None:
    assert same(scored(ScoringActors(llama, 1, MACHINES)), alone)

    killed = []

    def kill_a_scorer() -> None:
        (victim, *_) = workers("_Actor")
        killed.append(victim.pid)
        victim.kill()

    assert same(scored(ScoringActors(llama, 2, MACHINES, shard_rows=2), kill_a_scorer), alone)
    assert len(killed) == 1

    def kill_a_machine() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    assert same(scored(ScoringActors(llama, 3, MACHINES, shard_rows=2), kill_a_machine), alone)


@pytest.mark.slow
@pytest.mark.ray
def test_a_model_that_cannot_be_loaded_is_told_by_its_name(llama: ResolvedStudent, cluster: Any) -> None:
    from dataclasses import replace

    nowhere = replace(llama, name="gone", model="/nowhere")
    with pytest.raises(UserError, match=r"students\.gone\.model: the model in hub model /nowhere cannot be read"):
        scored(ScoringActors(nowhere, 1, MACHINES))
