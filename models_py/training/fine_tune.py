"""Rows in, a published checkpoint out: full fine-tuning with TRL's SFTTrainer.

Why so little of TRL is used: tokens and labels come from the student's chat (`models_py.training.examples`), because
the loss must count exactly the tokens that were scored, and TRL's own preparation would tokenize anew, truncate and
append an end token of its own. What stays is its training loop and, on a GPU, its memory-lean loss. The loss of an
optimizer step is the mean over all its target tokens, however they fall into forward passes.

Weights are held in float32 and computed in bfloat16 where the GPU has it (a bfloat16 weight swallows updates of 2e-5);
the checkpoint is stored in the base model's own dtype. One process, one device: on a machine with several GPUs the
first is used. No resuming inside a run: a killed run starts over, from the same rows and seed to the same weights.

The folder that `fine_tune` publishes holds the model (safetensors), the tokenizer with its chat template, a generation
config that ends at the end of a turn, `loss_log.jsonl` (one line a step) and `manifest.json`. Plain transformers
loads it.
"""

import contextlib
import gc
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedModel, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from models_py.content import fingerprint
from models_py.environment import environment_kept
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.publish import published_folder
from models_py.student.chat import StudentChat
from models_py.student.loading import load_chat, load_config, load_model
from models_py.student.nll import only_positions
from models_py.student.spec import ResolvedStudent
from models_py.training.examples import IGNORED, LabelledRow, labelled_rows, require_rows
from models_py.training.manifest import (
    Manifest,
    check_same_origin,
    package_versions,
    read_manifest,
    require_better,
    sealed,
    write_manifest,
)
from models_py.training.settings import TrainingRow, TrainingSettings

with environment_kept():  # it silences vLLM, whose log a teacher in this process is to fill
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

LOSS_LOG = "loss_log.jsonl"
LOSS_ROWS = 256  # enough for two digits of the mean loss, cheap beside an epoch
_LOSS_TOKENS = 2048  # padded tokens of one forward pass that measures the loss: 1 GiB of logits at 128k words


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
) -> Manifest:
    """Fine-tune all weights of `student` on `rows`, publish the checkpoint as `out_dir` and return its manifest.

    The loss counts the answer and its end-of-turn token and nothing else. `loss_before` and `loss_after` are the mean
    negative log-likelihood in nats a target token, of the base and of the published weights, over the same
    training rows: all of them, or 256 evenly spaced ones. `manifest` brings recipe, data_version, snapshot_id and
    whatever else the caller wants stored; the result, the settings and the versions are added to it. `model` is what
    the manifest calls the student's model, by default where it lies here. `finish` may add to the folder and to the
    content of the manifest before all is sealed and published.

    A checkpoint that `out_dir` already holds is not trained again. The same rows, settings and seed give the same
    weights on the same CPU and number of threads; GPUs do not promise that.

    Raises UserError when no row can be trained on, when the student cannot be loaded, when `out_dir` holds something
    else, and when the loss is higher than before or does not stay finite. Nothing is published then.
    """
    origin = {
        **manifest,
        "student": {
            "name": student.name,
            "model": model or student.model,
            "revision": student.revision,
            "fingerprint": student.fingerprint,
        },
        "settings": settings.hashed,
    }
    found = read_manifest(out_dir)
    if found is not None:
        check_same_origin(found.content, origin, out_dir)
        return found

    with _quiet():
        chat = load_chat(replace(student, max_length=min(settings.max_length, student.max_length)))
        kept, dropped = labelled_rows(rows, chat, all_answers=settings.loss_on == "all_answers")
        recipe = str(manifest.get("recipe", out_dir.name))
        require_rows(kept, dropped, recipe)
        if all(row.thinks for row in kept):  # who has learned from thoughts alone is asked for them, as by its own
            chat.tokenizer.chat_template = chat.own_template
        with published_folder(out_dir) as folder:
            outcome = _train(
                folder, student, recipe=recipe, chat=chat, rows=kept, settings=settings, on_progress=on_progress
            )
            content = {**origin, **_told_of_rows(kept, dropped), "versions": package_versions(), **outcome}
            if finish is not None:
                finish(folder, content)
            write_manifest(folder, sealed(folder, content))
    published = read_manifest(out_dir)
    if published is None:
        raise FileNotFoundError(f"{out_dir} vanished right after it was published")
    return published


def _told_of_rows(kept: Sequence[LabelledRow], dropped: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What the manifest says of the rows that were trained on and of those that were not."""
    thinking, shortened = sum(row.thinks for row in kept), sum(row.history_truncated for row in kept)
    return {
        "rows": len(kept),
        "rows_fingerprint": fingerprint([[row.input_ids, row.labels] for row in kept]),
        "truncated_rows": sum(row.truncated for row in kept),
        "target_tokens": sum(label != IGNORED for row in kept for label in row.labels),
        "dropped": dropped,
        **({"thinking_rows": thinking} if thinking else {}),
        **({"history_truncated_rows": shortened} if shortened else {}),
    }


def _train(
    folder: Path,
    student: ResolvedStudent,
    *,
    recipe: str,
    chat: StudentChat,
    rows: Sequence[LabelledRow],
    settings: TrainingSettings,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Train, fill `folder` with the weights and all that belongs to them, and say how it went."""
    started = time.monotonic()
    model, stored_dtype = _load_base(student)
    trainer = _trainer(folder, model, chat=chat, rows=rows, settings=settings, on_progress=on_progress)
    bf16, pad_id = trainer.args.bf16, int(chat.tokenizer.pad_token_id)  # the trainer chose one if there was none
    loss_rows = _evenly_spaced(rows, LOSS_ROWS)

    on_progress(Progress(0, 1, "steps", note="measuring the loss before training"))
    loss_before = mean_loss(model, loss_rows, pad_id, bf16)
    if not math.isfinite(loss_before):
        raise UserError(
            f"students.{student.name}.model: before any training the loss of {student.model} is {loss_before}, so its "
            "weights are no numbers; name a sound model, or copy it again."
        )
    steps = _fit(trainer, student, settings)
    model.to(stored_dtype).float()  # measure the weights that are stored, rounding included
    loss_after = mean_loss(model, loss_rows, pad_id, bf16)
    require_better(loss_before, loss_after, recipe=recipe, learning_rate=settings.learning_rate)

    _save(folder, model.to(stored_dtype), chat, pad_id)
    _write_loss_log(folder, trainer.state.log_history)
    on_cuda = model.device.type == "cuda"
    del trainer, model  # they refer to each other; the next recipe needs the memory now
    gc.collect()
    if on_cuda:
        torch.cuda.empty_cache()
    return {
        "loss_before": loss_before,
        "loss_after": loss_after,
        "loss_rows": len(loss_rows),
        "steps": steps,
        "seconds": round(time.monotonic() - started, 3),
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "dtype": {"computed": "bfloat16" if bf16 else "float32", "stored": str(stored_dtype).removeprefix("torch.")},
    }


def _trainer(
    folder: Path,
    model: PreTrainedModel,
    *,
    chat: StudentChat,
    rows: Sequence[LabelledRow],
    settings: TrainingSettings,
    on_progress: OnProgress,
) -> "_Trainer":
    on_cuda = torch.cuda.is_available()
    bf16 = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    trainer = _Trainer(
        model=model,
        args=_arguments(folder, settings, on_cuda, bf16),
        train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]),
        processing_class=chat.tokenizer,
        callbacks=[_Reporter(on_progress)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _fit(trainer: "_Trainer", student: ResolvedStudent, settings: TrainingSettings) -> int:
    """Run the training loop; how many optimizer steps it took."""
    try:
        return int(trainer.train().global_step)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"Training {student.name} does not fit into the memory of {torch.cuda.get_device_name()}. Lower "
            f"training.device_batch_size (now {settings.rows_a_pass}; the result stays the same), set "
            "training.gradient_checkpointing to true, or lower training.max_length in the profile."
        ) from error


def _save(folder: Path, model: PreTrainedModel, chat: StudentChat, pad_id: int) -> None:
    """The weights, and what plain transformers needs to chat with them."""
    model.config.use_cache = True
    model.generation_config = _generation_config(model, chat.end_of_turn_id, pad_id)
    model.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)  # with the chat template, which load_chat gave it


class _Trainer(SFTTrainer):
    """SFTTrainer as it is on a GPU, made quick on a CPU and silent towards the Hub."""

    def _send_telemetry(self) -> None:
        """TRL reports every start to the Hub unless a variable was set before its import."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The same loss; on a CPU without TRL's fused head, whose fallback doubles the time of a toy's step."""
        if model.device.type != "cpu" or return_outputs or num_items_in_batch is None:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        nll = _target_nll(model, inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        return nll.sum() / num_items_in_batch


class _Reporter(TrainerCallback):
    """Passes each logged step on as progress."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress = on_progress

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.on_progress(Progress(state.global_step, state.max_steps, "steps", note=f"loss {logs['loss']:.3f}"))


def _arguments(folder: Path, settings: TrainingSettings, on_cuda: bool, bf16: bool) -> SFTConfig:
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=settings.rows_a_pass,
        gradient_accumulation_steps=settings.accumulation,
        gradient_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
        data_seed=settings.seed,
        max_length=None,  # the rows are cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not on_cuda,
        bf16=bf16,
        dataloader_pin_memory=on_cuda,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        log_level="error",
    )
    # Touching `n_gpu` sets the devices up; with more than one, Trainer would wrap the model in DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def mean_loss(model: PreTrainedModel, rows: Sequence[LabelledRow], pad_id: int, bf16: bool = False) -> float:
    """Mean negative log-likelihood in nats a target token, over all target tokens of `rows`; no gradients.

    Sums are float64, log-probabilities float32, whatever the model computes in.
    """
    was_training = model.training
    model.eval()
    device = model.device
    total, targets = 0.0, 0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for batch in _batches(rows):
            length = max(len(row.input_ids) for row in batch)
            ids = torch.full((len(batch), length), pad_id)  # (B, T)
            labels = torch.full((len(batch), length), IGNORED)  # (B, T)
            mask = torch.zeros((len(batch), length), dtype=torch.long)
            for index, row in enumerate(batch):
                ids[index, : len(row.input_ids)] = torch.tensor(row.input_ids)
                labels[index, : len(row.labels)] = torch.tensor(row.labels)
                mask[index, : len(row.input_ids)] = 1
            nll = _target_nll(model, ids.to(device), mask.to(device), labels.to(device))
            total += float(nll.double().sum())
            targets += len(nll)
    model.train(was_training)
    return total / targets


def _target_nll(model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Nats of every labelled token of a right-padded batch: three times (B, T) in, (targets,) float32 out."""
    following = labels[:, 1:]
    counts = following != IGNORED  # (B, T - 1)
    positions = torch.nn.functional.pad(counts, (0, 1)).flatten().nonzero()[:, 0]
    with only_positions(model, positions):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]  # (targets, V)
    return torch.nn.functional.cross_entropy(logits.float(), following[counts], reduction="none")


def _batches(rows: Sequence[LabelledRow]) -> Iterator[list[LabelledRow]]:
    """Longest first, each batch at most `_LOSS_TOKENS` padded tokens (or one row)."""
    batch: list[LabelledRow] = []
    for row in sorted(rows, key=lambda row: -len(row.input_ids)):
        if batch and (len(batch) + 1) * len(batch[0].input_ids) > _LOSS_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _evenly_spaced(rows: Sequence[LabelledRow], count: int) -> list[LabelledRow]:
    """At most `count` rows from start to end: rows come ranked, so the first ones would not stand for all."""
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def _generation_config(model: PreTrainedModel, end_of_turn_id: int, pad_id: int) -> GenerationConfig:
    """Stop at the end of a turn, or at what ended a text of the base model; the base's sampling is not inherited."""
    known = getattr(model.generation_config, "eos_token_id", None)
    others = [known] if isinstance(known, int) else list(known or [])
    ends = [end_of_turn_id, *(token for token in others if token != end_of_turn_id)]
    return GenerationConfig(
        bos_token_id=model.config.get_text_config().bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=pad_id,
    )


def _write_loss_log(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """One line a step: step, epoch, loss, learning_rate, grad_norm."""
    names = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    with (folder / LOSS_LOG).open("w", encoding="utf-8") as file:
        for entry in history:
            if "loss" in entry:
                file.write(json.dumps({name: entry[name] for name in names if name in entry}) + "\n")


def _load_base(student: ResolvedStudent) -> tuple[Any, torch.dtype]:
    """The base model in float32 on the CPU (the trainer moves it), and the dtype its checkpoint is stored in."""
    model = load_model(replace(student, dtype="float32"), "cpu")
    return model, getattr(load_config(student), "dtype", None) or torch.float32


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers, datasets, accelerate and TRL from writing to the terminal; errors still pass."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("trl", "accelerate", "datasets")]
    levels = [logger.level for logger in loggers]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
