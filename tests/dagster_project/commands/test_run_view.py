"""What the terminal shows of a run, whichever process its steps run in."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import RetryMode
from rich.console import Console

from dagster_project.checks import FIRST_VIOLATIONS
from dagster_project.commands.run_view import WATCH_TAG, RunWatcher
from dagster_project.steps.step_progress import observation
from models_py.errors import UserError
from models_py.progress import Progress
from tests.conftest import PROJECT

KEY = dg.AssetKey(["scoring", "rows"])


@dg.asset(key=KEY)
def rows(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log_event(observation(KEY, "reading", Progress(1000, None, "rows"), 4.0))
    context.log_event(dg.AssetObservation(KEY, metadata={"progress": "of somebody else"}))
    context.log.info("copying: 1/2 files, ETA 0:01")
    return dg.MaterializeResult(metadata={"dagster/row_count": 1000})


def job(executor: str) -> dg.JobDefinition:
    how = dg.in_process_executor if executor == "in_process" else dg.multiprocess_executor
    whole = dg.define_asset_job("whole", executor_def=how)
    return dg.Definitions(assets=[rows], jobs=[whole]).resolve_job_def("whole")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_the_terminal_shows_progress_by_its_tag_and_no_line_that_looks_like_it(tmp_path: Path, executor: str) -> None:
    reconstructable = dg.build_reconstructable_job(
        __name__, "job", (executor,), reconstructor_working_directory=str(PROJECT)
    )
    shown = io.StringIO()
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        with RunWatcher(instance, "token", Console(file=shown, width=120)):
            result = dg.execute_job(reconstructable, instance, tags={WATCH_TAG: "token"})
        assert result.success
    progress, finished = shown.getvalue().splitlines()
    assert progress.rstrip() == "    reading: 1,000 rows, 250.0/s"
    assert "✓ scoring/rows" in finished and "1,000 rows" in finished


def test_what_has_the_data_version_of_before_is_told(tmp_path: Path) -> None:
    versions = iter(["one", "one", "two"])

    @dg.asset(key=KEY)
    def versioned() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion(next(versions)))

    shown = io.StringIO()
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        for token in "abc":
            with RunWatcher(instance, token, Console(file=shown, width=120)):
                dg.materialize([versioned], instance=instance, tags={WATCH_TAG: token})
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert [line.endswith(" s   as before") for line in lines] == [False, True, False]


@dg.asset_check(asset=rows)
def reflections_are_usable() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"violations": 1})


@dg.asset_check(asset=rows)
def quarantine_share() -> dg.AssetCheckResult:
    offenders = [{"source": "mine", "share": "0.5"}, {"source": "other", "share": "0.7"}]
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"violations": 2, FIRST_VIOLATIONS: dg.MetadataValue.json(offenders)},
    )


def test_of_a_check_that_fails_an_offender_is_shown_and_the_way_to_all(tmp_path: Path) -> None:
    shown = io.StringIO()
    checks = [quarantine_share, reflections_are_usable]
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        RunWatcher(instance, "token", Console(file=shown, width=120), " PROFILE=mine"),
    ):
        dg.materialize([rows, *checks], instance=instance, tags={WATCH_TAG: "token"})
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    at = lines.index("  ! check quarantine_share on scoring/rows: 2 violations")
    assert lines[at + 1] == "      such as: share 0.5, source mine"
    assert lines[at + 2] == "      all: make sql PROFILE=mine FILE=sql/checks/quarantine_share.sql"
    at = lines.index("  ! check reflections_are_usable on scoring/rows: 1 violation")
    assert not any("reflections_are_usable.sql" in line for line in lines)  # the file is for several assets


def failures(job: Callable[[], dg.JobDefinition], folder: Path) -> list[str]:
    """What is told of a run of that job, which fails."""
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        with RunWatcher(instance, "token", Console(file=io.StringIO())) as watcher:
            result = dg.execute_job(dg.reconstructable(job), instance, tags={WATCH_TAG: "token"})
        assert not result.success
    return watcher.failures


def test_what_a_step_raised_is_told_once_by_the_name_of_its_asset(tmp_path: Path) -> None:
    assert failures(of_lost, tmp_path) == ["scoring/lost: scores: lost. Look again"]


@dg.asset(key=["scoring", "lost"])
def lost() -> None:
    raise UserError("scores: lost. Look again")


def of_lost() -> dg.JobDefinition:
    whole = dg.define_asset_job("whole", executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[lost], jobs=[whole]).resolve_job_def("whole")


def test_blocking_checks_that_fail_end_a_run_in_our_words(tmp_path: Path) -> None:
    assert failures(of_blocked, tmp_path) == [
        "scoring/rows: a blocking check does not hold, so nothing is made of these rows; the lines with ✗ above say "
        "what it found. Mend that, or the check (sql/checks/) where it asks too much"
    ]


@dg.multi_asset_check(
    name="check_scoring_rows",
    specs=[dg.AssetCheckSpec(name, asset=KEY, blocking=name != "told") for name in ("a", "b", "told")],
)
def blocked() -> Iterator[dg.AssetCheckResult]:
    for name in ("a", "b", "told"):
        yield dg.AssetCheckResult(passed=False, check_name=name, asset_key=KEY, metadata={"violations": 1})


def of_blocked() -> dg.JobDefinition:
    whole = dg.define_asset_job(
        "whole",
        selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[rows], asset_checks=[blocked], jobs=[whole]).resolve_job_def("whole")


class Nowhere(dg.Executor):
    """Finds nobody who would execute a step."""

    @property
    def retries(self) -> RetryMode:
        return RetryMode.ENABLED

    def execute(self, *_: object) -> Iterator[dg.DagsterEvent]:
        raise UserError("ray.address: no cluster answers. Name a running one")


@dg.executor(name="nowhere", requirements=multiple_process_executor_requirements())
def nowhere(_: dg.InitExecutorContext) -> dg.Executor:
    return Nowhere()


def test_what_ends_a_run_outside_of_any_step_is_shown(tmp_path: Path) -> None:
    assert failures(of_nowhere, tmp_path) == ["the run: ray.address: no cluster answers. Name a running one"]


def of_nowhere() -> dg.JobDefinition:
    whole = dg.define_asset_job("whole", executor_def=nowhere)
    return dg.Definitions(assets=[rows], jobs=[whole]).resolve_job_def("whole")
