"""Rows as tensors, and the loss of every token that counts, packed or padded.

    padded   input_ids 11 12 41  2          labels -100 -100  41   2       one row a line, zeros or pads at its end
                       11 13 14 42 2               -100 -100 -100 42 2
    packed   input_ids 11 12 41  2 11 13 14 42 2    one line; position_ids 0 1 2 3 0 1 2 3 4 restart with each row

Only the states that predict a target reach the output layer. The first token of a row has no label, so that what stands
before it in a pack predicts nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from transformers import PreTrainedModel

from models_py.student.nll import only_positions
from models_py.training.examples import IGNORED, LabelledRow

_LOSS_TOKENS = 2048  # padded tokens of one forward pass that measures the loss: 1 GiB of logits at 128k words


def padded(rows: Sequence[LabelledRow], pad_id: int) -> dict[str, Any]:
    """What a model is called with, and labels: input_ids, attention_mask and labels, (B, T) each."""
    length = max(len(row.input_ids) for row in rows)
    inputs = {
        "input_ids": torch.full((len(rows), length), pad_id),
        "attention_mask": torch.zeros((len(rows), length), dtype=torch.long),
        "labels": torch.full((len(rows), length), IGNORED),
    }
    for index, row in enumerate(rows):
        here = index, slice(len(row.input_ids))
        inputs["input_ids"][here] = torch.tensor(row.input_ids)
        inputs["attention_mask"][here] = 1
        inputs["labels"][here] = torch.tensor(row.labels)
    return inputs


def packed(rows: Sequence[LabelledRow]) -> dict[str, Any]:
    """The same without padding, for a model whose attention stays `inside_documents`: (1, T), and where rows end."""
    lengths = [len(row.input_ids) for row in rows]
    ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.input_ids]]),
        "position_ids": torch.tensor([[place for length in lengths for place in range(length)]]),
        "labels": torch.tensor([[label for row in rows for label in row.labels]]),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def target_nll(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Nats of every labelled token of `padded` or `packed` rows, (targets,) float32; the labels stay on their side."""
    following = inputs["labels"][:, 1:]
    counts = following != IGNORED  # (B, T - 1)
    positions = torch.nn.functional.pad(counts, (0, 1)).flatten().nonzero()[:, 0]
    read = {name: value for name, value in inputs.items() if name != "labels"}
    with only_positions(model, positions):
        logits = model(**read, use_cache=False).logits[0]  # (targets, V)
    return torch.nn.functional.cross_entropy(logits.float(), following[counts], reduction="none")


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
            nll = target_nll(model, {name: value.to(device) for name, value in padded(batch, pad_id).items()})
            total += float(nll.double().sum())
            targets += len(nll)
    model.train(was_training)
    return total / targets


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
