"""What a fine-tuning run is told.

The defaults of `TrainingSettings` are those of the paper's 7B students (arXiv 2402.10110): Adam at 2e-5, three epochs,
a global batch of 128, 3 % warm-up, no weight decay, 2048 tokens. A 13B student takes 1e-5. Its decay of the learning
rate is this project's choice: cosine, as in the training scripts of Vicuna and Alpaca.

This module stays free of torch: the wiring reads settings without paying for a training framework.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models_py.content import hashed_fields
from models_py.conversation import NO_CONTEXT, Context
from models_py.errors import refuse

LOSS_ON = ("last_answer", "all_answers")
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")
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


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The hyperparameters of one full fine-tune.

    `batch_size` counts the rows of one optimizer step; it is reached by accumulating forward passes of
    `device_batch_size` rows, so lowering the latter saves memory and changes no gradient. A run ends after `epochs`,
    or after `max_steps` optimizer steps where that is set. The shorter of `max_length` and the student's own limit cuts
    the rows, in tokens. `loss_on`: the answer of each pair, or `all_answers` of the conversation that it ends.
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

    def __post_init__(self) -> None:
        """Refuse values that would fail, or silently do nothing, minutes into a run."""
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        for name in ("epochs", "learning_rate", "batch_size", "device_batch_size", "max_length", "max_steps"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                yield f"training.{name} is {value}; it must be above 0."
        if not 0 <= self.warmup_ratio < 1:
            yield f"training.warmup_ratio is {self.warmup_ratio}; it is a share of all steps, 0 to below 1."
        if self.weight_decay < 0:
            yield f"training.weight_decay is {self.weight_decay}; it must not be below 0."
        if self.loss_on not in LOSS_ON:
            yield f"training.loss_on is {self.loss_on}; it must be one of {', '.join(LOSS_ON)}."
        if self.schedule not in SCHEDULES:
            yield f"training.schedule is {self.schedule}; it must be one of {', '.join(SCHEDULES)}."
        if min(self.device_batch_size, self.batch_size) > 0 and self.batch_size % self.rows_a_pass:
            yield (
                f"training.batch_size is {self.batch_size}, which is no multiple of training.device_batch_size "
                f"({self.device_batch_size}); choose a device batch that divides it."
            )

    @property
    def hashed(self) -> dict[str, Any]:
        """What a checkpoint's id and manifest take of them: settings of later releases only where they are used."""
        return hashed_fields(self, _ALWAYS_HASHED)

    @property
    def rows_a_pass(self) -> int:
        """Rows of one forward pass: never more than one optimizer step takes."""
        return min(self.device_batch_size, self.batch_size)

    @property
    def accumulation(self) -> int:
        """Forward passes a step: `rows_a_pass * accumulation == batch_size`."""
        return self.batch_size // self.rows_a_pass


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One pair to learn from; `pair_id` names it in the reasons of dropped rows."""

    pair_id: str
    instruction: str
    input: str
    output: str
    context: Context = NO_CONTEXT
