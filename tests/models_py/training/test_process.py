"""The process that trains: what it tells, and that it never outlives who started it."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from models_py.errors import UserError
from models_py.progress import Progress
from models_py.student.spec import ResolvedStudent
from models_py.training.fine_tune import fine_tune
from models_py.training.loss_log import read_loss_log
from models_py.training.process import BrokenDownError
from models_py.training.settings import TrainingRow, TrainingSettings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
MANIFEST = {"recipe": "paper"}
# Trains what it is given, from a working folder of its own, and dies by SIGKILL when the second step is told.
DIES = """
import os, pickle, signal, sys
from pathlib import Path
def refuse(*arguments):
    os.write(2, b"network")
import socket
socket.socket.connect = socket.getaddrinfo = refuse
from models_py.training.fine_tune import fine_tune
def die(progress):
    if progress.done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
fine_tune(**pickle.loads(Path(sys.argv[1]).read_bytes()), on_progress=die)
"""


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "models_py" in " ".join(child.cmdline())]


def trains_in(folder: Path) -> list[psutil.Process]:
    """The processes on this machine whose task lies in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or []) and process.pid != os.getpid():
            found.append(process)
    return found


@pytest.mark.kill
def test_killed_with_its_parent_it_goes_on_to_the_checkpoint_of_an_undisturbed_one(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    asked = {
        "rows": rows,
        "student": student,
        "settings": dataclasses.replace(settings, save_minutes=0),
        "out_dir": tmp_path / "paper",
        "manifest": MANIFEST,
    }
    (tmp_path / "asked").write_bytes(pickle.dumps(asked))
    killed = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path / "asked")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (killed.returncode, killed.stdout, killed.stderr) == (-signal.SIGKILL, "", "")
    until = time.monotonic() + 10
    while trains_in(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert trains_in(tmp_path) == []
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        ".paper.partial",
        ".paper.training",
        "asked",
    ]

    reports: list[Progress] = []
    resumed = fine_tune(**asked, on_progress=reports.append)  # type: ignore[arg-type]
    assert resumed.content["resumed_after_steps"] in ([1], [2], [3])  # it goes on while its parent dies
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "paper"]
    assert (reports[-1].done, reports[-1].total) == (4, 4)
    assert "tokens/s" in reports[-1].note and "GiB" in reports[-1].note and reports[-1].note.startswith("loss ")

    undisturbed = {**asked, "out_dir": tmp_path / "other"}
    fine_tune(**undisturbed)  # type: ignore[arg-type]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("paper", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[line["loss"] for line in read_loss_log(tmp_path / name)] for name in ("paper", "other")]
    assert losses[0] == losses[1]


def test_an_interrupt_ends_it_and_a_user_error_is_the_childs(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    def interrupt(progress: Progress) -> None:
        assert len(children()) == 1
        raise KeyboardInterrupt

    out = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        fine_tune(rows, student=student, settings=settings, out_dir=out, manifest=MANIFEST, on_progress=interrupt)
    assert children() == []
    assert [path.name for path in tmp_path.iterdir()] == [".c.training"]
    wild = dataclasses.replace(settings, learning_rate=1e38)
    with pytest.raises(UserError, match=r"Recipe paper: training diverged: the loss is .*learning_rate"):
        fine_tune(rows, student=student, settings=wild, out_dir=out, manifest=MANIFEST)
    assert children() == [] and list(tmp_path.iterdir()) == []


def test_an_interrupt_saves_the_state_after_the_step_under_way(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    asked = {"student": student, "settings": dataclasses.replace(settings, epochs=60), "manifest": MANIFEST}
    told: list[Progress] = []

    def interrupt_once(progress: Progress) -> None:
        told.append(progress)
        if progress.done == 2 and not progress.urgent:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(rows, **asked, out_dir=tmp_path / "c", on_progress=interrupt_once)  # type: ignore[arg-type]
    assert children() == []
    [state] = (tmp_path / ".c.training").glob("step-*")
    assert told[-1].done == 2 and told[-1].note.startswith("saving the state after the step under way; a second")
    resumed = fine_tune(rows, **asked, out_dir=tmp_path / "c")  # type: ignore[arg-type]
    assert resumed.content["resumed_after_steps"] == [int(state.name.removeprefix("step-"))]
    assert len(read_loss_log(tmp_path / "c")) == resumed.steps == 120


@pytest.mark.kill
def test_a_process_that_breaks_down_leaves_its_log_and_what_it_saved(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    def kill(progress: Progress) -> None:
        if progress.done == 3:
            children()[0].kill()

    often = dataclasses.replace(settings, save_minutes=0, epochs=9)
    out = tmp_path / "c"
    with pytest.raises(BrokenDownError, match=r"it was killed, as happens when memory runs out.*c\.training/training"):
        fine_tune(rows, student=student, settings=often, out_dir=out, manifest=MANIFEST, on_progress=kill)
    names = sorted(path.name for path in (tmp_path / ".c.training").iterdir())
    assert names[-1] == "training.log" and any(name.startswith("step-") for name in names)

    broken = dataclasses.replace(student, chat_template="{{ raise_exception('no') }}")
    with pytest.raises(UserError, match=r"students\.tiny"):
        fine_tune(rows, student=broken, settings=settings, out_dir=out, manifest=MANIFEST)


def test_what_an_unforeseen_error_says_is_told(
    student: ResolvedStudent,
    rows: list[TrainingRow],
    settings: TrainingSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "nonsense")
    with pytest.raises(BrokenDownError, match=r"broke down: ValueError.*Its log is .*Run again.*remove .*begin anew"):
        fine_tune(rows, student=student, settings=settings, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert "Traceback" in (tmp_path / ".c.training" / "training.log").read_text()
