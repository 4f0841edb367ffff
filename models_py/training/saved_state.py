"""The state of a training that is under way, on the disk: what a killed run goes on from.

    .3f0a9c1d77e2.training/step-000120/     weights, optimizer (sharded, by torch's distributed checkpoints)
                                            rank-0.pt: schedule, random numbers, seconds; trainer_state.json: the curve
                                            made_of.json: of what rows, settings, versions and processes it is

A state appears whole or not at all: it is written beside its place, flushed and renamed; then older ones go. One that
was made of something else is never gone on from. Every process writes its own shards and reads those of others, so
those on other machines must see the very same folder; the first one alone looks which states are there.
"""

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from transformers.trainer import TRAINER_STATE_NAME

_MADE_OF = "made_of.json"
_OPTIONS = StateDictOptions(ignore_frozen_params=True)


def found(work: Path, made_of: Mapping[str, Any]) -> tuple[Path | None, str | None]:
    """The newest whole state of exactly this training; else, where there is another, why it does not count.

    Called by every process; what the first one finds counts for all.
    """
    if not torch.distributed.is_initialized():
        return _found(work, made_of)
    answer = [_found(work, made_of) if torch.distributed.get_rank() == 0 else None]
    torch.distributed.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
    (state_and_why_not,) = answer
    assert state_and_why_not is not None
    return state_and_why_not


def _found(work: Path, made_of: Mapping[str, Any]) -> tuple[Path | None, str | None]:
    whole = sorted(work.glob("step-*[0-9]"))
    if not whole:
        return None, None
    try:
        other = json.loads((whole[-1] / _MADE_OF).read_text("utf-8"))
    except (OSError, ValueError):
        return None, f"{whole[-1].name} cannot be read, so training begins anew"
    differs = [key for key, value in made_of.items() if other.get(key) != value]
    if not differs:
        return whole[-1], None
    return None, f"{whole[-1].name} was saved with other {' and '.join(differs)}, so training begins anew"


def drop(work: Path) -> None:
    """Remove all states."""
    for state in work.glob("step-*"):
        shutil.rmtree(state, ignore_errors=True)


def save(
    work: Path,
    step: int,
    *,
    model: Any,
    optimizer: Any,
    own: Mapping[str, Any],
    trainer_state: str,
    made_of: Mapping[str, Any],
    rank: int = 0,
) -> None:
    """Save the state after a step, called by every process. own: what only this process knows."""
    partial, target = work / f"step-{step:06}.partial", work / f"step-{step:06}"
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    _wait_for_all()
    weights, moments = get_state_dict(model, optimizer, options=_OPTIONS)
    save_shards({"weights": weights, "moments": moments}, checkpoint_id=partial)
    with (partial / f"rank-{rank}.pt").open("wb") as file:
        torch.save({**own, "random": _random_state()}, file)
        os.fsync(file.fileno())
    _wait_for_all()
    if rank == 0:
        for name, text in ((TRAINER_STATE_NAME, trainer_state), (_MADE_OF, json.dumps(made_of))):
            with (partial / name).open("w", encoding="utf-8") as file:
                file.write(text)
                os.fsync(file.fileno())
        partial.rename(target)
        for older in work.glob("step-*"):
            if older != target:
                shutil.rmtree(older, ignore_errors=True)
    _wait_for_all()


def load(state: Path, *, model: Any, optimizer: Any, rank: int = 0) -> dict[str, Any]:
    """Give weights and optimizer what was saved; what the process had of its own, without its random numbers."""
    weights, moments = get_state_dict(model, optimizer, options=_OPTIONS)
    whole: dict[str, Any] = {"weights": weights, "moments": moments}
    load_shards(whole, checkpoint_id=state)
    options = StateDictOptions(ignore_frozen_params=True, strict=False)
    set_state_dict(
        model, optimizer, model_state_dict=whole["weights"], optim_state_dict=whole["moments"], options=options
    )
    own: dict[str, Any] = torch.load(state / f"rank-{rank}.pt", weights_only=False)
    return own


def draw_as_saved(state: Path, rank: int = 0) -> None:
    """Let this process draw the random numbers that come after those drawn when it was saved."""
    saved = torch.load(state / f"rank-{rank}.pt", weights_only=False)["random"]
    random.setstate(saved["python"])
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda"])


def _random_state() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
