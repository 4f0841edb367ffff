"""The executor `ray`: steps as jobs of a Ray cluster, through dagster-ray.

    executor: ray
    ray: {address: auto}      # left out: a cluster on this machine, for this run

A step that loads a model itself takes a GPU where the cluster has some; scoring takes none, its actors do. As many
steps run at once as there are GPUs, or machines where there are none. A step whose machine is lost is begun again, and
goes on from what was committed. Ray is imported when a run executes, not before.
"""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

from dagster_project.profile.schema import Profile
from models_py.ray_cluster import job_client, need_ray, ray_cluster


def ray_executor(profile: Profile) -> dg.ExecutorDefinition:
    """The definition of the executor for one profile."""

    @dg.executor(name="ray", requirements=multiple_process_executor_requirements())
    def ray(_: dg.InitExecutorContext) -> dg.Executor:
        return _OnRay(profile)

    return ray


class _OnRay(dg.Executor):
    """Around dagster-ray's steps: the cluster that takes them."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    @property
    def retries(self) -> RetryMode:
        return RetryMode.ENABLED

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        need_ray("executor")
        with ray_cluster(self._profile.ray.address, jobs=True) as address:
            from dagster_project.ray_steps import RaySteps

            steps = RaySteps(self._profile, job_client(address), address, plan_context)
            try:
                yield from steps.executor(self.retries).execute(plan_context, execution_plan)
            finally:
                steps.await_stopped()
