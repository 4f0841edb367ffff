"""Rows in, a published checkpoint out. The training itself runs in a process of its own.

    fine_tune ──task──> python -m models_py.training.child ──>   trainer.py ──> a folder not yet published
        ^                        │ progress, the outcome             │
        └────────────────────────┘                                   └──> .<checkpoint>.training: saved states, the log

So the memory of a training is free when it ends, however it ends, and what torch prints stays out of the terminal. Of
a process that is killed, this one or the other, nothing is published and the other one ends too; run again, training
goes on from the last saved state.

The folder that `fine_tune` publishes holds the model (safetensors), the tokenizer with its chat template, a generation
config that ends at the end of a turn, `loss_log.jsonl` (one line a step) and `manifest.json`; of an adapter the model
is the merged one, and the adapter lies below it in `adapter/`. Plain transformers loads it. Nothing here imports torch.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models_py.progress import OnProgress, silent
from models_py.publish import published_folder
from models_py.student.spec import ResolvedStudent
from models_py.training.cluster import NO_CLUSTER, Cluster, trained_on_machines
from models_py.training.manifest import Manifest, check_same_origin, read_manifest, sealed, write_manifest
from models_py.training.process import RefusedError, trained_apart
from models_py.training.settings import TrainingRow, TrainingSettings
from models_py.training.task import Task


def fine_tune(
    rows: Sequence[TrainingRow],
    *,
    student: ResolvedStudent,
    settings: TrainingSettings,
    out_dir: Path,
    manifest: Mapping[str, Any],
    model: str | None = None,
    on_progress: OnProgress = silent,
    finish: Callable[[Path, dict[str, Any]], None] | None = None,
    cluster: Cluster = NO_CLUSTER,
) -> Manifest:
    """Fine-tune `student` on `rows`, publish the checkpoint as `out_dir` and return its manifest.

    The loss counts the answer and its end-of-turn token and nothing else. `loss_before` and `loss_after` are the mean
    negative log-likelihood in nats a target token, of the base and of the published weights, over the same
    training rows: all of them, or 256 evenly spaced ones. `manifest` brings recipe, data_version, snapshot_id and
    whatever else the caller wants stored; the result, the settings and the versions are added to it. `model` is what
    the manifest calls the student's model, by default where it lies here. `finish` may add to the folder and to the
    content of the manifest before all is sealed and published. `cluster` is where the settings' `machines` are, when
    they are several.

    A checkpoint that `out_dir` already holds is not trained again. The same rows, settings and seed give the same
    weights on the same CPU and number of threads, interrupted or not; GPUs do not promise that.

    Raises UserError when no row can be trained on, when the student cannot be loaded, when this machine
    or the cluster cannot train as the settings say, when `out_dir` holds something else, when the loss is higher than
    before or does not stay finite, and when the process breaks down. Nothing is published then.
    """
    out_dir = out_dir.absolute()
    model = model or student.model
    origin = {
        **manifest,
        "student": {
            "name": student.name,
            "model": model,
            "revision": student.revision,
            "fingerprint": student.fingerprint,
        },
        "settings": settings.hashed,
    }
    found = read_manifest(out_dir)
    if found is not None:
        check_same_origin(found.content, origin, out_dir)
        return found

    work = out_dir.with_name(f".{out_dir.name}.training")
    with published_folder(out_dir) as folder:
        recipe = str(manifest.get("recipe", out_dir.name))
        task = Task(recipe, tuple(rows), student, model, settings, folder, work)
        content = {**origin, **_trained(task, on_progress, cluster)}
        if finish is not None:
            finish(folder, content)
        write_manifest(folder, sealed(folder, content))
    shutil.rmtree(work, ignore_errors=True)
    published = read_manifest(out_dir)
    if published is None:
        raise FileNotFoundError(f"{out_dir} vanished right after it was published")
    return published


def _trained(task: Task, on_progress: OnProgress, cluster: Cluster) -> dict[str, Any]:
    """The outcome; saved states go with an error that they would lead to again, and with no other."""
    try:
        if task.settings.machines > 1:
            return trained_on_machines(task, on_progress, cluster)
        return trained_apart(task, on_progress)
    except RefusedError:
        shutil.rmtree(task.work, ignore_errors=True)
        raise
