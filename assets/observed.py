"""What the roots of the graph are made of now: the profile's values, the files it names, the bytes of the sources.

Dagster knows the data versions of the last run and the code versions of the definitions it has loaded. A file or a
value that has changed since shows in neither, so the roots' code versions carry a hash of what they would read now:
reload the definitions, and exactly the roots that would come out different are unsynced.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.profile import recipes, sources, students, teachers, training_settings
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
}


def with_observed(assets: Sequence[Any], profile: Profile) -> list[Any]:
    """The assets, each root's code version extended by what is observed of it. Starts, asks and downloads nothing."""
    observed = {root: observed_version(root, profile) for root in _READ}
    for name, recipe in profile.recipes.items():
        trained = {"student": recipe.student, "training": profile.training_of(name).hashed}
        observed[key("training", name, "student_checkpoint")] = fingerprint(trained)[:_CHARS]

    def extended(spec: dg.AssetSpec) -> dg.AssetSpec:
        seen = observed.get(spec.key)
        code_version = f"{spec.code_version}-{seen}" if seen else spec.code_version
        return spec.replace_attributes(code_version=code_version)

    return list(dg.map_asset_specs(extended, assets))


def observed_version(root: dg.AssetKey, profile: Profile) -> str:
    """A hash of what a root of the graph would read now; its code version ends in it."""
    try:
        return fingerprint(_READ[root](profile))[:_CHARS]
    except (UserError, OSError) as error:  # the step will say it; loading the definitions must not fail
        return fingerprint("cannot be read", str(error))[:_CHARS]
