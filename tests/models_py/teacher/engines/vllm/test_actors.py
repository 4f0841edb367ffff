"""Several engines at once give the replies of one, each once, whoever of them is killed. Real vLLM, real Ray."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from models_py.errors import UserError
from models_py.ray_crew import as_many_as
from models_py.teacher.engines.base import Engine
from models_py.teacher.engines.vllm.actors import VllmActors
from models_py.teacher.engines.vllm.offline import VllmEngine
from models_py.teacher.request import Sampling
from models_py.teacher.spec import TeacherSpec, VllmSettings
from tests.models_py.teacher.engines.vllm.tiny_chat_model import tiny_chat_model
from tests.support.engines import request
from tests.support.ray_clusters import raylets, workers

GREEDY = Sampling(max_tokens=24, temperature=0.0, extra_body={"ignore_eos": True})
QUESTIONS = [request(f"Name {number} seas.", sampling=GREEDY) for number in range(40)]


@pytest.mark.parametrize(
    ("machines", "gpus", "count"),
    [
        ([{"CPU": 8.0, "GPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}], 1, 12),
        ([{"CPU": 8.0, "GPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}], 8, 1),  # an engine's GPUs are in one machine
        ([{"CPU": 8.0}, {"CPU": 8.0}], 1, 2),
        ([{"CPU": 8.0}], 1, 0),  # none is needed beside this process
    ],
)
def test_auto_is_as_many_as_there_are_gpus_for(machines: list[dict[str, float]], gpus: int, count: int) -> None:
    assert as_many_as(machines, gpus=gpus) == count


def test_an_engine_takes_as_many_gpus_as_its_model_is_cut_into() -> None:
    cut = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    assert VllmSettings(model="big/one", engine_args=cut).gpus == 8


def test_several_answer_under_the_name_of_one() -> None:
    one, several = (TeacherSpec("t", VllmSettings(model="big/one", actors=n)).open_engine(None) for n in (None, 2))
    assert isinstance(one, VllmEngine) and isinstance(several, VllmActors)
    assert one.identity == several.identity


@pytest.mark.parametrize("actors", [0, "all"])
def test_a_wrong_number_of_actors_is_refused(actors: Any) -> None:
    with pytest.raises(UserError, match=f"^actors: {actors} is neither a number from 1 on nor auto"):
        VllmSettings(model="big/one", actors=actors)


# ── really ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def replies_of(engine: Engine, disturb: Callable[[], None] = lambda: None) -> dict[str, str | None]:
    """By request; `disturb` comes after the first."""
    found: dict[str, str | None] = {}
    for reply in engine.ask(QUESTIONS, Event()):
        assert reply.request_id not in found and reply.error is None
        found[reply.request_id] = reply.reply
        if len(found) == 1:
            disturb()
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> VllmSettings:
    model = tiny_chat_model(tmp_path_factory.mktemp("vllm") / "tiny")
    arguments = {"kv_cache_memory_bytes": 128 << 20, "max_num_seqs": 4}
    return VllmSettings(model=str(model), max_length=1024, engine_args=arguments, actors=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with raylets(2) as cluster:
        yield cluster


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.filterwarnings("ignore")
def test_whoever_dies_costs_what_it_had_under_way_and_changes_nothing(
    settings: VllmSettings, cluster: Any, tmp_path: Path
) -> None:
    with closing(VllmEngine("tiny", settings, tmp_path)) as one:
        alone = replies_of(one)
    assert len(alone) == len(QUESTIONS)

    def kill_an_actor() -> None:
        actors = workers("_Actor")
        assert len(actors) == 2
        actors[0].kill()

    def kill_an_engine() -> None:
        below = psutil.Process().children(recursive=True)
        next(child for child in below if child.name().startswith("VLLM::Engine")).kill()

    def kill_a_machine() -> None:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    with closing(VllmActors("tiny", settings, tmp_path, cluster.address)) as several:
        for disturb in (kill_an_actor, kill_an_engine, kill_a_machine):
            assert replies_of(several, disturb) == alone, disturb.__name__
    assert {"vllm-tiny-1.log", "vllm-tiny-2.log"} <= {file.name for file in tmp_path.iterdir()}
    left = [child for child in psutil.Process().children(recursive=True) if child.name().startswith("VLLM")]
    assert psutil.wait_procs(left, timeout=60)[1] == []
