"""training.student_checkpoint: each recipe's fine-tuned student, one a training seed, the last asset of the flow."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import dagster as dg
import duckdb

from assets.profile.students import current_base
from assets.training.provenance import completing, provenance, serve_command
from assets.training.training_pairs import CurrentSet, current_set
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.profile.schema import Profile
from dagster_project.steps.code_version import code_version
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.plots import loss_plot, remembered
from dagster_project.steps.results import OWNERS, TOLD_KEY, key, table_value
from dagster_project.steps.step_progress import StepProgress
from models_py.content import FileHashes
from models_py.conversation import with_context
from models_py.publish import set_aside
from models_py.shared_folders import fetch, share
from models_py.student.spec import ResolvedStudent
from models_py.training.loss_log import read_loss_log
from models_py.training.manifest import MANIFEST, Manifest, checkpoint_id, damage, read_manifest, require_better
from models_py.training.settings import TrainingRow, TrainingSettings

TABLE = "training.student_checkpoints"
# What was found out about a model once and for good, and the columns that name one.
_OF_MODELS = {
    "evaluation.answers": "model",
    "evaluation.held_out_scores": "model",
    "evaluation.benchmark_runs": "model",
    "evaluation.benchmark_items": "model",
    "evaluation.verdicts": "model_1, model_2",
}


def student_checkpoint(recipe: str) -> dg.AssetsDefinition:
    """The asset `training/<recipe>/student_checkpoint`."""

    @dg.asset(
        key=key("training", recipe, "student_checkpoint"),
        deps=[key("training", recipe, "training_pairs"), key("profile", "base_students")],
        description=f"The student fine-tuned on recipe {recipe}: a folder that plain transformers loads, with a "
        "manifest that names the rows, the snapshot and the base it was made from. Grain: one folder a "
        "(recipe, rows, base student, settings, training seed).",
        kinds={"pytorch", "huggingface"},
        owners=OWNERS,
        code_version=code_version(__name__),
        pool="gpu",
    )
    def checkpoint(
        context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], profile: dg.ResourceParam[Profile]
    ) -> dg.MaterializeResult:
        student = current_base(lake, profile, profile.recipes[recipe].student)
        own_process = profile.executor != "in_process"
        with interrupted_in_order(has_own_process=own_process), lake.exclusively(f"training.{recipe}"):
            rows, trainings = current_set(lake, recipe), profile.trainings_of(recipe)
            known = cache(lambda: provenance(lake, profile, rows))  # the same for all, whatever changes meanwhile
            made = [_made(context, lake, profile, Origin(rows, student, one, known)) for one in trainings]
        return _result(lake, profile, made)

    return checkpoint


@dataclass(frozen=True, slots=True)
class Origin:
    """What a checkpoint is made of. settings: with the training seed. provenance: what its manifest tells of that."""

    rows: CurrentSet
    student: ResolvedStudent
    settings: TrainingSettings
    provenance: Callable[[], dict[str, Any]]

    @property
    def checkpoint_id(self) -> str:
        return checkpoint_id(self.rows.recipe, self.rows.data_version, self.student.fingerprint, self.settings)


@dataclass(frozen=True, slots=True)
class Made:
    """A published checkpoint. mended: what was wrong with the one before it."""

    checkpoint_id: str
    folder: Path
    manifest: Manifest
    seed: int
    mended: str | None


def _made(context: dg.AssetExecutionContext, lake: Lake, profile: Profile, origin: Origin) -> Made:
    """The checkpoint of that origin, trained where there is none, and recorded in the lake."""
    recipe, settings, made = origin.rows.recipe, origin.settings, origin.checkpoint_id
    folder = profile.checkpoints_dir / recipe / made
    mended = _set_aside_if_damaged(context, lake, profile, made, folder)
    manifest = read_manifest(folder) or _fetched(context, profile, folder)
    if manifest is None:
        current_base(lake, profile, profile.recipes[recipe].student, was=origin.student)
        several = len(profile.trainings_of(recipe)) > 1
        what = f"training {recipe}, seed {settings.seed}" if several else f"training {recipe}"
        manifest = _train(lake, profile, origin, folder, StepProgress(context, what, context.asset_key))
    require_better(manifest.loss_before, manifest.loss_after, recipe=recipe, learning_rate=settings.learning_rate)
    if (shared := _shared(profile, folder)) and share(folder, shared, last=MANIFEST):
        context.log.info(f"{folder} is copied to {shared}")
    _record(lake, made, folder, manifest, context.run_id)
    return Made(made, folder, manifest, settings.seed, mended)


def _fetched(context: dg.AssetExecutionContext, profile: Profile, folder: Path) -> Manifest | None:
    """The checkpoint as another machine made it, now here too; None where there is none that is whole."""
    shared = _shared(profile, folder)
    if shared is None:
        return None
    told = fetch(shared, folder, last=MANIFEST, wrong=damage)
    context.log.info(told or f"{folder} is a copy of {shared}")
    return read_manifest(folder)


def _shared(profile: Profile, folder: Path) -> str | None:
    """Where a team has the checkpoint of that folder."""
    where = profile.lake.checkpoints
    return where and f"{where.rstrip('/')}/{folder.relative_to(profile.checkpoints_dir)}"


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


def _train(lake: Lake, profile: Profile, origin: Origin, folder: Path, progress: StepProgress) -> Manifest:
    """Fine-tune the student on the frozen rows that `origin` names."""
    from models_py.training.cluster import Cluster
    from models_py.training.fine_tune import fine_tune  # torch and trl, only where there is something to train

    rows = lake.read(
        "select pair_id, system, history, instruction, input, output from training.training_pairs "
        "where recipe = ? and data_version = ? order by rank",
        [origin.rows.recipe, origin.rows.data_version],
    )
    return fine_tune(
        [TrainingRow(**with_context(row)) for row in rows.iter_rows(named=True)],
        student=origin.student,
        settings=origin.settings,
        out_dir=folder,
        manifest=origin.provenance(),
        model=_written(origin.student, lake, profile),
        on_progress=progress,
        finish=completing(lake, profile, origin.rows.recipe, origin.student),
        cluster=Cluster(profile.ray.address, profile.ray.wait_minutes),
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
        if _weights(recorded) != _weights(content):
            _forget_evaluation(lake, made, run_id)
        lake.replace(TABLE, {"checkpoint_id": made}, [row], commit)


def _weights(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the files of weights; of a checkpoint of 0.1 they are not known."""
    return {name: sha256 for name, sha256 in manifest.get("files", {}).items() if name.endswith(".safetensors")}


def _forget_evaluation(lake: Lake, made: str, run_id: str) -> None:
    """What the weights of before answered, scored and were judged for: a GPU makes others of the same rows.

    First of all, so that one who is killed in between begins with it again.
    """

    def forget(connection: duckdb.DuckDBPyConnection) -> None:
        for table, columns in _OF_MODELS.items():
            connection.execute(f"delete from {table} where $made in ({columns})", {"made": made})

    lake.write(forget, Commit(f"checkpoint {made} has other weights: it is evaluated anew", run_id=run_id))


def _result(lake: Lake, profile: Profile, made: Sequence[Made]) -> dg.MaterializeResult:
    """In the order in which its user asks: where it lies, of what it is, how good, how to serve it; then its origin."""
    first, *others = made
    recipe, base = first.manifest.content["recipe"], first.manifest.content["student"]
    mended = [f"{one.checkpoint_id}: {one.mended}" for one in made if one.mended]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(",".join(one.checkpoint_id for one in made)),
        metadata={
            "path": dg.MetadataValue.path(str(first.folder)),
            "base": f"{base['name']} ({base['model']})",
            "recipe": recipe,
            "dagster/row_count": first.manifest.rows,
            "loss_before": mean(one.manifest.loss_before for one in made),
            "loss_after": mean(one.manifest.loss_after for one in made),
            **_plot(lake, made),
            "serve": serve_command(profile, recipe, first.seed),
            **({"training_seeds": _seeds(made)} if others else {}),
            "steps": first.manifest.steps,
            "dropped_rows": len(first.manifest.dropped),
            "training_data_version": first.manifest.content["data_version"],
            "snapshot_id": first.manifest.content["snapshot_id"],
            "manifest": dg.MetadataValue.json(dict(first.manifest.content)),
            **({"mended": "\n".join(mended)} if mended else {}),
            **({TOLD_KEY: "\n".join(told)} if (told := _told(first)) else {}),
        },
    )


def _told(made: Made) -> list[str]:
    """What training left out of the rows, a sentence each; the same for all seeds."""
    recipe, rows = made.manifest.content["recipe"], made.manifest.rows
    cut, dropped = made.manifest.content.get("truncated_rows", 0), len(made.manifest.dropped)
    said = {
        f"{recipe}: {cut:,} of {rows:,} rows are trained on without their end (training.max_length)": cut,
        f"{recipe}: {dropped:,} rows cannot be trained on; make rows CHECKPOINT={made.checkpoint_id} says why": dropped,
    }
    return [words for words, count in said.items() if count]


def _plot(lake: Lake, made: Sequence[Made]) -> dict[str, Any]:
    """Their loss curves; a folder without a log has none."""
    curves = {}
    for one in made:
        with suppress(OSError, ValueError):
            steps = read_loss_log(one.folder)
            curves[f"seed {one.seed}"] = [(step["step"], step["loss"]) for step in steps]
    recipe = made[0].manifest.content["recipe"]
    return {"loss_plot": remembered(lake, loss_plot, recipe, curves)} if curves else {}


def _seeds(made: Sequence[Made]) -> dg.TableMetadataValue:
    """The checkpoints of a recipe that has several, beside each other."""
    columns = [("training_seed", "bigint"), ("loss_before", "double"), ("loss_after", "double"), ("folder", "varchar")]
    rows = [(one.seed, one.manifest.loss_before, one.manifest.loss_after, str(one.folder)) for one in made]
    return table_value(columns, rows)
