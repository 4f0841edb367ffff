"""selection.contaminated_texts: which texts, original or rewritten, hold a copy of what an evaluation file asks.

It is looked for in every candidate once all are known and before a recipe decides, so that rewrites are seen too.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.lakehouse.answers import relations_read
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.parts import parts_of_pairs
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, TOLD_KEY, asset_key, table_result
from dagster_project.steps.step_progress import StepProgress
from models_py.cleaning.contamination import LookedFor, copies_in_all
from models_py.cleaning.evaluation_texts import read_evaluation_texts
from models_py.content import FileHashes, fingerprint
from models_py.sources.hub import shown
from models_py.sources.read import readable_files

TABLE = "selection.contaminated_texts"
_READ_ROWS = 4_000  # candidates held in memory at once
_PAIRS_AT_ONCE = 25_000  # whose texts DuckDB holds in memory: the view joins them
_CANDIDATES = """
select content_id, system, history, instruction, input, output
from selection.candidates
where pair_id >= $1 and pair_id < $2
"""


@dg.asset(
    key=asset_key(TABLE),
    deps=[asset_key(table) for table in relations_read(_CANDIDATES) or ()],
    description=TABLES_BY_NAME[TABLE].description,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    code_version=code_version(__name__),
)
def contaminated_texts(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
) -> dg.MaterializeResult:
    commit = Commit("copies of evaluation texts", asset="selection/contaminated_texts", run_id=context.run_id)
    files = profile.evaluation.contamination
    told: list[str] = []
    with lake.exclusively(TABLE):
        if files:
            looked_for = LookedFor.of(read_evaluation_texts(files, lambda path: _shown(path, profile)))
            progress = StepProgress(context, "looking for evaluation texts", context.asset_key)
            made_with = fingerprint(code_version(__name__), observed(profile))
            lake.derive(TABLE, _CANDIDATES, made_with, lambda: _found(lake, looked_for, progress), commit)
            told = looked_for.told()
        else:
            lake.mirror({TABLE: []}, commit)
    return table_result(lake, TABLE, metadata={TOLD_KEY: dg.MetadataValue.text("\n".join(told))} if told else None)


def observed(profile: Profile) -> list[Any]:
    """What is looked for: the settings of the evaluation files, and what they hold. Raises UserError or OSError."""
    hashes = FileHashes(profile.file_hashes)
    files = profile.evaluation.contamination
    found = readable_files([one.files for one in files])
    seen = [[one.settings, [[_shown(path, profile), hashes.of(path)] for path in found[one.name]]] for one in files]
    hashes.save()
    return seen


def _found(lake: Lake, looked_for: LookedFor, progress: StepProgress) -> pl.DataFrame:
    pairs = int(str(lake.scalar("select count(*) from raw.raw_pairs")))
    parts = parts_of_pairs(pairs, _PAIRS_AT_ONCE)
    batches = (lake.batches(_CANDIDATES, part, rows=_READ_ROWS) for part in parts)
    total = int(str(lake.scalar("select count(distinct content_id) from selection.candidates")))
    return copies_in_all(chain.from_iterable(batches), looked_for, total=total, on_progress=progress)


def _shown(path: Path, profile: Profile) -> str:
    return shown(path).removeprefix(f"{profile.root}/")
