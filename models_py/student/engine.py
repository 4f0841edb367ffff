"""Which path scores a model: the fastest one that agrees with the model itself.

    compiled packs  ->  packs with shared heads  ->  packs  ->  padded batches

Before the first batch, and again when sequences get much longer than what was compared, short and long sequences, of
each head that is shared, are scored by the model's own full-logits pass, one at a time, and together by the path. A
path that differs by more than the model's dtype explains, or that fails, is left for the next one, with a warning that
says why. Padded batches run every causal model through its own forward pass; they are the plain path and the last one.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch

from models_py.student.batching import plan_batches
from models_py.student.nll import TargetSequence, own_nll, padded_nlls
from models_py.student.packed import PackedPath
from models_py.student.packed_attention import UnsupportedAttention

_LOG = logging.getLogger(__name__)

# Largest difference of an NLL: a share of it, and nats a target token. The yardstick itself rounds: against float64 a
# pretrained model of 135 million parameters was off by 1.2e-5 nats a token one sequence at a time, packed by 1.0e-5,
# and where it is sure of a text that is far more than a share of the little that is left.
_RELATIVE = {torch.float64: 1e-9, torch.float32: 1e-5}
_NATS_A_TOKEN = {torch.float32: 2e-5, torch.float16: 0.01, torch.bfloat16: 0.05}
# Compiling takes half a minute to some minutes and saves about a fifth: floating point operations from which it pays.
_COMPILE_FROM = {"cpu": 1e14, "cuda": 1e17}


class Engine:
    """Scores batches of sequences by the best path that was checked.

    fast: False takes the plain path. compile: True, False, or None for compiling when the work is worth it.
    share_heads: False reads whole every sequence that begins like others.
    """

    def __init__(self, model: Any, fast: bool = True, compile: bool | None = None, share_heads: bool = True) -> None:
        _use_exact_attention(model)
        self.model = model
        self._compile = compile
        self._packed: PackedPath | None = None
        self._turn = _change_of_rotation(model)
        self._heads = False  # whether sequences were seen that begin alike
        self.left: list[str] = []  # faster paths that were not taken, with the reason
        self._compared = 0  # tokens of the longest sequence that was compared
        if fast:
            try:
                self._packed = PackedPath(model, share_heads)
            except UnsupportedAttention as reason:
                self._leave("packs", str(reason))
            except Exception as reason:
                self._leave("packs", f"{type(reason).__name__}: {reason}")

    @property
    def path(self) -> str:
        """The path in use: `compiled packs`, `packs` or `padded batches`."""
        if self._packed is None:
            return "padded batches"
        packs = "compiled packs" if self._packed.is_compiled else "packs"
        return f"{packs} with shared heads" if self._heads else packs

    def plan(self, sequences: Sequence[TargetSequence], token_budget: int) -> list[list[int]]:
        """Indices of `sequences` in batches of at most `token_budget` tokens, padding counted where there is some.

        Lengths on both sides of a change of rotation share no batch: it would turn by the longest of them.
        """
        plan = _plan_padded if self._packed is None else self._packed.plan
        sides = [
            [at for at, s in enumerate(sequences) if (s.inputs > self._turn) is beyond] for beyond in (True, False)
        ]
        return [
            [side[at] for at in batch] for side in sides for batch in plan([sequences[at] for at in side], token_budget)
        ]

    def nlls(self, batch: Sequence[TargetSequence]) -> list[float]:
        """The NLL in nats of each sequence's target. Raises RuntimeError when memory runs out."""
        return padded_nlls(self.model, batch) if self._packed is None else self._packed.nlls(batch)

    def prepare(self, sequences: Sequence[TargetSequence], flops: float = 0.0) -> None:
        """Choose the path for such sequences; `flops` is the work ahead, as far as it is known."""
        if self._packed is None or not sequences:
            return
        longest = max(s.inputs for s in sequences)
        # Twice the length could cross a sliding window or a change of positions.
        if self._compared and longest <= 2 * self._compared:
            return
        first = self._compared == 0
        self._compared = longest
        sample = self._sample(sequences)
        expected = [self._own(s) for s in sample]
        known = [(s, nll) for s, nll in zip(sample, expected, strict=True) if nll is not None]
        compiled = self._packed.is_compiled or (first and self._worth_compiling(flops))
        if compiled and (problem := self._differs(known, compile=not self._packed.is_compiled)):
            self._packed.uncompile()
            self._leave("compiled packs", problem)
        if not self._packed.is_compiled and self._heads and (problem := self._differs(known)):
            self._heads = self._packed.shares_heads = False
            self._leave("packs with shared heads", problem)
        if not self._packed.is_compiled and not self._heads and (problem := self._differs(known)):
            self._packed = None
            self._leave("packs", problem)

    def _sample(self, sequences: Sequence[TargetSequence]) -> list[TargetSequence]:
        """Short and long sequences, of every group that a pack may be made of."""
        assert self._packed is not None
        unique = sorted(set(sequences), key=lambda s: s.inputs)
        groups = self._packed.groups(unique)
        self._heads |= any(self._packed.shared_tokens([unique[i] for i in group]) for group in groups)
        each = 2 if len(groups) == 1 else 1
        return [unique[i] for group in groups for i in sorted({*group[:each], *group[-each:]})]

    def _worth_compiling(self, flops: float) -> bool:
        if self._compile is not None:
            return self._compile
        return flops >= _COMPILE_FROM.get(self.model.device.type, math.inf)

    def _own(self, sequence: TargetSequence) -> float | None:
        """The yardstick, or None when a whole matrix of logits does not fit into memory."""
        try:
            return own_nll(self.model, sequence)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _differs(self, known: Sequence[tuple[TargetSequence, float]], compile: bool = False) -> str | None:
        """What is wrong with the packed path, compiled first when asked; None when it agrees with `known`."""
        assert self._packed is not None
        try:
            if compile:
                self._packed.compile()
            found = self._in_packs([s for s, _ in known])
        except UnsupportedAttention as reason:
            return str(reason)
        except Exception as error:
            if is_out_of_memory(error):
                return None
            return f"{type(error).__name__}: {str(error).strip()[:300]}"
        for (sequence, expected), nll in zip(known, found, strict=True):
            both_finite = math.isfinite(expected) and math.isfinite(nll)
            if both_finite and abs(nll - expected) > self._tolerance(sequence, expected):
                return (
                    f"{nll:.6g} nats instead of {expected:.6g} for a target of {sequence.target_tokens} tokens "
                    f"after {len(sequence.ids) - sequence.target_tokens}"
                )
            if math.isfinite(expected) != math.isfinite(nll):
                return f"{nll} instead of {expected}"
        return None

    def _in_packs(self, sequences: Sequence[TargetSequence]) -> list[float]:
        assert self._packed is not None
        nlls = [0.0] * len(sequences)
        for batch in self.plan(sequences, sum(s.inputs for s in sequences)):
            for at, nll in zip(batch, self._packed.nlls([sequences[i] for i in batch]), strict=True):
                nlls[at] = nll
        return nlls

    def _tolerance(self, sequence: TargetSequence, nll: float) -> float:
        dtype = self.model.dtype
        return _RELATIVE.get(dtype, 0.0) * max(abs(nll), 1.0) + _NATS_A_TOKEN.get(dtype, 0.0) * sequence.target_tokens

    def _leave(self, path: str, reason: str) -> None:
        self.left.append(f"scoring does not use {path} for {type(self.model).__name__}: {reason}")
        _LOG.warning(self.left[-1])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _plan_padded(sequences: Sequence[TargetSequence], token_budget: int) -> list[list[int]]:
    return plan_batches([s.inputs for s in sequences], token_budget)


def _change_of_rotation(model: Any) -> float:
    """The length in tokens above which a model turns its positions otherwise (longrope); infinite for most."""
    rotation = getattr(getattr(model, "config", None), "rope_parameters", None) or {}
    rotations = [rotation, *(part for part in rotation.values() if isinstance(part, dict))]
    turns = [r["original_max_position_embeddings"] for r in rotations if r.get("rope_type") == "longrope"]
    return min(turns, default=math.inf)


def _use_exact_attention(model: Any) -> None:
    """Take transformers' explicit attention where its fused one would drop the model's soft cap on scores."""
    config = getattr(model, "config", None)
    capped = getattr(config, "attn_logit_softcapping", None)
    if capped and getattr(config, "_attn_implementation", None) == "sdpa":
        model.set_attn_implementation("eager")
