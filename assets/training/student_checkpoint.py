"""training.student_checkpoint: each recipe's fine-tuned student, the last asset of the flow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.profile.students import current_student
from assets.training.training_pairs import current_version
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.results import OWNERS, key
from dagster_project.steps.step_progress import StepProgress
from models_py.content import FileHashes
from models_py.conversation import with_context
from models_py.errors import UserError
from models_py.publish import set_aside
from models_py.student.resolve import find_student
from models_py.student.spec import ResolvedStudent
from models_py.training.manifest import Manifest, checkpoint_id, damage, read_manifest, require_better
from models_py.training.settings import TrainingRow

TABLE = "training.student_checkpoints"


def student_checkpoint(recipe: str) -> dg.AssetsDefinition:
    """The asset `training/<recipe>/student_checkpoint`."""

    @dg.asset(
        key=key("training", recipe, "student_checkpoint"),
        deps=[key("training", recipe, "training_pairs"), key("profile", "base_students")],
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
        student = _base(lake, profile, recipe)
        settings = profile.training_of(recipe)
        own_process = profile.executor != "in_process"
        with interrupted_in_order(has_own_process=own_process), lake.exclusively(f"training.{recipe}"):
            version = current_version(lake, recipe)
            made = checkpoint_id(recipe, version, student.fingerprint, settings)
            folder = profile.checkpoints_dir / recipe / made
            mended = _set_aside_if_damaged(context, lake, profile, made, folder)
            manifest = read_manifest(folder)
            if manifest is None:
                _base(lake, profile, recipe, was=student)
                progress = StepProgress(context, f"training {recipe}", context.asset_key)
                origin = {"recipe": recipe, "data_version": version, "snapshot_id": lake.snapshot_id()}
                manifest = _train(lake, profile, origin, student=student, folder=folder, progress=progress)
            require_better(
                manifest.loss_before, manifest.loss_after, recipe=recipe, learning_rate=settings.learning_rate
            )
            _record(lake, made, folder, manifest, context.run_id)
        return _result(made, folder, manifest, mended)

    return checkpoint


def _base(lake: Lake, profile: Profile, recipe: str, was: ResolvedStudent | None = None) -> ResolvedStudent:
    """The student that a recipe trains: the one whose scores chose the rows, unless another scores for it.

    was: what it was found to be; all bytes of its weights are read again. Raises UserError where they are others.
    """
    name, reread = profile.recipes[recipe].student, was is not None
    if profile.scorer_of(name) == name:
        return current_student(lake, profile, name, reread=reread)
    student = find_student(profile.students[name], profile.students_dir, reread=reread)
    if was is not None and student != was:
        raise UserError(f"students.{name}: its weights have changed without a trace in size, times or inode; run again")
    return student


def _set_aside_if_damaged(
    context: dg.AssetExecutionContext, lake: Lake, profile: Profile, made: str, folder: Path
) -> str | None:
    """Move a checkpoint that is not what was published out of the way, so that it is trained again; what was wrong.

    Nothing of it is lost: somebody may have edited it on purpose.
    """
    hashes = FileHashes(profile.file_hashes)
    wrong = damage(folder, recorded=_recorded(lake, made), hashes=hashes)
    hashes.save()
    if wrong is None:
        return None
    aside = set_aside(folder)
    context.log.warning(f"{folder}: {wrong}. It lies in {aside} now and is trained again.")
    return f"{wrong}; set aside as {aside.name}"


def _recorded(lake: Lake, made: str) -> dict[str, Any] | None:
    """The manifest of a checkpoint as the lake has it."""
    rows = lake.recall(f"select manifest from {TABLE} where checkpoint_id = ?", [made])
    recorded: dict[str, Any] | None = json.loads(rows.item()) if rows.height else None
    return recorded


def _train(
    lake: Lake,
    profile: Profile,
    origin: Mapping[str, Any],
    *,
    student: ResolvedStudent,
    folder: Path,
    progress: StepProgress,
) -> Manifest:
    """Fine-tune the student on the frozen rows that `origin` names."""
    from models_py.training.fine_tune import fine_tune  # torch and trl, only where there is something to train

    rows = lake.read(
        "select pair_id, system, history, instruction, input, output from training.training_pairs "
        "where recipe = ? and data_version = ? order by rank",
        [origin["recipe"], origin["data_version"]],
    )
    return fine_tune(
        [TrainingRow(**with_context(row)) for row in rows.iter_rows(named=True)],
        student=student,
        settings=profile.training_of(origin["recipe"]),
        out_dir=folder,
        manifest=origin,
        model=_written(student, lake, profile),
        on_progress=progress,
    )


def _written(student: ResolvedStudent, lake: Lake, profile: Profile) -> str:
    """What its model is called where the warehouse may be moved: a hub id, a path in the warehouse or from the root."""
    model = Path(student.model)
    if student.revision or not model.is_absolute():
        return student.model
    around = next((folder for folder in (lake.warehouse, profile.root) if model.is_relative_to(folder)), model.anchor)
    return str(model.relative_to(around)) if around != model.anchor else student.model


def _record(lake: Lake, made: str, folder: Path, manifest: Manifest, run_id: str) -> None:
    """The checkpoint's row in the lake, unless it is there: a run may have been killed before it wrote one.

    A checkpoint that had to be trained again has a manifest of its own; its row replaces the other's.
    """
    content, recorded = manifest.content, _recorded(lake, made)
    if recorded == content:
        return
    row = {
        "recipe": content["recipe"],
        "checkpoint_id": made,
        "path": str(folder.relative_to(lake.warehouse)),
        "data_version": content["data_version"],
        "snapshot_id": content["snapshot_id"],
        "student_fingerprint": content["student"]["fingerprint"],
        "manifest": json.dumps(content, ensure_ascii=False),
    }
    asset = f"training/{content['recipe']}/student_checkpoint"
    commit = Commit(f"checkpoint of {content['recipe']}", asset, run_id, content["data_version"])
    if recorded is None:
        lake.append({TABLE: [row]}, commit)
    else:
        lake.replace(TABLE, {"checkpoint_id": made}, [row], commit)


def _result(made: str, folder: Path, manifest: Manifest, mended: str | None) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        data_version=dg.DataVersion(made),
        metadata={
            "dagster/row_count": manifest.rows,
            "dagster/uri": str(folder),
            "loss_before": manifest.loss_before,
            "loss_after": manifest.loss_after,
            "steps": manifest.steps,
            "dropped_rows": len(manifest.dropped),
            "training_data_version": manifest.content["data_version"],
            "snapshot_id": manifest.content["snapshot_id"],
            "manifest": dg.MetadataValue.json(dict(manifest.content)),
            **({"mended": mended} if mended else {}),
        },
    )
