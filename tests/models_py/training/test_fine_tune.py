import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_py.errors import UserError
from models_py.progress import Progress
from models_py.student.chat import StudentChat
from models_py.student.spec import ResolvedStudent
from models_py.training.examples import labelled_rows
from models_py.training.fine_tune import fine_tune
from models_py.training.loss_log import LOSS_LOG, read_loss_log
from models_py.training.losses import mean_loss
from models_py.training.manifest import Manifest, damage
from models_py.training.settings import TrainingRow, TrainingSettings
from models_py.training.trainer import _Trainer
from tests.models_py.training.conftest import save_tiny_student

pytestmark = pytest.mark.usefixtures("trained_here")
ROOT = Path(__file__).parents[3]
MANIFEST = {"recipe": "paper", "data_version": "d1", "snapshot_id": 7}


class Tuned(NamedTuple):
    folder: Path
    manifest: Manifest
    reports: list[Progress]


@pytest.fixture(scope="module")
def tuned(
    trained_here: None,
    student: ResolvedStudent,
    rows: list[TrainingRow],
    settings: TrainingSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Tuned:
    """One published checkpoint that the tests below look at from all sides."""
    out = tmp_path_factory.mktemp("checkpoints") / "paper"
    broken = TrainingRow("empty", "name a colour", "", "")
    reports: list[Progress] = []
    manifest = fine_tune(
        [*rows, broken], student=student, settings=settings, out_dir=out, manifest=MANIFEST, on_progress=reports.append
    )
    return Tuned(out, manifest, reports)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def run(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_training_lowers_the_loss_and_says_so(tuned: Tuned) -> None:
    manifest, reports = tuned.manifest, tuned.reports
    assert 0 < manifest.loss_after < manifest.loss_before - 0.3
    assert (manifest.steps, manifest.rows) == (4, 8)
    assert manifest.dropped == (("empty", "empty_answer: the answer is empty"),)
    assert [(report.done, report.total) for report in reports[1:]] == [(step, 4) for step in (1, 2, 3, 4)]
    assert all(report.note.startswith("loss ") for report in reports[1:])


def test_the_losses_are_those_of_the_base_and_of_the_published_weights(
    tuned: Tuned, student: ResolvedStudent, rows: list[TrainingRow]
) -> None:
    losses = ((student.model, tuned.manifest.loss_before), (tuned.folder, tuned.manifest.loss_after))
    for folder, reported in losses:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        chat = StudentChat(tokenizer, student.chat_template, student.max_length)
        model = AutoModelForCausalLM.from_pretrained(folder)
        nll, targets = 0.0, 0
        for row in labelled_rows(rows, chat)[0]:  # one row at a time, with transformers' own loss
            count = sum(label >= 0 for label in row.labels)
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            nll, targets = nll + loss.item() * count, targets + count
        assert reported == pytest.approx(nll / targets, rel=1e-5)


def test_the_manifest_names_what_the_checkpoint_was_made_of(
    tuned: Tuned, student: ResolvedStudent, settings: TrainingSettings
) -> None:
    manifest = json.loads((tuned.folder / "manifest.json").read_text())
    assert manifest == tuned.manifest.content
    assert MANIFEST.items() <= manifest.items()
    assert (manifest["rows"], manifest["student"]["fingerprint"]) == (8, student.fingerprint)
    assert manifest["settings"] == settings.hashed
    assert {"torch", "transformers", "trl"} <= manifest["versions"].keys()
    losses = [json.loads(line)["loss"] for line in (tuned.folder / LOSS_LOG).read_text().splitlines()]
    assert len(losses) == 4 and losses[0] > losses[-1]


def test_nothing_lies_beside_the_checkpoint(tuned: Tuned) -> None:
    assert [path.name for path in tuned.folder.parent.iterdir()] == ["paper"]
    assert {path.suffix for path in tuned.folder.iterdir()} == {".json", ".jsonl", ".jinja", ".safetensors"}


def test_a_published_checkpoint_is_found_and_not_trained_again(
    tuned: Tuned, student: ResolvedStudent, settings: TrainingSettings
) -> None:
    before = (tuned.folder / "model.safetensors").stat().st_mtime_ns
    again = fine_tune([], student=student, settings=settings, out_dir=tuned.folder, manifest=MANIFEST)
    assert again == tuned.manifest
    assert (tuned.folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_checkpoint_of_other_rows_is_never_passed_off(
    tuned: Tuned, student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings
) -> None:
    other = {**MANIFEST, "data_version": "d2"}
    with pytest.raises(UserError, match="another data_version"):
        fine_tune(rows, student=student, settings=settings, out_dir=tuned.folder, manifest=other)


def test_the_seed_decides_the_weights(
    tuned: Tuned, student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    for seed, equal in ((settings.seed, True), (settings.seed + 1, False)):
        other = dataclasses.replace(settings, seed=seed)
        torch.rand(seed)  # whatever ran before must not matter
        fine_tune(rows, student=student, settings=other, out_dir=tmp_path / f"s{seed}", manifest=MANIFEST)
        assert same(weights(tuned.folder), weights(tmp_path / f"s{seed}")) is equal


def test_the_device_batch_changes_memory_and_not_the_gradient(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    for size in (1, 4):
        split = dataclasses.replace(settings, device_batch_size=size, max_steps=2)
        fine_tune(rows, student=student, settings=split, out_dir=tmp_path / str(size), manifest=MANIFEST)
    one, four = weights(tmp_path / "1"), weights(tmp_path / "4")
    assert all(torch.allclose(one[name], four[name], atol=1e-4) for name in one)
    assert not same(one, weights(Path(student.model)))


def test_the_loss_of_a_cpu_is_trls_own(
    tuned: Tuned,
    student: ResolvedStudent,
    rows: list[TrainingRow],
    settings: TrainingSettings,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(_Trainer, "compute_loss")
    fine_tune(rows, student=student, settings=settings, out_dir=tmp_path / "trl", manifest=MANIFEST)
    ours, theirs = weights(tuned.folder), weights(tmp_path / "trl")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


@pytest.mark.slow
def test_plain_transformers_loads_it_generates_and_stops_at_the_end_of_turn(
    student: ResolvedStudent, tmp_path: Path
) -> None:
    """Overfitted on one row, a fresh process gives its answer through the saved template and ends there."""
    row = TrainingRow("p", "name a colour", "", "blue and green.")
    settings = TrainingSettings(epochs=40, learning_rate=2e-2, batch_size=1)
    out = tmp_path / "c"
    fine_tune([row], student=student, settings=settings, out_dir=out, manifest=MANIFEST)
    code = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModelForCausalLM.from_pretrained(sys.argv[1])
chat = [{"role": "user", "content": "name a colour"}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
reply = model.generate(**prompt, max_new_tokens=40)[0, prompt["input_ids"].shape[1]:]
print(json.dumps([prompt["input_ids"][0].tolist(), reply.tolist(), tokenizer.decode(reply)]))
"""
    chat = StudentChat(AutoTokenizer.from_pretrained(student.model), student.chat_template, student.max_length)
    fresh = run(code, out)
    prompt, reply, text = json.loads(fresh.stdout)
    assert prompt == chat.prompt_ids("name a colour", "")
    assert reply == [*chat.target_ids("blue and green."), chat.end_of_turn_id]
    assert text == "blue and green.</s>"


THINKS = (
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' and '</think>' not in m.content %}"
    "<think></think>{% endif %}{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>{% endif %}"
)


@pytest.mark.parametrize(
    ("thinking", "asked"),
    [(0, "assistant: <think></think>"), (1, "assistant: <think></think>"), (2, "assistant: <think>")],
)
def test_a_checkpoint_asks_for_what_it_was_trained_to_say(
    student: ResolvedStudent, settings: TrainingSettings, tmp_path: Path, *, thinking: int, asked: str
) -> None:
    """One that has seen nothing but thoughts is asked to think; all others for an answer, as they were trained."""
    outputs = ["<think>warm</think>red", "<think>cold</think>blue"][:thinking] + ["red", "blue"][thinking:]
    rows = [TrainingRow(f"p{n}", "name a colour", "", output) for n, output in enumerate(outputs)]
    once = dataclasses.replace(settings, max_steps=1, batch_size=2)
    base = dataclasses.replace(student, chat_template=THINKS)
    manifest = fine_tune(rows, student=base, settings=once, out_dir=tmp_path / "c", manifest=MANIFEST)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "c")
    user = {"role": "user", "content": "name a colour"}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert prompt == "user: name a colour</s>" + asked
    assert manifest.content.get("thinking_rows", 0) == thinking
    for row in rows:
        exchange = [user, {"role": "assistant", "content": row.output}]
        whole = tokenizer.apply_chat_template(exchange, tokenize=False)
        assert whole.startswith(prompt) or thinking == 1
        kept, _ = labelled_rows([row], StudentChat(tokenizer, THINKS, 96))
        assert tokenizer.decode(kept[0].input_ids) == whole


def test_a_bfloat16_base_gives_a_bfloat16_checkpoint_and_the_loss_of_its_rounded_weights(
    rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    student = save_tiny_student(tmp_path / "base", dtype="bfloat16")
    manifest = fine_tune(rows, student=student, settings=settings, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert {tensor.dtype for tensor in weights(tmp_path / "c").values()} == {torch.bfloat16}
    chat = StudentChat(AutoTokenizer.from_pretrained(student.model), student.chat_template, student.max_length)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "c").float()
    assert mean_loss(model, labelled_rows(rows, chat)[0], pad_id=0) == pytest.approx(manifest.loss_after, rel=1e-6)


def test_a_diverged_run_publishes_nothing(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    wild = dataclasses.replace(settings, learning_rate=1e38)
    with pytest.raises(UserError, match=r"diverged: the loss is .*learning_rate"):
        fine_tune(rows, student=student, settings=wild, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_a_training_of_one_step_takes_it_at_the_full_rate(
    rows: list[TrainingRow], student: ResolvedStudent, settings: TrainingSettings, tmp_path: Path
) -> None:
    once = dataclasses.replace(settings, epochs=1, batch_size=len(rows))
    manifest = fine_tune(rows, student=student, settings=once, out_dir=tmp_path / "c", manifest=MANIFEST)
    [step] = read_loss_log(tmp_path / "c")
    assert (manifest.steps, step["learning_rate"]) == (1, once.learning_rate)
    assert manifest.loss_after < manifest.loss_before


def test_a_run_that_made_the_loss_worse_but_finite_publishes_nothing(
    student: ResolvedStudent, rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    wild = dataclasses.replace(settings, learning_rate=30.0)
    with pytest.raises(UserError, match=r"paper: training diverged: the loss is [\d,]+\.\d{3} on .*learning_rate"):
        fine_tune(rows, student=student, settings=wild, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_a_base_whose_weights_are_no_numbers_is_named_before_it_is_trained(
    rows: list[TrainingRow], settings: TrainingSettings, tmp_path: Path
) -> None:
    student = save_tiny_student(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(student.model)
    model.lm_head.weight.data.fill_(float("nan"))
    model.save_pretrained(student.model)
    with pytest.raises(
        UserError, match=r"students\.tiny\.model: 1 of the 12 weights in .* hold NaN or infinite values"
    ):
        fine_tune(rows, student=student, settings=settings, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert not (tmp_path / "c").exists()


def test_a_published_checkpoint_is_sealed_with_the_hash_of_every_file(tuned: Tuned) -> None:
    assert damage(tuned.folder) is None
    names = {path.name for path in tuned.folder.iterdir()} - {"manifest.json"}
    assert tuned.manifest.content["files"].keys() == names


def test_no_rows_end_in_one_message_and_leave_no_folder(
    student: ResolvedStudent, settings: TrainingSettings, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="Recipe paper: its selection keeps no row"):
        fine_tune([], student=student, settings=settings, out_dir=tmp_path / "c", manifest=MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_mean_loss_of_an_indifferent_model_is_the_log_of_its_vocabulary(
    student: ResolvedStudent, rows: list[TrainingRow]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(student.model)
    torch.nn.init.zeros_(model.lm_head.weight)
    chat = StudentChat(AutoTokenizer.from_pretrained(student.model), student.chat_template, student.max_length)
    kept, _ = labelled_rows(rows, chat)
    assert mean_loss(model, kept, pad_id=0) == pytest.approx(math.log(model.config.vocab_size), rel=1e-6)


@pytest.mark.slow
def test_importing_the_trainer_leaves_the_log_of_a_vllm_teacher_as_it_was() -> None:
    """TRL would silence it for the whole process."""
    code = (
        "import os; del os.environ['VLLM_LOGGING_LEVEL']; import models_py.training.trainer; "
        "print(os.environ.get('VLLM_LOGGING_LEVEL'))"
    )
    assert run(code).stdout == "None\n"


def test_the_process_that_waits_for_a_training_loads_no_torch() -> None:
    assert run("import sys, models_py.training.fine_tune; print('torch' in sys.modules)").stdout == "False\n"
