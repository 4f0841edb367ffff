"""The jobs people start: the whole flow, each of its phases, and the evaluation of what came out."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

MAIN_JOB = "reflection_lake"
WITHOUT_TRAINING_JOB = "without_training"
EVALUATE_JOB = "evaluate"
PROFILE_TAG = "reflection_lake/profile"  # on every run of a job

_PHASES = {
    "read_sources": "Mirror the profile, read the sources, quarantine bad rows.",
    "resolve_students": "Find, download or train the base students, and fingerprint them.",
    "instruction_phase": "Reflect on instructions, score, choose by higher IFD.",
    "response_phase": "Reflect on answers, score, choose by lower reversed IFD.",
    "select_pairs": "Apply every policy and recipe.",
    "train_students": "Freeze each recipe's rows and fine-tune its student.",
}


def jobs(profile_name: str) -> list[UnresolvedAssetJobDefinition]:
    """The main job first, then one job a phase in flow order, the evaluation last; their runs name the profile."""
    profile = dg.AssetSelection.groups("profile")
    students = dg.AssetSelection.assets(["profile", "base_students"], ["profile", "students"])
    raw = dg.AssetSelection.groups("raw") | (profile - students)
    first = dg.AssetSelection.assets(["selection", "instruction_choices"]).upstream() - raw - students
    chosen = dg.AssetSelection.assets(["selection", "response_choices"]).upstream()
    second = (chosen | dg.AssetSelection.groups("reflection")) - first - raw - students
    selected = dg.AssetSelection.groups("selection") - first - second
    trained = dg.AssetSelection.groups("training", "lineage", "report")
    tags = {PROFILE_TAG: profile_name}
    selections = [raw, students, first, second, selected, trained]
    phases = [
        dg.define_asset_job(name, selection=selection, description=description, run_tags=tags)
        for (name, description), selection in zip(_PHASES.items(), selections, strict=True)
    ]
    evaluation, report = dg.AssetSelection.groups("evaluation"), dg.AssetSelection.groups("report")
    everything = dg.AssetSelection.all() - evaluation
    what = "Raw pairs to fine-tuned students."
    whole = dg.define_asset_job(MAIN_JOB, selection=everything, description=what, run_tags=tags)
    untrained = dg.define_asset_job(
        WITHOUT_TRAINING_JOB,
        selection=everything - trained,
        description="All that says what would be trained on, and no training.",
        run_tags=tags,
    )
    evaluated = dg.define_asset_job(
        EVALUATE_JOB,
        selection=evaluation | report,
        description="What the current checkpoints and their base students can do: answers, judges, benchmarks, losses.",
        run_tags=tags,
    )
    return [whole, untrained, *phases, evaluated]
