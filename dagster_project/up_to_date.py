"""What is out of date and what brings it up to date: the job `bring_up_to_date`, and the sensor `sources_changed`.

Dagster calls an asset unsynced when its own code version, or a data version one step above it, is not what it was made
from. What lies further below is reached once that is made again, so one run takes both: the unsynced assets and all
below them. Nothing is unsynced after it.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from dagster_project.jobs import MAIN_JOB

BRING_UP_TO_DATE = "bring_up_to_date"
_SOURCES = dg.AssetKey(["profile", "sources"])
_CODE_VERSION = "dagster/code_version"
_NOT_ENDED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_LOOK_EVERY_S = 60
STARTED_BY = "reflection_lake/started_by"


def unsynced(graph: BaseAssetGraph[Any], instance: dg.DagsterInstance) -> dict[dg.AssetKey, str]:
    """The assets that are not what they would be if they were made now, in flow order, each with the cause."""
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    found: dict[dg.AssetKey, str] = {}
    for key in graph.toposorted_asset_keys:
        if resolver.get_status(key) is StaleStatus.MISSING:
            found[key] = "was never materialized"
        elif causes := resolver.get_stale_causes(key):
            reasons = ((cause.reason, cause.dependency_asset_key) for cause in causes)
            found[key] = ", ".join(f"{why}: {of.to_user_string()}" if of else why for why, of in reasons)
    return found


def to_materialize(job: dg.JobDefinition, instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    """What a run of `job` has to make: its unsynced assets and all below them; empty when everything is up to date."""
    graph, keys = job.asset_layer.asset_graph, set(job.asset_layer.executable_asset_keys)
    stale = keys & unsynced(graph, instance).keys()
    return sorted(keys & dg.AssetSelection.assets(*stale).downstream().resolve(graph)) if stale else []


@dg.op(description="Find what is unsynced in the profile as it is now, and run that and all below it.")
def make_what_is_unsynced(context: dg.OpExecutionContext) -> None:
    # Loaded anew: this process may have started before the change that is to be picked up.
    job = dg.build_reconstructable_job("dagster_project.commands.run", "job_of_profile", (MAIN_JOB,))
    keys = to_materialize(job.get_definition(), context.instance)
    if not keys:
        context.log.info("Everything is up to date.")
        return
    context.log.info(f"{len(keys)} assets to make: {', '.join(key.to_user_string() for key in keys)}")
    result = dg.execute_job(job, context.instance, asset_selection=keys, tags={STARTED_BY: context.run_id})
    if not result.success:
        raise dg.Failure(f"Run {result.run_id} failed; its page says where and why.")


@dg.job(name=BRING_UP_TO_DATE, description="Materialize what is unsynced and all below it, in a run of its own.")
def bring_up_to_date() -> None:
    make_what_is_unsynced()


def sources_changed(look: Callable[[], str]) -> dg.SensorDefinition:
    """Starts `bring_up_to_date` when the sources are not what they were when profile/sources was materialized.

    look: reads them now; what it returns is the end of that asset's code version.
    """

    @dg.sensor(
        name="sources_changed",
        job_name=BRING_UP_TO_DATE,
        minimum_interval_seconds=_LOOK_EVERY_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Looks at the profile's source files every minute; content that has changed starts "
        f"{BRING_UP_TO_DATE}. Off until it is switched on: new rows are asked of the teachers.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = look()
        event = context.instance.get_latest_materialization_event(_SOURCES)
        if event is None or event.asset_materialization is None:
            return dg.SkipReason("profile/sources was never materialized: the first run is yours to start")
        made_from = (event.asset_materialization.tags or {}).get(_CODE_VERSION, "")
        if made_from.endswith(seen):
            return dg.SkipReason("the source files are what they were")
        if context.cursor == seen:
            return dg.SkipReason(f"{BRING_UP_TO_DATE} was started for this change already")
        if context.instance.get_runs_count(dg.RunsFilter(job_name=BRING_UP_TO_DATE, statuses=_NOT_ENDED)):
            return dg.SkipReason(f"{BRING_UP_TO_DATE} is running")
        return dg.SensorResult([dg.RunRequest()], cursor=seen)

    return sensor
