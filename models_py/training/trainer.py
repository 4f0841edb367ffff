"""The training itself, in the process that does nothing else: a task in, a folder with a checkpoint out.

Why so little of TRL is used: tokens and labels come from the student's chat (`models_py.training.examples`), because
the loss must count exactly the tokens that were scored, and TRL's own preparation would tokenize anew, truncate and
append an end token of its own. Which rows make which step is planned ahead (`models_py.training.plan`); to the trainer
an optimizer step is one batch, and the passes it is made of are run here. What stays is TRL's training loop with its
optimizer, schedule, clipping and trackers and, on a GPU, its memory-lean loss. The loss of an optimizer step is the
mean over all its target tokens, however they fall into forward passes and processes.

Weights are held in float32 and computed in bfloat16 where the GPU has it (a bfloat16 weight swallows updates of 2e-5);
the checkpoint is stored in the base model's own dtype. With several processes each holds a part of the weights, the
gradients and the optimizer's state (FSDP2), and takes its share of the passes.
"""

import contextlib
import dataclasses
import functools
import gc
import json
import logging
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from datasets import Dataset
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader
from transformers import GenerationConfig, PreTrainedModel, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from models_py.content import fingerprint
from models_py.environment import environment_kept
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress
from models_py.student.chat import StudentChat
from models_py.student.loading import load_chat, load_config, load_model
from models_py.student.packed import configurations, inside_documents
from models_py.student.packed_attention import UnsupportedAttention, register
from models_py.student.spec import ResolvedStudent
from models_py.training import saved_state
from models_py.training.adapter import frozen_base, merged, save_adapter, told_of_adapter, with_adapter
from models_py.training.examples import LabelledRow, labelled_rows, require_rows
from models_py.training.loss_log import write_loss_log
from models_py.training.losses import mean_loss, packed, padded, target_nll
from models_py.training.machine import require_able_machine
from models_py.training.manifest import package_versions, require_better
from models_py.training.plan import Step, planned, spent, utilisation
from models_py.training.settings import ALL_LINEAR, TrainingSettings
from models_py.training.task import Stop, StoppedError, Task

with environment_kept():  # it silences vLLM, whose log a teacher in this process is to fill
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

LOSS_ROWS = 256  # enough for two digits of the mean loss, cheap beside an epoch
_SAMPLE = 4  # rows by which packing is compared with padding before it is used
_PACKING_NATS = {"float32": 1e-4, "bfloat16": 0.05}  # by which both may differ, a token


@dataclass(frozen=True, slots=True)
class _Place:
    """Which of how many processes this is, and how it computes."""

    rank: int
    processes: int
    bf16: bool

    @property
    def computed(self) -> str:
        return "bfloat16" if self.bf16 else "float32"


def train(task: Task, on_progress: OnProgress, stop: Stop | None = None) -> dict[str, Any]:
    """Train as the task says, fill its folder with all but the manifest, and say how it went, as the manifest does.

    Every process of a training calls it; the folder and what is returned are the first one's.
    Raises UserError as `fine_tune` does, and StoppedError in every process once `stop` was asked for in one.
    """
    settings, student = task.settings, task.student
    with _quiet(), _placed(settings) as place:
        chat = load_chat(replace(student, max_length=min(settings.max_length, student.max_length)))
        kept, dropped = labelled_rows(task.rows, chat, all_answers=settings.loss_on == "all_answers")
        require_rows(kept, dropped, task.recipe)
        if all(row.thinks for row in kept):  # who has learned from thoughts alone is asked for them, as by its own
            chat.tokenizer.chat_template = chat.own_template
        training = _Training(task, chat, kept, place, on_progress=on_progress, stop=stop or Stop())
        return {**_told_of_rows(kept, dropped), "versions": training.versions, **training.run()}


def _told_of_rows(kept: Sequence[LabelledRow], dropped: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What the manifest says of the rows that were trained on and of those that were not."""
    thinking, shortened = sum(row.thinks for row in kept), sum(row.history_truncated for row in kept)
    return {
        "rows": len(kept),
        "rows_fingerprint": _rows_fingerprint(kept),
        "truncated_rows": sum(row.truncated for row in kept),
        "target_tokens": sum(row.target_tokens for row in kept),
        "dropped": dropped,
        **({"thinking_rows": thinking} if thinking else {}),
        **({"history_truncated_rows": shortened} if shortened else {}),
    }


def _rows_fingerprint(rows: Sequence[LabelledRow]) -> str:
    return fingerprint([[row.input_ids, row.labels] for row in rows])


class _Training:
    """One training from the base's weights to the checkpoint's."""

    def __init__(
        self,
        task: Task,
        chat: StudentChat,
        rows: Sequence[LabelledRow],
        place: _Place,
        *,
        on_progress: OnProgress,
        stop: Stop,
    ) -> None:
        self.task, self.chat, self.rows, self.place = task, chat, rows, place
        self.on_progress, self.stop = on_progress, stop
        self.lengths, self.targets = [len(row.input_ids) for row in rows], [row.target_tokens for row in rows]
        self.steps = planned(self.lengths, self.targets, task.settings)
        self.loss_rows = _evenly_spaced(rows, LOSS_ROWS)
        self.on_cuda = torch.cuda.is_available()

    def run(self) -> dict[str, Any]:
        """Train, save, and say how it went; a process that is not the first has nothing to say."""
        student, settings, bf16 = self.task.student, self.task.settings, self.place.bf16
        started = time.monotonic()
        stored_dtype = getattr(load_config(student), "dtype", None) or torch.float32
        model = self._to_train()
        trainer = _Trainer(self, model)
        pad_id = int(self.chat.tokenizer.pad_token_id)  # the trainer chose one if there was none

        self.on_progress(Progress(0, len(self.steps), "steps", note="measuring the loss before training"))
        loss_before = mean_loss(model, self.loss_rows, pad_id, bf16)
        if not math.isfinite(loss_before):
            raise UserError(
                f"students.{student.name}.model: before any training the loss of {student.model} is {loss_before}, so "
                "its weights are no numbers; name a sound model, or copy it again."
            )
        if settings.packing:
            _require_equal_packs(model, self.rows, pad_id, bf16)
        trainer.fit()
        told = trainer.told()
        if settings.method != "full":
            told["adapter"] = told_of_adapter(model, settings.lora)
        del trainer  # it and the model refer to each other; what follows needs the memory
        trained = self._whole(model)
        del model
        self._give_back()
        if trained is None:
            return {}

        trained.to(stored_dtype).float()  # measure the weights that are stored, rounding included
        loss_after = mean_loss(trained, self.loss_rows, pad_id, bf16)
        require_better(loss_before, loss_after, recipe=self.task.recipe, learning_rate=settings.learning_rate)
        _save(self.task.folder, trained.to(stored_dtype), self.chat, pad_id)
        write_loss_log(self.task.folder, told.pop("history"))
        return {
            "loss_before": loss_before,
            "loss_after": loss_after,
            "loss_rows": len(self.loss_rows),
            "steps": len(self.steps),
            **spent(self.steps, self.lengths, self.targets),
            **self._told_of_settings(),
            **told,
            "seconds": round(time.monotonic() - started, 3),
            "device": torch.cuda.get_device_name() if self.on_cuda else "cpu",
            "dtype": {"computed": self.place.computed, "stored": str(stored_dtype).removeprefix("torch.")},
        }

    @property
    def versions(self) -> dict[str, str]:
        """Of what shapes the checkpoint."""
        return package_versions() | ({"peft": peft.__version__} if self.task.settings.method != "full" else {})

    @property
    def made_of(self) -> dict[str, Any]:
        """What a saved state must have been made of to be gone on from."""
        return {
            "rows": _rows_fingerprint(self.rows),
            "settings": self.task.settings.hashed,
            "student": self.task.student.fingerprint,
            "versions": self.versions,
            "processes": self.place.processes,
            "device": torch.cuda.get_device_name() if self.on_cuda else "cpu",
        }

    def _to_train(self) -> Any:
        """The model as the trainer gets it; it moves it where it computes."""
        settings, place = self.task.settings, self.place
        if settings.method == "full":
            model = _load_base(self.task.student)
        else:
            # One dtype for all weights that are shared out together, and an adapter's are float32.
            base = frozen_base(self.task.student, settings, bf16=place.bf16 and place.processes == 1)
            model = self._with_adapter(base)
        return _sharded(model, self.on_cuda) if place.processes > 1 else model

    def _with_adapter(self, base: Any) -> Any:
        try:
            return with_adapter(base, self.task.settings)
        except ValueError as error:
            raise UserError(
                f"training.lora.target_modules: {self.task.student.name} has no such layers ({error}); name layers of "
                f"{type(base).__name__}, or leave it out for {ALL_LINEAR}."
            ) from error

    def _whole(self, model: Any) -> Any:
        """The trained model in one piece, its adapter saved and merged, in the first process; None in the others."""
        has_adapter, weights = self.task.settings.method != "full", None
        if self.place.processes > 1:
            options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=has_adapter)
            weights = get_model_state_dict(model, options=options)
        elif not has_adapter:
            return model
        if self.place.rank > 0:
            return None
        whole = _load_base(self.task.student)
        if has_adapter:
            save_adapter(model, self.task.folder, base=self.task.model, weights=weights)
            whole = merged(whole, self.task.folder)
        else:
            whole.load_state_dict(weights)
        return whole.to("cuda") if self.on_cuda else whole

    def _give_back(self) -> None:
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()

    def _told_of_settings(self) -> dict[str, Any]:
        settings = self.task.settings
        return {
            **({"budget": settings.hashed["budget"]} if settings.budget else {}),
            **({"packs_filled": self._filled()} if settings.packing else {}),
            **({"processes": settings.processes} if settings.processes > 1 else {}),
            **({"machines": settings.machines} if settings.machines > 1 else {}),
        }

    def _filled(self) -> float:
        return round(utilisation(self.steps, self.lengths, self.task.settings.max_length), 4)


class _Trainer(SFTTrainer):
    """SFTTrainer whose batches are planned steps, made quick on a CPU and silent towards the Hub."""

    def __init__(self, training: _Training, model: Any) -> None:
        self.training, self.settings = training, training.task.settings
        self.configs = configurations(model)
        self.seconds_before, self.resumed_after = 0.0, list[int]()
        self.began = self.saved = time.monotonic()
        self.stopped = False
        row = training.rows[0]
        super().__init__(
            model=model,
            args=_arguments(training),
            # It wants some and reads none: `get_train_dataloader` brings the planned steps.
            train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels}]),
            processing_class=training.chat.tokenizer,
            callbacks=[_AtEachStep(self)],
        )
        self.remove_callback(PrinterCallback)
        if self.settings.packing:
            register()

    def fit(self) -> None:
        """Train to the end, from the saved state where there is one."""
        training = self.training
        state, why_not = saved_state.found(training.task.work, training.made_of)
        if why_not:
            training.on_progress(Progress(0, len(training.steps), "steps", note=why_not, urgent=True))
        try:
            self.train(resume_from_checkpoint=str(state) if state else None)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"Training {training.task.student.name} does not fit into the memory of "
                f"{torch.cuda.get_device_name()}. Lower training.device_batch_size (now {self.settings.rows_a_pass}; "
                "the result stays the same), set training.gradient_checkpointing to true, or lower "
                "training.max_length in the profile."
            ) from error
        if self.stopped:
            raise StoppedError

    def told(self) -> dict[str, Any]:
        """The curve, and after which steps training was gone on with."""
        resumed = {"resumed_after_steps": self.resumed_after} if self.resumed_after else {}
        return {"history": self.state.log_history, **resumed}

    @property
    def seconds(self) -> float:
        """Of training so far, in this process and those it goes on from."""
        return self.seconds_before + time.monotonic() - self.began

    def _send_telemetry(self) -> None:
        """TRL reports every start to the Hub unless a variable was set before its import."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """A step a batch, in the planned order."""
        return DataLoader(self.training.steps, batch_size=1, collate_fn=lambda steps: self._tensors(steps[0]))  # type: ignore[arg-type]

    def _tensors(self, step: Step) -> dict[str, Any]:
        """The passes of this process, and the targets of all."""
        place, rows = self.training.place, self.training.rows
        arranged = packed if self.settings.packing else functools.partial(padded, pad_id=self.pad_id)
        idle = rows[step.rows[-1]].without_targets()
        passes = [[rows[at] for at in one] or [idle] for one in step.of_process(place.rank, place.processes)]
        targets = sum(self.training.targets[row] for row in step.rows)
        return {"passes": [arranged(one) for one in passes], "targets": torch.tensor(targets)}

    @property
    def pad_id(self) -> int:
        return int(self.training.chat.tokenizer.pad_token_id)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """All passes of a step, forward and backward; the loss of the step, in this process's share of it."""
        targets = inputs["targets"].to(self.args.device)
        loss = torch.tensor(0.0, device=self.args.device)
        with inside_documents(self.configs) if self.settings.packing else contextlib.nullcontext():
            for one in inputs["passes"]:
                loss += super().training_step(model, one, targets)  # type: ignore[no-untyped-call]
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss; on a CPU without its fused head, whose fallback doubles the time of a toy's step."""
        if self.args.device.type != "cpu" or return_outputs or num_items_in_batch is None:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        # Gradients are averaged over the processes, and the targets are those of all of them.
        return target_nll(model, inputs).sum() / num_items_in_batch * self.training.place.processes

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: a batch here is no single input of the model."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to the loss of a step what the step read and how long it took so far."""
        if "loss" in logs:
            seen = spent(
                [self.training.steps[self.state.global_step - 1]], self.training.lengths, self.training.targets
            )
            logs["target_tokens"], logs["tokens"] = seen["target_tokens_seen"], seen["tokens_seen"]
            logs["seconds"] = round(self.seconds, 3)
        super().log(logs, start_time)

    # Saved states: everything that the trainer of transformers would write and read, in one place and whole.

    @property
    def _own_optimizer(self) -> Any:
        """Torch's, which accelerate has wrapped."""
        optimizer: Any = self.optimizer
        return optimizer.optimizer

    @property
    def _schedule(self) -> Any:
        return self.lr_scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.saved = time.monotonic()
        saved_state.save(
            self.training.task.work,
            self.state.global_step,
            model=self.model,
            optimizer=self._own_optimizer,
            own={
                "schedule": self._schedule.state_dict(),
                "seconds": self.seconds,
                "resumed_after": self.resumed_after,
            },
            trainer_state=json.dumps(dataclasses.asdict(self.state)),
            made_of=self.training.made_of,
            rank=self.training.place.rank,
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights come with the optimizer."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        rank = self.training.place.rank
        own = saved_state.load(Path(checkpoint), model=self.model, optimizer=self._own_optimizer, rank=rank)
        self._schedule.load_state_dict(own["schedule"])
        self.seconds_before = own["seconds"]
        self.resumed_after = [*own["resumed_after"], self.state.global_step]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            saved_state.draw_as_saved(Path(checkpoint), self.training.place.rank)


class _AtEachStep(TrainerCallback):
    """Says how far the training is, when its state is to be saved, and whether it is to stop."""

    def __init__(self, trainer: _Trainer) -> None:
        self.trainer = trainer
        self.tokens = self.target_tokens = 0  # of this process's run

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.began = self.trainer.saved = time.monotonic()
        self.trainer.training.stop.is_heard = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.training.stop.is_heard = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The epoch is the plan's: to the trainer all steps together are one."""
        steps, place = self.trainer.training.steps, self.trainer.training.place
        state.epoch = steps[state.global_step - 1].epoch
        is_due = time.monotonic() - self.trainer.saved >= 60 * self.trainer.settings.save_minutes
        stops = self.trainer.training.stop.asked
        if place.processes > 1:  # as the first process's clock says, and as soon as one was asked to stop
            either = torch.tensor([is_due and place.rank == 0, stops], dtype=torch.float32, device=args.device)
            torch.distributed.all_reduce(either, torch.distributed.ReduceOp.MAX)
            is_due, stops = (bool(one) for one in either)
        if stops:
            self.trainer.stopped = control.should_training_stop = True
        control.should_save = stops or (is_due and state.global_step < len(steps))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self.tokens += int(logs["tokens"])
        self.target_tokens += int(logs["target_tokens"])
        seconds = max(time.monotonic() - self.trainer.began, 1e-9)
        note = (
            f"loss {logs['loss']:.3f}, {self.tokens / seconds:,.0f} tokens/s ({self.target_tokens / seconds:,.0f} of "
            f"answers), {_memory_gib():.1f} GiB"
        )
        self.trainer.training.on_progress(Progress(state.global_step, state.max_steps, "steps", note=note))


def _memory_gib() -> float:
    """The most memory that this process has held: on its GPU where it computes on one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _arguments(training: _Training) -> SFTConfig:
    task, settings = training.task, training.task.settings
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(task.work.with_name("tensorboard") / task.name))
    arguments = SFTConfig(
        output_dir=str(task.work),
        run_name=f"{task.recipe}-{task.name}",
        num_train_epochs=1,  # of planned steps
        max_steps=len(training.steps),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        # The first step of a rise has a rate of 0: all of a training of one step would be that.
        warmup_steps=min(math.ceil(len(training.steps) * settings.warmup_ratio), len(training.steps) - 1),
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=1,  # a step, whose passes are run by `training_step`
        gradient_checkpointing=settings.gradient_checkpointing,
        seed=settings.seed,
        data_seed=settings.seed,
        max_length=None,  # the rows are cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not training.on_cuda,
        bf16=training.place.bf16,
        dataloader_pin_memory=False,
        save_strategy="no",  # `_AtEachStep` says when
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        logging_steps=1,
        log_level="error",
    )
    # Touching `n_gpu` sets the devices up; with more than one, Trainer would wrap the model in DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


@contextlib.contextmanager
def _placed(settings: TrainingSettings) -> Iterator[_Place]:
    """Where this process stands among those of the training: torchrun has told it.

    Raises UserError where this machine cannot train so.
    """
    require_able_machine(settings)
    on_cuda = torch.cuda.is_available()
    bf16 = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    if settings.processes == 1:
        yield _Place(0, 1, bf16)
        return
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    try:
        yield _Place(torch.distributed.get_rank(), settings.processes, bf16)
    finally:
        torch.distributed.destroy_process_group()


def _sharded(model: Any, on_cuda: bool) -> Any:
    """A model of which each process holds a part, layer by layer (FSDP2)."""
    mesh = init_device_mesh("cuda" if on_cuda else "cpu", (torch.distributed.get_world_size(),))
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    for layer in max(lists, key=len, default=torch.nn.ModuleList()):
        fully_shard(layer, mesh=mesh)
    # Of the whole it would leave whole weights behind a measurement, and the optimizer would be given these.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    base._is_distributed_loading_by_transformers = True  # so that the trainer wraps it no further
    return model


def _require_equal_packs(model: Any, rows: Sequence[LabelledRow], pad_id: int, bf16: bool) -> None:
    """Raise UserError for a model to which a row means another thing in a pack than by itself."""
    sample = _evenly_spaced(rows, _SAMPLE)
    expected = mean_loss(model, sample, pad_id, bf16)
    device = model.device
    inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in packed(sample).items()}
    try:
        if not getattr(model, "_supports_attention_backend", False):
            raise UnsupportedAttention("it cannot be given another attention")
        with (
            torch.no_grad(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
            inside_documents(configurations(model)),
        ):
            model.train()
            model(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False)
            model.eval()
            found = float(target_nll(model, inputs).double().mean())
    except UnsupportedAttention as reason:
        problem = str(reason)
    else:
        if abs(found - expected) <= _PACKING_NATS["bfloat16" if bf16 else "float32"]:
            return
        problem = f"a loss of {found:.6g} instead of {expected:.6g}"
    raise UserError(f"training.packing: {type(model).__name__} cannot read packed rows ({problem}); set it to false.")


def _save(folder: Path, model: PreTrainedModel, chat: StudentChat, pad_id: int) -> None:
    """The weights, and what plain transformers needs to chat with them."""
    model.config.use_cache = True
    model.generation_config = _generation_config(model, chat.end_of_turn_id, pad_id)
    model.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)  # with the chat template, which load_chat gave it


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


def _load_base(student: ResolvedStudent) -> Any:
    """The base model in float32 on the CPU."""
    return load_model(replace(student, dtype="float32"), "cpu")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers, datasets, accelerate and TRL from writing to the log; errors still pass."""
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
