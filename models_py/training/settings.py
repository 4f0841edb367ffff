"""What a fine-tuning run is told.

The defaults of `TrainingSettings` are those of the paper's 7B students (arXiv 2402.10110): Adam at 2e-5, three epochs,
a global batch of 128, 3 % warm-up, no weight decay, 2048 tokens. A 13B student takes 1e-5. Its decay of the learning
rate is this project's choice: cosine, as in the training scripts of Vicuna and Alpaca.

This module stays free of torch: the wiring reads settings without paying for a training framework.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models_py.content import hashed_fields
from models_py.conversation import NO_CONTEXT, Context
from models_py.errors import UserError, refuse, unknown

LOSS_ON = ("last_answer", "all_answers")
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")
METHODS = ("full", "lora", "qlora")
TRACKERS = ("wandb", "mlflow", "trackio", "tensorboard")
ALL_LINEAR = "all-linear"  # PEFT's word for every linear layer but the output layer
# Single keys of a profile override what its preset says, and only values are ever hashed: a preset has no identity.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},  # the defaults below
    "fast": {"packing": True, "device_batch_size": 4},
}
# The settings that every checkpoint's id hashes: those of the first release.
_ALWAYS_HASHED = (
    "epochs",
    "learning_rate",
    "batch_size",
    "device_batch_size",
    "warmup_ratio",
    "weight_decay",
    "schedule",
    "max_length",
    "max_steps",
    "seed",
    "gradient_checkpointing",
)
# How a training is run, not what comes out of it: no id hashes these.
_NEVER_HASHED = ("processes", "machines", "save_minutes", "report_to")


@dataclass(frozen=True, slots=True)
class Budget:
    """When a training ends, whatever the number of its rows: exactly one of the three is given.

    The rows are gone round as often as needed. `target_tokens` counts the tokens that the loss counts; the row that
    reaches the number is the last one.
    """

    rows: int | None = None
    target_tokens: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse none, several, and what ends before it begins."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if len(given) != 1:
            told = ", ".join(f"{name}: {value}" for name, value in given.items()) or "nothing"
            raise UserError(f"training.budget says {told}; give exactly one of rows, target_tokens and steps.")
        refuse(f"training.budget.{name} is {value}; it must be above 0." for name, value in given.items() if value <= 0)


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter of `method: lora` and `qlora`. `target_modules`: names of layers, or all linear ones."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = ALL_LINEAR

    def __post_init__(self) -> None:
        """Refuse what PEFT would refuse later, or not at all."""
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.rank < 1:
            yield f"training.lora.rank is {self.rank}; it must be at least 1."
        if self.alpha <= 0:
            yield f"training.lora.alpha is {self.alpha}; it must be above 0."
        if not 0 <= self.dropout < 1:
            yield f"training.lora.dropout is {self.dropout}; it is a share, 0 to below 1."
        if not self.target_modules:
            yield f"training.lora.target_modules is empty; name layers, or leave it out for {ALL_LINEAR}."


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The hyperparameters of one fine-tune.

    `batch_size` counts the rows of one optimizer step; it is reached by accumulating forward passes of
    `device_batch_size` rows, so lowering the latter saves memory and changes no gradient. A run ends after `epochs`,
    or after `max_steps` optimizer steps, or when its `budget` is spent, where one of these is set. The shorter of
    `max_length` and the student's own limit cuts the rows, in tokens. `loss_on`: the answer of each pair, or
    `all_answers` of the conversation that it ends.

    `packing`: rows lie one after the other in packs of at most `max_length` tokens, without padding and without seeing
    each other; a forward pass then takes `device_batch_size` packs. Steps and loss stay the same.
    `method`: `full`, or a `lora` adapter, merged at the end; with `qlora` beside a base in four bits.
    `processes`: one a GPU, of this machine, or shared out evenly to so many `machines` of a Ray cluster.
    `save_minutes`: how often the state of the training is saved, 0 for after every step. `report_to`: trackers that
    TRL reports to.
    """

    epochs: float = 3.0
    learning_rate: float = 2e-5
    batch_size: int = 128
    device_batch_size: int = 8
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    schedule: str = "cosine"
    max_length: int = 2048
    max_steps: int | None = None
    seed: int = 0
    gradient_checkpointing: bool = False
    loss_on: str = "last_answer"
    packing: bool = False
    budget: Budget | None = None
    method: str = "full"
    lora: Lora = Lora()
    processes: int = 1
    machines: int = 1
    save_minutes: float = 10.0
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that would fail, or silently do nothing, minutes into a run."""
        refuse([*self._problems(), *self._uneven()])

    def _problems(self) -> Iterator[str]:
        positive = (
            "epochs",
            "learning_rate",
            "batch_size",
            "device_batch_size",
            "max_length",
            "max_steps",
            "processes",
            "machines",
        )
        for name in positive:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                yield f"training.{name} is {value}; it must be above 0."
        if not 0 <= self.warmup_ratio < 1:
            yield f"training.warmup_ratio is {self.warmup_ratio}; it is a share of all steps, 0 to below 1."
        if not 0 <= self.save_minutes < math.inf:
            yield f"training.save_minutes is {self.save_minutes}; it must not be below 0."
        if self.weight_decay < 0:
            yield f"training.weight_decay is {self.weight_decay}; it must not be below 0."
        for name, known in (("loss_on", LOSS_ON), ("schedule", SCHEDULES), ("method", METHODS)):
            if getattr(self, name) not in known:
                yield f"training.{name} is {getattr(self, name)}; it must be one of {', '.join(known)}."
        for one in self.report_to:
            if one not in TRACKERS:
                yield f"training.report_to is {one}; it must be some of {', '.join(TRACKERS)}."
        if self.budget is not None and self.max_steps is not None:
            yield "training.max_steps and training.budget both say when to end; give one of them."
        if self.method == "full" and self.lora != Lora():
            yield "training.lora says what an adapter is like, and training.method: full trains none; set it to lora."

    def _uneven(self) -> Iterator[str]:
        if not self.packing and min(self.device_batch_size, self.batch_size) > 0 and self.batch_size % self.rows_a_pass:
            yield (
                f"training.batch_size is {self.batch_size}, which is no multiple of training.device_batch_size "
                f"({self.device_batch_size}); choose a device batch that divides it."
            )
        if min(self.processes, self.machines) > 0 and self.processes % self.machines:
            yield (
                f"training.processes is {self.processes}, and training.machines is {self.machines}, which share them "
                f"evenly; choose a multiple of {self.machines}: one a GPU of all machines."
            )

    @property
    def hashed(self) -> dict[str, Any]:
        """What a checkpoint's id and manifest take of them: settings of later releases only where they are used."""
        values = hashed_fields(self, _ALWAYS_HASHED)
        for name in ("budget", "lora"):
            if name in values:
                values[name] = {key: _plain(value) for key, value in hashed_fields(getattr(self, name), ()).items()}
        return {name: value for name, value in values.items() if name not in _NEVER_HASHED}

    @property
    def processes_a_machine(self) -> int:
        """As many as a machine has."""
        return self.processes // self.machines

    @property
    def rows_a_pass(self) -> int:
        """Rows of one forward pass: never more than one optimizer step takes."""
        return min(self.device_batch_size, self.batch_size)

    @property
    def accumulation(self) -> int:
        """Forward passes a step: `rows_a_pass * accumulation == batch_size`."""
        return self.batch_size // self.rows_a_pass


def with_preset(values: object) -> object:
    """What a profile says under `training`, its `preset` written out; anything but a mapping as it is.

    Raises UserError for a preset that there is not.
    """
    if not isinstance(values, dict) or "preset" not in values:
        return values
    own = {name: value for name, value in values.items() if name != "preset"}
    preset = values["preset"]
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UserError(f"preset: {unknown('a preset', preset, PRESETS)}")
    return {**PRESETS[preset], **own}


def _plain(value: Any) -> Any:
    """As JSON gives it back: a manifest that was read is compared with settings that were not."""
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One pair to learn from; `pair_id` names it in the reasons of dropped rows."""

    pair_id: str
    instruction: str
    input: str
    output: str
    context: Context = NO_CONTEXT
