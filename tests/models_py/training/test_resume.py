"""A training that was interrupted goes on from what it saved, to the very curve and weights of one that was not."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from models_py.errors import UserError
from models_py.progress import OnProgress, Progress
from models_py.student.spec import ResolvedStudent
from models_py.training.fine_tune import fine_tune
from models_py.training.loss_log import read_loss_log
from models_py.training.manifest import Manifest
from models_py.training.settings import Budget, TrainingRow, TrainingSettings
from models_py.training.task import Stop, StoppedError, Task
from tests.models_py.training.conftest import save_tiny_student

pytestmark = pytest.mark.usefixtures("trained_here")
ALWAYS: dict[str, Any] = {"save_minutes": 0.0}


def with_dropout(folder: Path) -> ResolvedStudent:
    """A student that draws random numbers in every pass."""
    student = save_tiny_student(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=128, **ends)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return student


def interrupted_after(step: int) -> OnProgress:
    def report(progress: Progress) -> None:
        if progress.done == step + 1:  # what is told of a step comes before its state is saved
            raise KeyboardInterrupt

    return report


def trained(
    out: Path, rows: list[TrainingRow], student: ResolvedStudent, settings: TrainingSettings, **more: Any
) -> Manifest:
    return fine_tune(rows, student=student, settings=settings, out_dir=out, manifest={"recipe": "paper"}, **more)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read_loss_log(folder)]


def states(work: Path) -> list[str]:
    return sorted(path.name for path in work.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "more"),
    [
        (save_tiny_student, {}),
        (with_dropout, {"epochs": 3, "device_batch_size": 1}),
        (save_tiny_student, {"packing": True, "weight_decay": 0.1, "schedule": "linear"}),
        (save_tiny_student, {"budget": Budget(rows=19), "gradient_checkpointing": True}),
    ],
)
def test_it_goes_on_to_the_same_curve_and_weights(
    make: Callable[[Path], ResolvedStudent],
    more: dict[str, Any],
    rows: list[TrainingRow],
    settings: TrainingSettings,
    tmp_path: Path,
) -> None:
    student = make(tmp_path / "base")
    asked = dataclasses.replace(settings, **ALWAYS, **more)
    whole = trained(tmp_path / "whole", rows, student, asked)
    for step in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "parts", rows, student, asked, on_progress=interrupted_after(step))
        assert states(tmp_path / ".parts.training") == [f"step-{step:06}"]
        assert not (tmp_path / "parts").exists()
    torch.rand(7)  # whatever else is drawn in between
    parts = trained(tmp_path / "parts", rows, student, asked)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole") and len(curve(tmp_path / "whole")) == whole.steps
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (parts.loss_after, parts.content["resumed_after_steps"]) == (whole.loss_after, [1, 3])
    assert "resumed_after_steps" not in whole.content
    seconds = [line["seconds"] for line in read_loss_log(tmp_path / "parts")]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "parts", "whole"]


@pytest.mark.parametrize("last", [2, 4])
def test_asked_to_stop_it_saves_its_state_and_goes_on_to_the_same_curve(
    last: int, student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    from models_py.training.trainer import train

    whole = trained(tmp_path / "whole", rows, student, settings)
    assert whole.steps == 4
    work = tmp_path / ".c.training"
    work.mkdir()
    task, stop = Task("paper", tuple(rows), student, student.model, settings, tmp_path / "c", work), Stop()

    def ask(progress: Progress) -> None:
        stop.asked = stop.asked or progress.done == last - 1

    with pytest.raises(StoppedError):
        train(task, ask, stop)
    assert (states(work), stop.is_heard) == ([f"step-{last:06}"], False)
    parts = trained(tmp_path / "c", rows, student, settings)
    assert curve(tmp_path / "c") == curve(tmp_path / "whole")
    assert (parts.loss_after, parts.content["resumed_after_steps"]) == (whole.loss_after, [last])


def test_what_is_not_yet_due_is_not_saved(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "c", rows, student, settings, on_progress=interrupted_after(2))
    assert states(tmp_path / ".c.training") == []


@pytest.mark.parametrize("other", ["rows", "settings", "versions", "processes"])
def test_a_state_of_another_training_is_dropped_and_told(
    other: str, student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    asked = dataclasses.replace(settings, **ALWAYS)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "c", rows, student, asked, on_progress=interrupted_after(2))
    [state] = (tmp_path / ".c.training").iterdir()
    made_of = json.loads((state / "made_of.json").read_text())
    assert sorted(made_of) == ["device", "processes", "rows", "settings", "student", "versions"]
    (state / "made_of.json").write_text(json.dumps({**made_of, other: "another"}))
    reports: list[Progress] = []
    manifest = trained(tmp_path / "c", rows, student, asked, on_progress=reports.append)
    told = f"step-000002 was saved with other {other}, so training begins anew"
    assert [report.note for report in reports if report.urgent] == [told]
    assert [report.done for report in reports] == [0, 0, 1, 2, 3, 4]
    assert "resumed_after_steps" not in manifest.content


def test_a_state_that_cannot_be_read_is_dropped_and_told(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    (tmp_path / ".c.training" / "step-000001").mkdir(parents=True)
    reports: list[Progress] = []
    trained(tmp_path / "c", rows, student, settings, on_progress=reports.append)
    told = "step-000001 cannot be read, so training begins anew"
    assert [report.note for report in reports if report.urgent] == [told]


def test_a_half_written_state_is_none(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    partial = tmp_path / ".c.training" / "step-000003.partial"
    partial.mkdir(parents=True)
    (partial / "rank-0.pt").write_bytes(b"half")
    asked = dataclasses.replace(settings, **ALWAYS)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "c", rows, student, asked, on_progress=interrupted_after(3))
    assert states(tmp_path / ".c.training") == ["step-000003"]


def test_a_training_that_diverged_leaves_nothing_to_go_on_from(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    wild = dataclasses.replace(settings, learning_rate=30.0, **ALWAYS)
    with pytest.raises(UserError, match="training diverged"):
        trained(tmp_path / "c", rows, student, wild)
    assert list(tmp_path.iterdir()) == []


def test_a_finish_that_fails_leaves_what_was_saved(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    def fail(folder: Path, content: dict[str, Any]) -> None:
        raise UserError("no card")

    asked = dataclasses.replace(settings, **ALWAYS)
    with pytest.raises(UserError, match="no card"):
        trained(tmp_path / "c", rows, student, asked, finish=fail)
    assert states(tmp_path / ".c.training") == ["step-000003"] and not (tmp_path / "c").exists()
    assert trained(tmp_path / "c", rows, student, asked).content["resumed_after_steps"] == [3]


def test_how_often_it_is_saved_changes_no_id() -> None:
    assert TrainingSettings(save_minutes=0, report_to=("wandb",)).hashed == TrainingSettings().hashed
