"""Two machines of a Ray cluster that share a training make of it what one process makes, also when one is lost."""

import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_py.errors import UserError
from models_py.progress import Progress, silent
from models_py.student.spec import ResolvedStudent
from models_py.training.cluster import Cluster, Wanted, too_few_machines, trained_on_machines, wanted
from models_py.training.fine_tune import fine_tune
from models_py.training.process import BrokenDownError
from models_py.training.settings import TrainingSettings
from models_py.training.task import Task
from tests.models_py.training.test_process import trains_in
from tests.models_py.training.test_processes import MANIFEST, ROWS, assert_trained_the_same
from tests.support.ray_clusters import add_machine, raylets

# What Ray leaves for the garbage collector in the process that starts a cluster of several machines.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with raylets(2) as cluster:
        yield cluster


@pytest.fixture
def on_two(settings: TrainingSettings) -> TrainingSettings:
    return dataclasses.replace(
        settings, epochs=12, learning_rate=1e-3, device_batch_size=1, save_minutes=0, processes=2, machines=2
    )


def ranked(folder: Path) -> dict[str, psutil.Process]:
    """The processes that train in the folder, by their ranks. One that is just being started may have an empty rank."""
    return {rank: one for one in trains_in(folder) if (rank := one.environ().get("RANK", ""))}


def raylet_of(process: psutil.Process) -> psutil.Process:
    return next(one for one in process.parents() if one.name() == "raylet")


def ends(folder: Path) -> bool:
    """Whether nothing trains in the folder any more; who has just lost its parent has a moment."""
    until = time.monotonic() + 10
    while trains_in(folder) and time.monotonic() < until:
        time.sleep(0.1)
    return trains_in(folder) == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.kill
def test_a_machine_is_lost_and_another_comes(
    student: ResolvedStudent, on_two: TrainingSettings, trained_here: None, cluster: Any, tmp_path: Path
) -> None:
    alone = dataclasses.replace(on_two, processes=1, machines=1)
    fine_tune(ROWS, student=student, settings=alone, out_dir=tmp_path / "one", manifest=MANIFEST)
    asked: dict[str, Any] = {"student": student, "settings": on_two, "out_dir": tmp_path / "two", "manifest": MANIFEST}

    def lose_a_machine(progress: Progress) -> None:
        if progress.done == 2:
            raylet = raylet_of(ranked(tmp_path)["1"])
            for process in [*raylet.children(recursive=True), raylet]:
                process.kill()
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    with pytest.raises(BrokenDownError, match=r"machine [\d.]+ failed \(.*Its log is .*two\.training/training\.log"):
        fine_tune(ROWS, **asked, cluster=Cluster(cluster.address), on_progress=lose_a_machine)
    assert ends(tmp_path)
    (saved,) = (tmp_path / ".two.training").glob("step-*[0-9]")

    with pytest.raises(UserError, match=r"training\.machines is 2, each with 1 CPU, and the cluster has 1 of these"):
        fine_tune(ROWS, **asked, cluster=Cluster(cluster.address))
    assert saved.is_dir()

    waited_for: list[str] = []

    def scale_up(progress: Progress) -> None:
        if "waiting" in progress.note:
            waited_for.append(progress.note)
            if len(waited_for) == 1:
                add_machine(cluster)

    waiting = Cluster(cluster.address, wait_minutes=5)
    two = fine_tune(ROWS, **asked, cluster=waiting, on_progress=scale_up)
    assert waited_for[0] == "waiting for 2 machines with 1 CPU free"
    assert two.content["resumed_after_steps"] == [int(saved.name.removeprefix("step-"))]
    assert (two.content["processes"], two.content["machines"]) == (2, 2)
    assert_trained_the_same(tmp_path / "one", tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.kill
def test_what_breaks_down_on_one_machine_ends_all(
    student: ResolvedStudent, on_two: TrainingSettings, cluster: Any, tmp_path: Path
) -> None:
    on_the_head: dict[str, bool] = {}

    def kill_the_second(progress: Progress) -> None:
        if not on_the_head:
            found = ranked(tmp_path)
            on_the_head.update({rank: "--head" in raylet_of(process).cmdline() for rank, process in found.items()})
            found["1"].kill()

    asked: dict[str, Any] = {"settings": on_two, "manifest": MANIFEST, "cluster": Cluster(cluster.address)}
    with pytest.raises(BrokenDownError, match=r"broke down: .*Its log is .*c\.training/training(-1)?\.log"):
        fine_tune(ROWS, student=student, out_dir=tmp_path / "c", on_progress=kill_the_second, **asked)
    assert trains_in(tmp_path) == []
    assert on_the_head == {"0": True, "1": False}  # the first one is where this process is


@pytest.mark.slow
@pytest.mark.ray
def test_a_machine_that_sees_another_folder_is_refused(
    student: ResolvedStudent, on_two: TrainingSettings, cluster: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "unseen" / ".c.partial-1"
    task = Task("paper", tuple(ROWS), student, student.model, on_two, folder, tmp_path / ".c.training")
    with pytest.raises(UserError, match=r"training\.machines: .*unseen is not the step's own .*\(on machine [\d.]+\)$"):
        trained_on_machines(task, silent, Cluster(cluster.address))
    assert list(tmp_path.iterdir()) == []


GPUS_8, GPUS_4, NO_GPU = {"CPU": 16.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}


@pytest.mark.parametrize(
    ("machines", "told"),
    [
        ([GPUS_8, GPUS_8, NO_GPU], None),
        ([GPUS_8, GPUS_4, NO_GPU], r"machines is 2, each with 8 GPUs, and the cluster has 1 of these among its 3"),
        ([NO_GPU, NO_GPU], None),  # where nobody has a GPU cores count
        ([], r"each with 8 CPUs, and the cluster has 0 of these among its 0; .*ray\.address.*ray\.wait_minutes"),
    ],
)
def test_too_few_machines_are_told_by_what_each_must_have(machines: list[dict[str, float]], told: str | None) -> None:
    found = too_few_machines(TrainingSettings(processes=16, machines=2), machines)
    assert found is None if told is None else re.search(told, found or "")


@pytest.mark.parametrize(
    ("machines", "bundle", "is_first_here"),
    [
        ({"here": GPUS_8, "a": GPUS_8}, {"CPU": 1, "GPU": 8}, True),
        ({"here": NO_GPU, "a": GPUS_8, "b": GPUS_8}, {"CPU": 1, "GPU": 8}, False),
        ({"here": {"CPU": 32.0}, "a": NO_GPU, "b": {"CPU": 2.0}}, {"CPU": 32}, True),
        ({"here": {}}, {"CPU": 8}, False),  # a head that takes no work, before others come
    ],
)
def test_the_first_machine_is_this_one_where_it_can_be(
    machines: dict[str, dict[str, float]], bundle: dict[str, int], is_first_here: bool
) -> None:
    first = {"ray.io/node-id": "here"} if is_first_here else {}
    assert wanted(TrainingSettings(processes=16, machines=2), machines, "here") == Wanted(bundle, first)


def test_a_cluster_must_be_named(
    student: ResolvedStudent, on_two: TrainingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"training\.machines is 2, and no Ray cluster is named; name one \(ray:"):
        fine_tune(ROWS, student=student, settings=on_two, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert list(tmp_path.iterdir()) == []
