"""The phases of the flow, which are Dagster's groups, and the jobs people start: the whole, a phase, the evaluation.

An asset's folder is the schema of its table; its group is the phase that makes it. So no edge of the graph runs from
a group back to an earlier one, and the job that is called like a group makes it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

MAIN_JOB = "reflection_lake"
WITHOUT_TRAINING_JOB = "without_training"
EVALUATE_JOB = "evaluate"
_REPORT = "report"
PROFILE_TAG = "reflection_lake/profile"  # on every run of a job

PHASES: Mapping[str, str] = {
    "read_sources": "Mirror the profile, read the sources, quarantine bad rows.",
    "resolve_students": "Find, download or train the base students, and fingerprint them.",
    "instruction_phase": "Reflect on instructions, score, choose by higher IFD.",
    "response_phase": "Reflect on answers, score, choose by lower reversed IFD.",
    "select_pairs": "Apply every policy and recipe.",
    "train_students": "Freeze each recipe's rows and fine-tune its student.",
    EVALUATE_JOB: "What the current checkpoints and their base students can do: answers, judges, benchmarks, losses.",
    _REPORT: "Show what happened to the pairs, and what came out, in one HTML file.",
}


def in_phases(assets: Iterable[Any]) -> list[dg.AssetsDefinition]:
    """The assets, each in the group that is called like its phase."""
    assets = list(assets)
    graph = AssetGraph.from_assets(assets)
    phases = {key: name for name, phase in _selections().items() for key in phase.resolve(graph)}
    grouped = dg.map_asset_specs(lambda spec: spec.replace_attributes(group_name=phases[spec.key]), assets)
    return list(grouped)


def _selections() -> dict[str, dg.AssetSelection]:
    """A phase's assets: all that is wanted for its last one and that no earlier phase made."""
    profile, reflection = dg.AssetSelection.key_prefixes("profile"), dg.AssetSelection.key_prefixes("reflection")
    students = dg.AssetSelection.assets(["profile", "base_students"], ["profile", "students"])
    raw = dg.AssetSelection.key_prefixes("raw") | (profile - students)
    first = dg.AssetSelection.assets(["selection", "instruction_choices"]).upstream() - raw - students
    chosen = dg.AssetSelection.assets(["selection", "response_choices"]).upstream()
    second = (chosen | reflection) - first - raw - students
    selected = dg.AssetSelection.key_prefixes("selection") - first - second
    trained = dg.AssetSelection.key_prefixes("training", "lineage")
    evaluated, report = dg.AssetSelection.key_prefixes("evaluation"), dg.AssetSelection.key_prefixes("report")
    return dict(zip(PHASES, (raw, students, first, second, selected, trained, evaluated, report), strict=True))


def jobs(profile_name: str) -> list[UnresolvedAssetJobDefinition]:
    """The main job first, then one job a phase in flow order; their runs name the profile."""

    def job(name: str, selection: dg.AssetSelection, description: str) -> UnresolvedAssetJobDefinition:
        return dg.define_asset_job(
            name, selection=selection, description=description, run_tags={PROFILE_TAG: profile_name}
        )

    phases: dict[str, dg.AssetSelection] = {name: dg.AssetSelection.groups(name) for name in PHASES}
    everything = dg.AssetSelection.all() - phases[EVALUATE_JOB]
    untrained = everything - phases["train_students"] - phases[_REPORT]
    return [
        job(MAIN_JOB, everything, "Raw pairs to fine-tuned students."),
        job(WITHOUT_TRAINING_JOB, untrained, "All that says what would be trained on, and no training."),
        *(job(name, selection, PHASES[name]) for name, selection in phases.items()),
    ]
