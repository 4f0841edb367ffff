"""training.student_checkpoint: each recipe's fine-tuned student, the last asset of the flow."""

import json
from dataclasses import asdict

import dagster as dg

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.results import OWNERS, key
from dagster_project.steps.step_progress import StepProgress
from models_py.content import fingerprint
from models_py.student.resolve import resolve_student
from models_py.training.manifest import published_checkpoint, read_manifest
from models_py.training.settings import TrainingRow

TABLE = "training.student_checkpoints"


def student_checkpoint(recipe: str) -> dg.AssetsDefinition:
    """The asset `training/<recipe>/student_checkpoint`."""
    rows_key = key("training", recipe, "training_pairs")

    @dg.asset(
        key=key("training", recipe, "student_checkpoint"),
        deps=[rows_key, key("training", "base_student")],
        description=f"The student fine-tuned on recipe {recipe}: a folder that plain transformers loads, with a "
        "manifest that names the rows, the snapshot and the base it was made from. Grain: one folder a "
        "(recipe, rows, base student, settings).",
        kinds={"pytorch", "huggingface"},
        owners=OWNERS,
        code_version=code_version(__name__),
        group_name="training",
        pool="gpu",
    )
    def checkpoint(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
    ) -> dg.MaterializeResult:
        version = _materialized_version(context, rows_key)
        student = resolve_student(profile.students[profile.recipes[recipe].student], profile.students_dir)
        settings = profile.training_settings()
        checkpoint_id = fingerprint(recipe, version, student.fingerprint, asdict(settings))[:12]
        folder = profile.checkpoints_dir / recipe / checkpoint_id
        with lake.exclusively(f"training.{recipe}"):
            result = published_checkpoint(folder)
            if result is None:
                from models_py.training.fine_tune import (
                    fine_tune,
                )  # torch and trl, only where there is something to train

                frame = lake.read(
                    "select pair_id, instruction, input, output from training.training_pairs "
                    "where recipe = ? and data_version = ? order by rank",
                    [recipe, version],
                )
                result = fine_tune(
                    [TrainingRow(**row) for row in frame.iter_rows(named=True)],
                    student=student,
                    settings=settings,
                    out_dir=folder,
                    manifest={"recipe": recipe, "data_version": version, "snapshot_id": lake.snapshot_id()},
                    on_progress=StepProgress(context, f"training {recipe}", context.asset_key),
                )
            manifest = read_manifest(folder) or {}
            if lake.scalar(f"select count(*) from {TABLE} where checkpoint_id = ?", [checkpoint_id]) == 0:
                row = {
                    "recipe": recipe,
                    "checkpoint_id": checkpoint_id,
                    "path": str(folder),
                    "data_version": version,
                    "snapshot_id": manifest["snapshot_id"],
                    "student_fingerprint": student.fingerprint,
                    "manifest": json.dumps(manifest, ensure_ascii=False),
                }
                name = f"training/{recipe}/student_checkpoint"
                lake.append({TABLE: [row]}, Commit(f"checkpoint of {recipe}", name, context.run_id, version))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoint_id),
            metadata={
                "dagster/row_count": result.trained_rows,
                "dagster/uri": str(folder),
                "loss_before": result.loss_before,
                "loss_after": result.loss_after,
                "steps": result.steps,
                "dropped_rows": len(result.dropped),
                "training_data_version": version,
                "snapshot_id": manifest["snapshot_id"],
                "manifest": dg.MetadataValue.json(manifest),
            },
        )

    return checkpoint


def _materialized_version(context: dg.AssetExecutionContext, rows_key: dg.AssetKey) -> str:
    """The data version of the rows that were frozen last: what this recipe is to be trained on."""
    event = context.instance.get_latest_materialization_event(rows_key)
    if event is None or event.asset_materialization is None:
        raise dg.Failure(f"{rows_key.to_user_string()} was never materialized. Materialize it first.")
    return str((event.asset_materialization.tags or {})["dagster/data_version"])
