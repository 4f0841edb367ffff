"""The fast path: documents packed without padding, logits only where a target is, never more than a tile of them.

    tokens     p p p p t t|p p t t t|s t     three sequences without their last id: one row of T tokens
    positions  0 1 2 3 4 5|0 1 2 3 4|0 1     restart in each document
    scored           ^ ^ ^|  ^ ^ ^ ^|^ ^     these hidden states go on, tile by tile, through the model's own end

Sequences that begin alike, with a template's system text or the words of the reverse prompt, go into packs of their
own. There that head is a document by itself, computed once, and every other one goes on from it:

    tokens     h h h|p t t|p p t t           read as h h h p t t and h h h p p t t
    positions  0 1 2|3 4 5|3 4 5 6

The body runs once over all tokens with the attention of packed_attention.py. Then the model's own forward runs over
tiles of scored states with the body standing still: output layer, scales and soft caps are the model's, whatever they
are. Of a tile's logits only the log-sum-exp and the target's logit are kept. On CUDA the output layer multiplies half
precision weights into float32. Whether a model survives all this is not believed but checked (engine.py).
"""

import dataclasses
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from models_py.student.batching import by_head, common_head, plan_packs
from models_py.student.nll import TargetSequence, sums, target_ids
from models_py.student.packed_attention import ATTENTION, UnsupportedAttention, register

# Bytes of float32 logits at once. On a CPU below what the allocator gives back to the system after each use: fresh
# pages for every tile cost as much as a quarter of the multiplication.
_TILE_BYTES = {"cuda": 1 << 30, "cpu": 24 << 20}
# Tokens of a head that is worth being told apart: shorter ones save less than their packs lose by being fewer.
_SHORTEST_HEAD = 12


class PackedPath:
    """A causal language model that scores packs of documents.

    Raises UnsupportedAttention when the model's attention cannot be replaced.
    """

    def __init__(self, model: Any, shares_heads: bool = True) -> None:
        register()
        self.model = model
        self.body: Any = getattr(model, "base_model", None)
        self.head: Any = model.get_output_embeddings() if self.body is not None else None
        if self.head is None or self.body is model or not getattr(model, "_supports_attention_backend", False):
            raise UnsupportedAttention("it has no body and output layer of the usual kind")
        self._configs = configurations(model)
        self.shares_heads = shares_heads
        self._compiled: list[Any] = []
        self._token_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _losses_in_place

    def compile(self) -> None:
        """Compile the body's layers: element-wise work is fused. Undone by `uncompile`."""
        blocks = [m for m in self.body.children() if isinstance(m, torch.nn.ModuleList) and len(m) > 0]
        for layer in max(blocks, key=len, default=[]):
            layer.compile(dynamic=True)
            self._compiled.append(layer)
        self._token_losses = torch.compile(_losses_in_place, dynamic=True)

    def uncompile(self) -> None:
        """Back to the layers as they were."""
        self._token_losses = _losses_in_place
        while self._compiled:
            self._compiled.pop()._compiled_call_impl = None

    @property
    def is_compiled(self) -> bool:
        """Whether the layers are compiled."""
        return bool(self._compiled)

    def groups(self, sequences: Sequence[TargetSequence]) -> list[list[int]]:
        """Indices of `sequences`: those that may share packs, because they begin alike or because they do not."""
        prompts = [_before_target(s) for s in sequences]
        return by_head(prompts, _SHORTEST_HEAD) if self.shares_heads else [[*range(len(sequences))]]

    def plan(self, sequences: Sequence[TargetSequence], token_budget: int) -> list[list[int]]:
        """Indices of `sequences` in packs of at most `token_budget` tokens."""
        packs: list[list[int]] = []
        for group in self.groups(sequences):
            head = self.shared_tokens([sequences[i] for i in group])
            lengths = [sequences[i].inputs - head for i in group]
            packs += [[group[i] for i in pack] for pack in plan_packs(lengths, max(1, token_budget - head))]
        return sorted(packs, key=lambda pack: -max(sequences[i].inputs for i in pack))  # longest first, as ever

    @torch.inference_mode()
    def nlls(self, batch: Sequence[TargetSequence]) -> list[float]:
        """The NLL in nats of each sequence's target, from one pack. Raises RuntimeError when memory runs out."""
        head = self.shared_tokens(batch)
        host, ends, seen, sizes = _laid_out(batch, head)
        if self.model.device.type == "cuda":  # one copy each, not waited for
            host, ends, seen = (t.pin_memory().to(self.model.device, non_blocking=True) for t in (host, ends, seen))
        tokens, positions, rows, targets = host.to(self.model.device).split(sizes)
        longest = max(s.inputs for s in batch)
        with inside_documents(self._configs):
            output = self.body(
                input_ids=tokens.unsqueeze(0),
                position_ids=positions.unsqueeze(0),
                attention_mask=None,
                use_cache=False,
                cu_seq_lens_q=ends,
                cu_seq_lens_k=seen,
                max_length_q=max(longest - head, head),
                max_length_k=max(longest - head, head) + head,
            )  # last_hidden_state (1, T, H)
        return sums(self._losses(output, rows, targets), batch)

    def shared_tokens(self, batch: Sequence[TargetSequence]) -> int:
        """How many tokens of these sequences are computed once; 0 where they do not begin alike for long enough."""
        if len(batch) < 2 or not self.shares_heads:
            return 0
        head = common_head([_before_target(s) for s in batch])
        return head if head >= _SHORTEST_HEAD else 0

    def _losses(self, output: Any, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """-log p of each target (N,) from the body's state in the row before it."""
        hidden = output.last_hidden_state[0, rows]  # (N, H)
        vocabulary = self.head.weight.shape[0]
        tile = max(16, _TILE_BYTES.get(hidden.device.type, _TILE_BYTES["cpu"]) // (4 * vocabulary))
        losses = []
        standing_still = _StandingStill(output)
        with _replaced(self.body, standing_still), _float32_head(self.head):
            for states, wanted in zip(hidden.split(tile), targets.split(tile), strict=True):
                standing_still.hidden = states.unsqueeze(0)
                logits = self.model(input_ids=wanted.unsqueeze(0), use_cache=False).logits[0]  # (tile, V)
                logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
                losses.append(self._token_losses(logits, wanted))
        return torch.cat(losses)


def _before_target(sequence: TargetSequence) -> tuple[int, ...]:
    """The ids that may be in a head: those before the one that predicts the target's first."""
    return sequence.ids[: sequence.inputs - sequence.target_tokens]


def _laid_out(batch: Sequence[TargetSequence], head: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """A batch on the host, the first `head` ids of all as a document of its own in front.

    Tokens, positions, scored rows and targets in one tensor; where documents end; where what each sees ends, were it
    written out for each; the four sizes.
    """
    tokens, positions, rows = array("q"), array("q"), array("q")
    ends, seen = array("i", [0]), array("i", [0])
    if head:
        tokens.extend(batch[0].ids[:head])
        positions.extend(range(head))
        ends.append(head)
        seen.append(head)
    for s in batch:
        tokens.extend(s.ids[head:-1])
        positions.extend(range(head, s.inputs))
        rows.extend(range(len(tokens) - s.target_tokens, len(tokens)))
        ends.append(len(tokens))
        seen.append(seen[-1] + s.inputs)
    parts = (tokens, positions, rows, array("q", target_ids(batch)))
    # Arrays become tensors without a look at each number.
    host = torch.cat([torch.frombuffer(part, dtype=torch.int64) for part in parts])
    at_ends, at_seen = (torch.frombuffer(part, dtype=torch.int32).clone() for part in (ends, seen))
    return host, at_ends, at_seen, [*map(len, parts)]


def _losses_in_place(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Minus the log probability of each target, (N, V) -> (N,) float64; the logits are used up."""
    highest = logits.amax(1, keepdim=True)  # (N, 1)
    logits.sub_(highest)
    of_target = logits.gather(1, targets.unsqueeze(1))[:, 0].double()
    # exp(-80) is below the last bit of a sum that has exp(0) in it; smaller ones become denormal numbers, which take a
    # CPU dozens of times longer.
    return logits.clamp_(min=-80.0).exp_().sum(1).double().log() - of_target


class _StandingStill:
    """A model's body that has done its work: returns its output with `hidden` (1, N, H), whatever it is called with."""

    def __init__(self, output: Any) -> None:
        self._output = output
        self.hidden: torch.Tensor | None = None

    def __call__(self, *_args: Any, **_more: Any) -> Any:
        return dataclasses.replace(self._output, last_hidden_state=self.hidden)


@contextmanager
def _replaced(module: Any, forward: Any) -> Iterator[None]:
    """Let a module's forward be another for a while."""
    module.forward = forward  # the instance's attribute hides the class's
    try:
        yield
    finally:
        del module.forward


@contextmanager
def _float32_head(head: Any) -> Iterator[None]:
    """Let an output layer in half precision on CUDA write float32, accumulated and never rounded in between."""
    weight = head.weight
    plain = type(head) is torch.nn.Linear and head.bias is None
    if not plain or weight.device.type != "cuda" or weight.dtype not in (torch.float16, torch.bfloat16):
        yield
        return

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        return torch.mm(hidden[0], weight.t(), out_dtype=torch.float32).unsqueeze(0)

    with _replaced(head, forward):
        yield


@contextmanager
def inside_documents(configs: Sequence[Any]) -> Iterator[None]:
    """Let a model attend inside documents for a while; before and after it is the model that was handed in."""
    before = [(config, config._attn_implementation_internal) for config in configs]
    for config, _ in before:
        config._attn_implementation_internal = ATTENTION
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def configurations(model: Any) -> list[Any]:
    """The distinct configurations of a model's parts."""
    from transformers import PreTrainedConfig

    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in found if isinstance(config, PreTrainedConfig)}.values())
