"""What a checkpoint comes from, for its manifest and its model card: its rows, who wrote them and who chose them."""

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assets.training.training_pairs import CurrentSet
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.profile.load import DEFAULT_PROFILE
from dagster_project.profile.schema import Profile
from dagster_project.steps.project_version import project_version
from models_py.card_text import FILE, SourceOfRows
from models_py.student.license import stated_license
from models_py.student.spec import ResolvedStudent
from models_py.training.card import CardFacts, card

_PARTS = "from selection.recipe_parts where recipe = ?"
_ROWS = "from training.training_pairs where recipe = ? and data_version = ?"
_NO_CUTS = ("policy", "teacher", "student")


def provenance(lake: Lake, profile: Profile, rows: CurrentSet) -> dict[str, Any]:
    """What the manifest says beside the training itself; nothing of it decides about the weights."""
    recipe, data_version = rows.recipe, rows.data_version
    parts = next(iter(lake.read(_PARTS, [recipe]).to_dicts()), None)
    asked = profile.recipes[recipe]
    cuts = {name: value for name, value in asked.columns.items() if name not in _NO_CUTS and value}
    by_candidate = lake.read(
        f"select candidate, count(*) {_ROWS} group by candidate order by selection.candidate_order(candidate)",
        [recipe, data_version],
    )
    known: dict[str, Any] = {
        "recipe": recipe,
        "data_version": data_version,
        "snapshot_id": rows.snapshot_id,
        "catalog": _catalog(lake),
        "profile": profile.name,
        "project": project_version(),
        "rows_by_candidate": dict(by_candidate.iter_rows()),
        "selection": {
            "policy": asked.policy,
            **cuts,
            "first_choice": profile.first_choice,
            "response_reflection": profile.response_reflection,
        },
    }
    if parts is not None:
        known |= {
            "teacher": {
                "name": asked.teacher,
                "engine": parts["engine"],
                "identity": parts["teacher_identity"],
                "model": parts["teacher_model"],
            },
            "prompt_versions": {
                "instruction_reflection": parts["instruction_prompt_version"],
                "response_reflection": parts["response_prompt_version"],
            },
            "scorer": {"name": parts["scored_by"], "fingerprint": parts["scorer_fingerprint"]},
        }
    return known


def _catalog(lake: Lake) -> str:
    """The catalog as it may be told: from the warehouse on, which may be moved; of a server without its password."""
    shown = Path(lake.shown_catalog)
    return str(shown.relative_to(lake.warehouse)) if shown.is_relative_to(lake.warehouse) else str(lake.shown_catalog)


def completing(
    lake: Lake, profile: Profile, recipe: str, student: ResolvedStudent
) -> Callable[[Path, dict[str, Any]], None]:
    """What writes the model card into a checkpoint that is about to be published, and the date into its manifest."""

    def complete(folder: Path, manifest: dict[str, Any]) -> None:
        manifest["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        policy, *_ = load_models()[f"selection.{profile.recipes[recipe].policy}"].description.partition(" Grain: ")
        facts = CardFacts(
            manifest=manifest,
            policy=f"Policy `{profile.recipes[recipe].policy}`: {policy}",
            sources=_sources(lake, profile, recipe, manifest["data_version"]),
            base_license=stated_license(profile.students[student.name], student),
            serve=serve_command(profile, recipe, manifest["settings"]["seed"]),
        )
        (folder / FILE).write_text(card(facts), encoding="utf-8")

    return complete


def _sources(lake: Lake, profile: Profile, recipe: str, data_version: str) -> list[SourceOfRows]:
    licenses = {source.name: source.license for source in profile.sources}
    counted = lake.read(
        f"select source, count(*) {_ROWS} group by source order by count(*) desc, source", [recipe, data_version]
    )
    return [SourceOfRows(name or "unknown", rows, licenses.get(name)) for name, rows in counted.iter_rows()]


def serve_command(profile: Profile, recipe: str, seed: int) -> str:
    """What a user types to serve the checkpoint of a recipe and training seed."""
    name = f"{recipe}/{seed}" if len(profile.trainings_of(recipe)) > 1 else recipe
    which = "" if profile.name == DEFAULT_PROFILE else f" PROFILE={shlex.quote(profile.name)}"
    return f"make serve{which} RECIPE={name}"
