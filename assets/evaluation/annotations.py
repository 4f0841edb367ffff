"""evaluation.annotations: verdicts of other people's judges, as the files of the profile have them now."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, asset_key, table_result
from models_py.content import FileHashes
from models_py.evaluation.annotations import read_annotations
from models_py.sources.read import readable_files

TABLE = "evaluation.annotations"


@dg.asset(
    key=asset_key(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def annotations(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    rows = [asdict(one) for one in read_annotations(profile.evaluation.annotations)]
    lake.mirror({TABLE: rows}, Commit("annotations of the profile", asset=TABLE, run_id=context.run_id))
    return table_result(lake, TABLE)


def observed(profile: Profile) -> list[Any]:
    """What the files hold. Raises UserError or OSError."""
    hashes = FileHashes(profile.file_hashes)
    files = profile.evaluation.annotations
    found = readable_files([one.files for one in files])
    seen = [[one.name, one.format, [hashes.of(path) for path in found[one.name]]] for one in files]
    hashes.save()
    return seen
