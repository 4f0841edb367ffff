"""profile.sources: where the pairs come from, as the profile says now."""

import json
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key, table_result
from models_py.content import FileHashes, fingerprint
from models_py.sources.hub import shown
from models_py.sources.read import readable_files

TABLE = "profile.sources"


@dg.asset(
    key=key("profile", "sources"),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"yaml", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def sources(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    for source in profile.sources:
        source.fetch()
    lake.mirror(
        {TABLE: rows(profile)}, Commit("sources of the profile", asset="profile/sources", run_id=context.run_id)
    )
    return table_result(lake, TABLE)


def rows(profile: Profile) -> list[dict[str, Any]]:
    """What the profile says now, with the content of the files. Raises UserError when one cannot be read."""
    hashes = FileHashes(profile.file_hashes)
    files = readable_files(profile.sources)
    seen: list[dict[str, Any]] = [
        {
            "source": source.name,
            "paths": [shown(path).removeprefix(f"{profile.root}/") for path in files[source.name]],
            "max_bad_fraction": profile.max_bad_fraction,
            "content_hash": fingerprint([hashes.of(path) for path in files[source.name]]),
            "settings": json.dumps(source.settings, sort_keys=True) if source.settings else None,
        }
        for source in profile.sources
    ]
    hashes.save()
    return seen
