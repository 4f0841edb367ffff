"""Dagster's steps as jobs of a Ray cluster: what dagster-ray does, with each step's GPU, end and machine looked after.

A step that only runs SQL in the lake is run by the run's own process: a job takes a hundred times as long to start.
Only a run imports this module, see ray_executor.py: it imports Ray.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterEvent
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandlerContext,
)
from dagster._utils.interrupts import check_captured_interrupt
from dagster_ray.core.executor import RayStepHandler

from dagster_project.lakehouse.sql_files import load_models
from dagster_project.profile.load import PROFILE_VARIABLE
from dagster_project.profile.schema import Profile
from models_py.ray_cluster import has_ended, machines, worker_variables
from models_py.teacher.spec import VllmSettings

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LOOK_S = 0.25
_HEALTH_S = 5  # between two looks at whether the jobs live
_SUBMIT_S = 120  # that a cluster has to take a job
_END_S = 3600  # that a step has to end in order, before Ray kills it: it may wait for replies that are paid for
_MOST_MACHINES = 3  # that a step may lose before it has failed
_LOST = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT")


class RaySteps(RayStepHandler):
    """Launches, watches and ends the steps of one run."""

    def __init__(
        self, profile: Profile, client: "JobSubmissionClient", address: str, context: PlanOrchestrationContext
    ) -> None:
        self._profile = profile
        self._context = context
        cluster = machines(address)
        self._gpus = int(sum(machine.get("GPU", 0) for machine in cluster))
        self._machines = len(cluster)
        self._lost: Counter[str] = Counter()
        self._stopping: list[str] = []
        here = str(Path(sys.executable).parent)  # where `dagster` lies
        variables = {
            "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
            **worker_variables(),
            PROFILE_VARIABLE: str(profile.file),
            "RAY_JOB_STOP_WAIT_TIME_S": str(_END_S),
            # Ray gives a job that reserves no core one thread.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")
            or str(int(min((machine.get("CPU", 1) for machine in cluster), default=1))),
        }
        super().__init__(
            client=client,
            env_vars=[*profile.ray.env_vars],
            runtime_env={"env_vars": variables},
            num_cpus=None,
            num_gpus=None,
            memory=None,
            resources=None,
        )

    def executor(self, retries: RetryMode) -> StepDelegatingExecutor:
        """What runs the steps: as many at once as there are GPUs, or machines where there are none."""
        return StepDelegatingExecutor(
            self,
            retries,
            sleep_seconds=_LOOK_S,
            check_step_health_interval_seconds=_HEALTH_S,
            max_concurrent=max(self._gpus, self._machines),
            should_verify_step=False,  # a step whose machine was lost begins twice
        )

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        key = self._get_step_key(step_handler_context)
        if _is_sql(key):
            yield from self._run_here(key, step_handler_context)
            return
        self.num_gpus = self._gpus_of(key)
        until = time.monotonic() + _SUBMIT_S
        while True:
            try:
                yield from super().launch_step(step_handler_context)
                return
            except RuntimeError as error:  # no agent of a young cluster is there yet, or its answer was lost
                if "already exists" in str(error):
                    return
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK_S)

    def _run_here(self, key: str, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """As a job would run it; its events are stored, and the executor finds them there."""
        run, job = self._context.dagster_run, self._context.job
        plan = create_execution_plan(
            job,
            run_config=run.run_config,
            step_keys_to_execute=[key],
            known_state=step_handler_context.execute_step_args.known_state,
        )
        yield from execute_plan_iterator(plan, job, run, self._context.instance, run_config=run.run_config)

    def _gpus_of(self, key: str) -> int | None:
        """How many GPUs a step takes for itself, where the cluster has some."""
        return (
            gpus_of(self._profile, key, self._context.execution_plan.get_step_by_key(key).pool) if self._gpus else None
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """As dagster-ray does it; but a step that lost its machine, or got none in time, is submitted anew."""
        key, job = self._get_step_key(step_handler_context), self._get_ray_job_submission_id(step_handler_context)
        try:
            lost = self.client.get_job_info(job).error_type in _LOST
        except RuntimeError:
            lost = False
        if lost and self._lost[key] < _MOST_MACHINES:
            self._lost[key] += 1
            list(self.launch_step(step_handler_context))
            return CheckStepHealthResult.healthy()
        health: CheckStepHealthResult = super().check_step_health(step_handler_context)
        return health

    def _get_ray_job_submission_id(self, step_handler_context: StepHandlerContext) -> str:
        job = str(super()._get_ray_job_submission_id(step_handler_context))
        lost = self._lost[self._get_step_key(step_handler_context)]
        return f"{job}-again-{lost}" if lost else job

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        self._stopping.append(self._get_ray_job_submission_id(step_handler_context))
        with suppress(RuntimeError):  # it never began, or its cluster is gone
            yield from super().terminate_step(step_handler_context)

    def await_stopped(self) -> None:
        """Wait until what was told to end has ended; another interrupt is a person who will not wait."""
        check_captured_interrupt()
        while not all(has_ended(self.client, job) for job in self._stopping):
            if check_captured_interrupt():
                return
            time.sleep(_LOOK_S)


def gpus_of(profile: Profile, key: str, pool: str | None) -> int | None:
    """How many GPUs a step takes for itself, by what it does; one whose actors take them takes none."""
    stage, *names = key.split("__")
    if stage == "scoring":
        return None
    asked = {"reflection": profile.teachers, "evaluation.verdicts": profile.evaluation.judges}
    for asks, engines in asked.items():
        if ".".join([stage, *names]).startswith(asks):
            here = (one for one in engines.values() if isinstance(one, VllmSettings) and one.actors is None)
            return max((engine.gpus for engine in here), default=None)
    if names[-1:] == ["student_checkpoint"]:
        own = (settings for settings in profile.trainings_of(names[0]) if settings.machines == 1)
        return max((settings.processes for settings in own), default=None)
    return 1 if pool == "gpu" else None


def _is_sql(key: str) -> bool:
    """Whether a step is a view or a check: one SELECT of sql/."""
    return key.startswith("check_") or ".".join(key.split("__")) in load_models()
