"""What the roots of the graph are made of now: the profile's values, the files it names, the bytes of the sources.

Dagster knows the data versions of the last run and the code versions of the definitions it has loaded. A file or a
value that has changed since shows in neither, so the roots' code versions carry a hash of what they would read now:
reload the definitions, and exactly the roots that would come out different are unsynced.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.profile import recipes, sources, students, teachers
from dagster_project.profile.schema import Profile
from dagster_project.steps.results import key
from models_py.content import fingerprint
from models_py.errors import UserError


def observed_versions(profile: Profile) -> Mapping[dg.AssetKey, str]:
    """Asset -> hash of what of the profile and its files it is made of. Starts, asks and downloads nothing."""
    students_seen = _version(lambda: students.observed(profile))
    versions = {
        key("profile", "sources"): _version(lambda: sources.rows(profile)),
        key("profile", "recipes"): _version(lambda: recipes.rows(profile)),
        key("profile", "teachers"): _version(lambda: teachers.rows(profile)),
        key("profile", "base_students"): students_seen,
        key("profile", "students"): students_seen,
    }
    for name, recipe in profile.recipes.items():
        trained = {"student": recipe.student, "training": asdict(profile.training)}
        versions[key("training", name, "student_checkpoint")] = fingerprint(trained)
    return versions


def with_observed(assets: Sequence[Any], observed: Mapping[dg.AssetKey, str]) -> list[Any]:
    """The assets, each root's code version extended by what was observed of it."""

    def extended(spec: dg.AssetSpec) -> dg.AssetSpec:
        seen = observed.get(spec.key)
        return spec if seen is None else spec.replace_attributes(code_version=f"{spec.code_version}-{seen[:12]}")

    return list(dg.map_asset_specs(extended, assets))


def _version(read: Callable[[], object]) -> str:
    try:
        return fingerprint(read())
    except (UserError, OSError) as error:  # the step will say it; loading the definitions must not fail
        return fingerprint("cannot be read", str(error))
