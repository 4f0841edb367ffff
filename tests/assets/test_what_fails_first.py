"""What a run lacks is said before a student is downloaded or trained, and what it does not need is not asked for."""

import dagster as dg
import pytest

from assets.profile.sources import sources
from dagster_project.definitions import build_definitions
from dagster_project.jobs import MAIN_JOB
from models_py.errors import UserError
from tests.assets.conftest import Flow, Gpt

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
READING = ("profile/sources", "profile/teachers", "profile/recipes", "raw/raw_pairs", "raw/quarantined_rows")
TOY = {"scratch": {"vocab_size": 300, "hidden_size": 16, "layers": 1, "steps": 1, "max_length": 64}}


def ran(flow: Flow, *assets: str) -> dict[str, str]:
    """Runs these assets as Dagster does; the steps that failed, with what they said."""
    job = build_definitions(flow.profile).resolve_job_def(MAIN_JOB)
    keys = [dg.AssetKey(name.split("/")) for name in assets]
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=keys, run_config=QUIET, raise_on_error=False)
        return {str(event.step_key): _message(event) for event in result.filter_events(_failed)}


def _failed(event: dg.DagsterEvent) -> bool:
    return event.event_type is dg.DagsterEventType.STEP_FAILURE


def _message(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    assert error is not None and error.cause is not None
    return error.cause.message


def untouched(flow: Flow) -> bool:
    return not flow.profile.students_dir.exists()


def test_a_source_that_is_not_there_comes_before_a_student(flow: Flow) -> None:
    flow.configure({"students": {"toy": TOY}, "sources": [{"name": "mine", "path": "lost.jsonl"}]})
    failed = ran(flow, *READING, "profile/base_students")
    assert list(failed) == ["profile__sources"] and untouched(flow)


def test_a_key_that_is_not_set_comes_before_a_student(flow: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY_OF_TESTS", raising=False)
    gpt.teaches(flow, {"students": {"toy": TOY}}, api_key_env="KEY_OF_TESTS")
    failed = ran(flow, *READING, "profile/base_students", "reflection/instruction_reflections")
    assert list(failed) == ["profile__teachers"] and untouched(flow)
    assert "teachers.gpt.api_key_env: the environment variable KEY_OF_TESTS is not set" in failed["profile__teachers"]


@pytest.mark.slow
def test_a_recording_of_other_pairs_comes_before_a_student(flow: Flow) -> None:
    flow.replies({("instruction_reflection", ("Another.", "", "Text.")): "Reply."})
    flow.configure({"students": {"toy": TOY}})
    failed = ran(flow, *READING, "profile/base_students", "reflection/instruction_reflections")
    assert list(failed) == ["profile__teachers"] and untouched(flow)
    assert "replies.jsonl: knows 0 of 3 pairs; its 1 pairs are others" in failed["profile__teachers"]


def test_who_asks_nobody_needs_no_key(flow: Flow, gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.sound_student()
    gpt.teaches(flow, api_key_env="KEY_OF_TESTS")
    assert ran(flow, *READING) == {}
    monkeypatch.setenv("KEY_OF_TESTS", "sk-1")
    finished = (*READING, "profile/base_students", "reflection/instruction_reflections")
    assert ran(flow, *finished) == {}
    monkeypatch.delenv("KEY_OF_TESTS")
    assert (ran(flow, *finished), len(gpt.asked)) == ({}, 3)
    gpt.teaches(flow, api_key_env="KEY_OF_TESTS", sampling={"temperature": 1})
    assert list(ran(flow, *finished)) == ["profile__teachers"]


def test_a_warehouse_that_cannot_be_written_is_said(flow: Flow) -> None:
    (flow.folder / "file").write_text("in the way")
    flow.configure({"warehouse": "file/warehouse"})
    with pytest.raises(UserError, match=r"warehouse: .*file/warehouse cannot be written .* Name a folder"):
        flow.run(sources)
