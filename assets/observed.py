"""What assets read beside what lies above them: the profile's values, the files it names, the bytes of the sources.

Dagster knows the data versions of the last run and the code versions of the definitions it has loaded. A file or a
value that has changed since shows in neither, so the code versions of who reads them carry a hash of what they would
read now: reload the definitions, and exactly those that would come out different are unsynced.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.evaluation import annotations, benchmark_tasks, held_out_rows, instructions, judges, opponents
from assets.profile import recipes, sources, students, teachers, training_settings
from assets.raw import near_duplicates
from assets.selection import contaminated_texts
from dagster_project.profile.schema import Profile
from dagster_project.steps.results import key
from models_py.content import fingerprint
from models_py.errors import UserError

SOURCES = key("profile", "sources")
_CHARS = 12
_READ = {
    SOURCES: sources.rows,
    key("profile", "recipes"): recipes.rows,
    key("profile", "training_settings"): training_settings.rows,
    key("profile", "teachers"): teachers.rows,
    key("profile", "students"): students.observed,
    key("profile", "base_students"): students.observed,
    key("raw", "near_duplicates"): near_duplicates.observed,
    key("selection", "contaminated_texts"): contaminated_texts.observed,
    key("evaluation", "held_out_rows"): held_out_rows.observed,
    key("evaluation", "instructions"): instructions.observed,
    key("evaluation", "benchmark_tasks"): benchmark_tasks.observed,
    key("evaluation", "judges"): judges.rows,
    key("evaluation", "opponents"): opponents.observed,
    key("evaluation", "annotations"): annotations.observed,
}


def with_observed(assets: Sequence[Any], profile: Profile) -> list[Any]:
    """The assets, the code version extended by what is observed of each. Starts, asks and downloads nothing."""
    observed = {asset: observed_version(asset, profile) for asset in _READ}
    for name, recipe in profile.recipes.items():
        first, *more = (settings.hashed for settings in profile.trainings_of(name))
        trained = {"student": recipe.student, "training": [first, *more] if more else first}
        observed[key("training", name, "student_checkpoint")] = fingerprint(trained)[:_CHARS]

    def extended(spec: dg.AssetSpec) -> dg.AssetSpec:
        seen = observed.get(spec.key)
        code_version = f"{spec.code_version}-{seen}" if seen else spec.code_version
        return spec.replace_attributes(code_version=code_version)

    return list(dg.map_asset_specs(extended, assets))


def observed_version(asset: dg.AssetKey, profile: Profile) -> str:
    """A hash of what an asset would read now, not counting assets; its code version ends in it."""
    try:
        return fingerprint(_READ[asset](profile))[:_CHARS]
    except (UserError, OSError) as error:  # the step will say it; loading the definitions must not fail
        return fingerprint("cannot be read", str(error))[:_CHARS]
