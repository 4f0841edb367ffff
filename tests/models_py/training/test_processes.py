"""Two processes that share a training (FSDP2 over gloo) make of it what one makes."""

import dataclasses
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models_py.progress import Progress
from models_py.student.spec import ResolvedStudent
from models_py.training.fine_tune import fine_tune
from models_py.training.loss_log import read_loss_log
from models_py.training.manifest import Manifest, read_manifest
from models_py.training.settings import Lora, TrainingRow, TrainingSettings
from tests.models_py.training.test_process import ROOT, children, trains_in

pytestmark = pytest.mark.slow
MANIFEST = {"recipe": "paper"}
ROWS = [TrainingRow(f"p{i}", f"name a colour {i}", "", "red and blue. " * (1 + i % 4)) for i in range(7)]


# Trains what it is given, and tells of the second step.
TELLS = """
import pickle, sys
from pathlib import Path
from models_py.training.fine_tune import fine_tune
def tell(progress):
    if progress.urgent or progress.done == 2:
        print(progress.done, progress.note, flush=True)
fine_tune(**pickle.loads(Path(sys.argv[1]).read_bytes()), on_progress=tell)
"""


def manifest_of(folder: Path) -> Manifest:
    found = read_manifest(folder)
    assert found is not None
    return found


def assert_trained_the_same(one: Path, other: Path) -> None:
    """At the same global batch: losses within 1e-4, weights within 1e-3."""
    ours, theirs = manifest_of(one), manifest_of(other)
    assert (theirs.steps, theirs.content["settings"]) == (ours.steps, ours.content["settings"])
    assert theirs.loss_before == pytest.approx(ours.loss_before, abs=1e-5)
    assert theirs.loss_after == pytest.approx(ours.loss_after, abs=1e-4)
    for line, also in zip(read_loss_log(one), read_loss_log(other), strict=True):
        assert also["loss"] == pytest.approx(line["loss"], abs=1e-4)
        assert also["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-3)
        assert (also["tokens"], also["target_tokens"]) == (line["tokens"], line["target_tokens"])
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert all(torch.allclose(weights[name], others[name], atol=1e-3) for name in weights)


@pytest.mark.kill
@pytest.mark.parametrize(
    "more",
    [
        {"epochs": 3, "device_batch_size": 1},
        {"method": "lora", "lora": Lora(rank=4), "packing": True, "max_length": 64, "gradient_checkpointing": True},
    ],
)
def test_two_processes_train_what_one_trains_also_when_they_are_killed(
    more: dict[str, Any], student: ResolvedStudent, settings: TrainingSettings, trained_here: None, tmp_path: Path
) -> None:
    """With passes that do not divide by two."""
    from models_py.training import fine_tune as module
    from models_py.training.process import trained_apart

    asked = dataclasses.replace(settings, learning_rate=1e-3, save_minutes=0, **more)
    fine_tune(ROWS, student=student, settings=asked, out_dir=tmp_path / "one", manifest=MANIFEST)

    def kill_the_first_time(progress: Progress) -> None:
        if progress.done == 3:
            for child in children():
                child.kill()

    both = dataclasses.replace(asked, processes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trained_apart", trained_apart)
        with pytest.raises(Exception, match="broke down"):
            fine_tune(
                ROWS,
                student=student,
                settings=both,
                out_dir=tmp_path / "two",
                manifest=MANIFEST,
                on_progress=kill_the_first_time,
            )
        assert children() == []
        two = fine_tune(ROWS, student=student, settings=both, out_dir=tmp_path / "two", manifest=MANIFEST)
    assert two.content["resumed_after_steps"][0] in (2, 3, 4)
    assert two.content["processes"] == 2
    assert_trained_the_same(tmp_path / "one", tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.kill
def test_both_stop_with_what_they_saved_when_one_is_told_of_an_interrupt(
    student: ResolvedStudent, settings: TrainingSettings, tmp_path: Path
) -> None:
    asked = dataclasses.replace(settings, processes=2, epochs=60)
    task = {"rows": ROWS, "student": student, "settings": asked, "out_dir": tmp_path / "c", "manifest": MANIFEST}
    (tmp_path / "asked").write_bytes(pickle.dumps(task))
    command = [sys.executable, "-c", TELLS, str(tmp_path / "asked")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trains:
        assert trains.stdout is not None
        assert trains.stdout.readline().startswith("2 loss ")
        trains.send_signal(signal.SIGINT)
        said, wrong = trains.communicate(timeout=120)
    assert "saving the state after the step under way" in said and wrong.endswith("KeyboardInterrupt\n")
    assert trains_in(tmp_path) == []
    [state] = (tmp_path / ".c.training").glob("step-*")
    assert {"rank-0.pt", "rank-1.pt", "made_of.json"} <= {file.name for file in state.iterdir()}
