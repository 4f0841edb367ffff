"""The likelihood of a target by the model's own forward pass: what every faster way is measured against.

    own_nll(model, s)          one sequence, all its logits, as anybody would write it: the yardstick
    padded_nlls(model, batch)  right-padded, only scored positions reach the output layer: works for every causal model

    sequence     p p p p t t t
    inputs       p p p p t t _ _     the last token is never an input, so the last `target_tokens`
    scored             ^ ^ ^         inputs predict exactly the target

A causal model never looks right, so padding needs no mask. NLLs are nats, summed in float64 over terms that are at
least float32 whatever the model's dtype. It plans no batches and catches nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

_TILE_ROWS = 512  # rows of logits held in float32 at once


@dataclass(frozen=True, slots=True)
class TargetSequence:
    """Token ids of which the last `target_tokens` are scored; at least one id stands before them."""

    ids: tuple[int, ...]
    target_tokens: int

    @property
    def inputs(self) -> int:
        """Tokens that the model reads: all but the last."""
        return len(self.ids) - 1


@torch.inference_mode()
def own_nll(model: Any, sequence: TargetSequence) -> float:
    """The NLL of one target from the model's own full logits. Raises RuntimeError when memory runs out."""
    ids = torch.tensor([sequence.ids], device=model.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0, -sequence.target_tokens :]  # (N, V)
    return float(_losses(logits, ids[0, -sequence.target_tokens :]).sum())


@torch.inference_mode()
def padded_nlls(model: Any, batch: Sequence[TargetSequence]) -> list[float]:
    """The NLL in nats of each sequence's target, from one forward pass over the whole batch.

    Raises RuntimeError when memory runs out.
    """
    width = max(sequence.inputs for sequence in batch)
    padded = [[*s.ids[:-1], *[0] * (width - s.inputs)] for s in batch]
    inputs = torch.tensor(padded, device=model.device)  # (B, T)
    positions = torch.tensor(scored_positions(batch, width), device=model.device)  # (N,) in the flattened (B * T)
    targets = torch.tensor(target_ids(batch), device=model.device)  # (N,)
    with only_positions(model, positions):
        logits = model(input_ids=inputs, use_cache=False).logits  # (1, N, V)
    return sums(_losses(logits[0], targets), batch)


def scored_positions(batch: Sequence[TargetSequence], width: int) -> list[int]:
    """Where the inputs that predict targets lie, in rows of `width` one after the other."""
    ends = [row * width + s.inputs for row, s in enumerate(batch)]
    return [i for s, end in zip(batch, ends, strict=True) for i in range(end - s.target_tokens, end)]


def target_ids(batch: Sequence[TargetSequence]) -> list[int]:
    """The targets of a batch, one after the other."""
    return [i for s in batch for i in s.ids[-s.target_tokens :]]


def sums(losses: torch.Tensor, batch: Sequence[TargetSequence]) -> list[float]:
    """Token losses (N,) as one sum a sequence, with one copy to the host."""
    parts = losses.double().cpu().split([s.target_tokens for s in batch])
    return [float(part.sum()) for part in parts]


def _losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    precise = torch.promote_types(logits.dtype, torch.float32)
    tiles = zip(logits.split(_TILE_ROWS), targets.split(_TILE_ROWS), strict=True)
    losses = [torch.nn.functional.cross_entropy(rows.to(precise), wanted, reduction="none") for rows, wanted in tiles]
    return torch.cat(losses).double()


@contextmanager
def only_positions(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Let only some of the (B * T) hidden states reach the output layer; what the model does after it stays.

    Taking the layer out of the model and calling it would lose the soft caps and scales that some models apply.
    """

    def pick(_module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]  # (B, T, H)
        return (hidden.flatten(0, 1)[positions].unsqueeze(0), *args[1:])  # (1, N, H)

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()
