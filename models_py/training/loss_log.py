"""`loss_log.jsonl`: how a training went, one line an optimizer step, in the checkpoint's folder.

    {"step": 1, "epoch": 0.2, "loss": 2.61, "learning_rate": 2e-05, "grad_norm": 8.4, "target_tokens": 512, ...}

loss: mean nats a target token of that step's rows, before the step. target_tokens, tokens: of that step, those that
count in the loss and all. seconds: since the training began, over all its runs. Logs of 0.1 end with grad_norm.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LOSS_LOG = "loss_log.jsonl"
STEP_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "target_tokens", "tokens", "seconds")


def write_loss_log(folder: Path, history: Iterable[Mapping[str, Any]]) -> None:
    """Write what a trainer has logged; entries without a loss are none of a step."""
    with (folder / LOSS_LOG).open("w", encoding="utf-8") as file:
        for entry in history:
            if "loss" in entry:
                file.write(json.dumps({name: entry[name] for name in STEP_FIELDS if name in entry}) + "\n")


def read_loss_log(folder: Path) -> list[dict[str, Any]]:
    """The steps in order, each with all of STEP_FIELDS; None is what the log does not say.

    Raises OSError where there is none, ValueError for what is no such log.
    """
    lines = (folder / LOSS_LOG).read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line) for line in lines]
    if not all(isinstance(step, dict) and isinstance(step.get("step"), int) for step in steps):
        raise ValueError(f"{folder / LOSS_LOG} holds a line without a step")
    return [{name: step.get(name) for name in STEP_FIELDS} for step in steps]
