"""Runs in processes that are really killed, and others that live; which of them are marked."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.commands import killed_runs
from dagster_project.commands.killed_runs import mark_killed_runs
from dagster_project.commands.run_view import WATCH_TAG
from tests.support.processes import python
from tests.support.values import known

pytestmark = [pytest.mark.kill, pytest.mark.slow]

RUN = """
import contextlib, json, sys, time
from pathlib import Path
import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster_project.commands.killed_runs import running

home, tags = Path(sys.argv[1]), json.loads(sys.argv[2])

@dg.op
def wait():
    (home / "waits").touch()
    time.sleep(120)

@dg.job
def one():
    wait()

token = tags.get("reflection_lake/watch")
with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
    with running(home, token) if token else contextlib.nullcontext():
        one.execute_in_process(instance=instance, tags=tags)
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        yield instance


def statuses(instance: dg.DagsterInstance) -> list[str]:
    return [run.status.value for run in instance.get_runs()]


@pytest.mark.parametrize("tags", [{WATCH_TAG: "a1"}, {}], ids=["make run", "the UI's"])
def test_a_run_is_marked_once_its_process_is_killed_and_not_before(
    tags: dict[str, str], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with python(RUN, tmp_path, json.dumps(tags)) as process:
        while not (tmp_path / "waits").exists():
            assert process.poll() is None, known(process.stderr).read()
            time.sleep(0.02)
        assert (mark_killed_runs(instance, tmp_path), statuses(instance)) == ([], ["STARTED"])
        process.kill()
        process.wait()
        (run,) = instance.get_runs()
        assert mark_killed_runs(instance, tmp_path) == [
            f"Run {run.run_id[:8]} was killed and is marked as failed; what it had finished is kept."
        ]
        assert statuses(instance) == ["FAILURE"]
        last = instance.all_logs(run.run_id)[-1]
        assert "The process of this run was killed" in str(known(last.dagster_event).message)
        assert mark_killed_runs(instance, tmp_path) == []
        assert list((tmp_path / "running").glob("*")) == []


def new_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    @dg.job
    def one() -> None: ...

    return instance.create_run_for_job(one, status=status, tags=tags)


def begins(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    from dagster._core.events import EngineEventData

    instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))


def test_a_run_that_was_to_be_canceled_is_canceled(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = new_run(instance, dg.DagsterRunStatus.CANCELING)
    begins(instance, run, pid=2**22 + 1)  # no process has it
    assert len(mark_killed_runs(instance, tmp_path)) == 1
    assert statuses(instance) == ["CANCELED"]


def test_one_that_was_killed_before_it_began_is_failed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    new_run(instance, dg.DagsterRunStatus.NOT_STARTED, **{WATCH_TAG: "a2"})
    assert len(mark_killed_runs(instance, tmp_path)) == 1
    assert statuses(instance) == ["FAILURE"]


def test_one_that_the_ui_has_not_begun_yet_is_left(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    new_run(instance, dg.DagsterRunStatus.STARTING)
    assert mark_killed_runs(instance, tmp_path) == []


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "CANCELING"])
def test_one_that_the_ui_has_not_begun_after_ten_minutes_was_killed(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    new_run(instance, dg.DagsterRunStatus(status))
    assert mark_killed_runs(instance, tmp_path) == []
    monkeypatch.setattr(killed_runs, "_BEGINS_IN_S", 0.2)
    time.sleep(0.3)
    assert len(mark_killed_runs(instance, tmp_path)) == 1
    assert statuses(instance) == ["CANCELED" if status == "CANCELING" else "FAILURE"]


def test_a_process_with_the_number_of_an_earlier_one_does_not_keep_a_run_alive(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    now = time.time()
    assert killed_runs._lives(os.getpid(), now)
    assert not killed_runs._lives(os.getpid(), now - 10_000_000)
    run = new_run(instance, dg.DagsterRunStatus.STARTED)
    begins(instance, run, pid=os.getpid())
    assert mark_killed_runs(instance, tmp_path) == []
