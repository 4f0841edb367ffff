"""The table of contents: every stage in flow order, its resources, checks and jobs."""

import dagster as dg

from assets import evaluation as evaluation_stage
from assets import profile as profile_stage
from assets import raw as raw_stage
from assets import reflection as reflection_stage
from assets import report as report_stage
from assets import scoring as scoring_stage
from assets import selection as selection_stage
from assets import training as training_stage
from assets.observed import SOURCES, observed_version, with_observed
from assets.training.student_checkpoint import student_checkpoint
from assets.training.training_pairs import training_pairs
from dagster_project.checks import asset_checks
from dagster_project.jobs import in_phases, jobs
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.ray_executor import ray_executor
from dagster_project.sql_assets import sql_assets
from dagster_project.steps.step_progress import tell_waiting
from dagster_project.up_to_date import bring_up_to_date, sources_changed


def build_definitions(profile: Profile) -> dg.Definitions:
    """Everything Dagster knows, for one profile."""
    recipes = [*profile.recipes]
    assets = [
        *dg.load_assets_from_package_module(profile_stage),
        *dg.load_assets_from_package_module(raw_stage),
        *dg.load_assets_from_package_module(reflection_stage),
        *dg.load_assets_from_package_module(scoring_stage),
        *dg.load_assets_from_package_module(selection_stage),
        *sql_assets(recipes),
        *(make(recipe) for recipe in profile.recipes for make in (training_pairs, student_checkpoint)),
        *dg.load_assets_from_package_module(training_stage),
        *dg.load_assets_from_package_module(evaluation_stage),
        *dg.load_assets_from_package_module(report_stage),
    ]
    return dg.Definitions(
        assets=in_phases(with_observed(assets, profile)),
        asset_checks=asset_checks(recipes),
        jobs=[*jobs(profile.name), bring_up_to_date],
        sensors=[sources_changed(lambda: observed_version(SOURCES, profile))],
        resources={"lake": open_lake(profile, tell_waiting), "profile": profile},
        executor=_executor(profile),
    )


def _executor(profile: Profile) -> dg.ExecutorDefinition:
    if profile.executor == "in_process":
        return dg.in_process_executor
    if profile.executor == "ray":
        return ray_executor(profile)
    # One step at a time even across processes: phases depend on each other, and GPU memory is freed when a step ends.
    return dg.multiprocess_executor.configured({"max_concurrent": 1})


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_profile(policies=policies()))
