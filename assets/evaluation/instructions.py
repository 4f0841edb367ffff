"""evaluation.instructions: what every evaluated model is asked, as the files of the profile have it now."""

from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, table_result
from models_py.content import FileHashes
from models_py.evaluation.instructions import read_instructions
from models_py.sources.hub import shown
from models_py.sources.read import readable_files

TABLE = "evaluation.instructions"


@dg.asset(
    key=asset_key(TABLE),
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def instructions(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    evaluation = profile.evaluation
    read = read_instructions(evaluation.instructions, lambda path: _shown(path, profile))
    rows: list[dict[str, Any]] = [
        {
            "instruction_set": one.instruction_set,
            "instruction_id": one.instruction_id,
            "file": one.file,
            "source_row": one.row,
            "question_id": one.question_id,
            "system": one.context.system,
            "history": one.context.history_json,
            "instruction": one.instruction,
            "input": one.input,
            "category": one.category,
            "reference": one.reference,
            "generation": evaluation.generation.id,
        }
        for one in read.instructions
    ]
    lake.mirror({TABLE: rows}, Commit("instructions of the profile", asset=TABLE, run_id=context.run_id))
    told = {TOLD_KEY: dg.MetadataValue.text("\n".join(read.told))} if read.told else None
    return table_result(lake, TABLE, metadata=told)


def observed(profile: Profile) -> list[Any]:
    """What is asked and how: the settings, and what the files hold. Raises UserError or OSError."""
    hashes = FileHashes(profile.file_hashes)
    evaluation = profile.evaluation
    found = readable_files([one.files for one in evaluation.instructions])
    seen = [
        [one.settings, [[_shown(path, profile), hashes.of(path)] for path in found[one.name]]]
        for one in evaluation.instructions
    ]
    hashes.save()
    return [evaluation.generation.id, seen]


def _shown(path: Path, profile: Profile) -> str:
    return shown(path).removeprefix(f"{profile.root}/")
