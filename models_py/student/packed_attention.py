"""Causal attention inside each document of a pack, for transformers' attention interface.

    tokens      a a a a a b b b c c     one row of all documents, no padding
    boundaries  0         5     8   10  cu_seq_lens: document d is boundaries[d] .. boundaries[d + 1]

Where there is a head, the first document, all others go on from it: they see its tokens before their own.

Linear layers see one long matrix; only here documents are told apart. On CUDA in half precision torch's own
variable-length kernel does it, elsewhere documents are taken one length at a time. Sliding windows and soft-capped
scores are part of a model's attention and are computed; whatever else a model hands to its attention is refused.
Grouped queries: key/value heads may be fewer than query heads. Gradients flow through it. It knows no cache and no
padding.
"""

import functools
import inspect
import itertools
from typing import Any

import torch

ATTENTION = "reflection_packed"  # its name among transformers' attention functions

# What transformers hands to every attention and what changes nothing here: no cache, positions are done.
_HARMLESS = {
    "cache_position",
    "logits_to_keep",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}


class UnsupportedAttention(Exception):
    """A model's attention is not the one computed here."""


@functools.cache
def register() -> None:
    """Make the attention known to transformers, once a process."""
    from transformers import AttentionInterface

    torch.library.custom_op("reflection_lake::packed_attention", _packed_attention, mutates_args=())
    torch.library.register_fake("reflection_lake::packed_attention", _like_query)
    AttentionInterface.register(ATTENTION, attention_forward)


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    cu_seq_lens_k: torch.Tensor | None = None,
    max_length_q: int | None = None,
    max_length_k: int | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a layer over a pack: query (1, H, T, D), key and value (1, K, T, D) -> (1, T, H, D).

    A document may see as many keys more than it has queries as the head has tokens: max_length_k - max_length_q.
    Raises UnsupportedAttention for arguments that mean something this attention does not do.
    """
    if attention_mask is not None or is_causal is False or not getattr(module, "is_causal", True):
        raise UnsupportedAttention("a mask of its own")
    if cu_seq_lens_q is None or cu_seq_lens_k is None or max_length_q is None or max_length_k is None:
        raise UnsupportedAttention("it does not pass on where documents end")
    if dropout:
        raise UnsupportedAttention("dropout of what is attended to")
    for name, argument in more.items():
        if argument is not None and name not in _HARMLESS:
            raise UnsupportedAttention(f"the argument {name}")
    if torch.is_autocast_enabled(query.device.type):  # rotated queries and keys come in float32
        query, key, value = (t.to(torch.get_autocast_dtype(query.device.type)) for t in (query, key, value))
    # What autograd follows is plain functions; the one name for all of it is what a compiled layer keeps.
    attend = _packed_attention if torch.is_grad_enabled() else torch.ops.reflection_lake.packed_attention
    out = attend(
        query[0].transpose(0, 1),  # (T, H, D)
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seq_lens_q,
        cu_seq_lens_k,
        longest=max_length_q,
        head=max_length_k - max_length_q,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window or 0,
        softcap=softcap or 0.0,
    )
    return out.unsqueeze(0), None


def _like_query(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    seen: torch.Tensor,
    *,
    longest: int,
    head: int,
    scale: float,
    window: int,
    softcap: float,
) -> torch.Tensor:
    return query.new_empty(query.shape[0], query.shape[1], value.shape[2])


def _packed_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    seen: torch.Tensor,
    *,
    longest: int,
    head: int,
    scale: float,
    window: int,
    softcap: float,
) -> torch.Tensor:
    """(T, H, D), (T, K, D), (T, K, D) -> (T, H, D). window, softcap: 0 is none; a window counts the token itself."""
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not softcap:
        if head:
            places = _places_seen(boundaries, seen, head, key.shape[0])
            key, value = key[places], value[places]
        return _varlen(query, key, value, boundaries, seen, longest=longest, head=head, scale=scale, window=window)
    return by_document(query, key, value, boundaries.tolist(), head=head, scale=scale, window=window, softcap=softcap)


def _places_seen(boundaries: torch.Tensor, seen: torch.Tensor, head: int, tokens: int) -> torch.Tensor:
    """Where in the pack the keys of each document lie, one document after the other: (tokens + heads repeated,)."""
    documents = boundaries.shape[0] - 1
    place = torch.arange(tokens + head * (documents - 1), device=seen.device)
    document = torch.searchsorted(seen, place, right=True) - 1
    offset = place - seen[document]
    return torch.where(offset < head, offset, boundaries[document] + offset - head)


@functools.cache
def _varlen_arguments() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    seen: torch.Tensor,
    *,
    longest: int,
    head: int,
    scale: float,
    window: int,
) -> torch.Tensor:
    """The kernel of torch. Version 2.11 takes fewer key/value heads as they are, 2.13 wants to be told.

    One split a document: a score must not depend on what else is in its batch.
    """
    from torch.nn.attention.varlen import varlen_attn

    known = _varlen_arguments()
    more: dict[str, Any] = {}
    if "enable_gqa" in known:
        more["enable_gqa"] = query.shape[1] != key.shape[1]
    if "num_splits" in known:
        more["num_splits"] = 1
    # Left of a token: all (-1), or the window without the token itself. Right of it: nothing.
    left = window - 1 if 0 < window < longest + head else -1
    out = varlen_attn(
        query,
        key,
        value,
        boundaries,
        seen,
        longest,
        longest + head,
        scale=scale,
        window_size=(left, 0),
        **more,
    )
    assert isinstance(out, torch.Tensor)  # a pair only where it is asked for
    return out


def by_document(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: list[int],
    *,
    head: int = 0,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> torch.Tensor:
    """The same without a kernel of its own: neighbours of equal length together, each length by itself."""
    attend = functools.partial(_capped, softcap=softcap) if softcap else _plain
    out = []
    start = 0
    documents = ((b - a, head if a else 0) for a, b in itertools.pairwise(boundaries))  # own tokens, those before them
    for (length, before), group in itertools.groupby(documents):
        count = sum(1 for _ in group)
        rows = slice(start, start + count * length)
        start = rows.stop
        # (T, H, D) -> (documents, H, length, D), views
        q, k, v = (t[rows].unflatten(0, (count, length)).transpose(1, 2) for t in (query, key, value))
        if before:
            k, v = (_after_head(t[:before], own) for t, own in ((key, k), (value, v)))
        out.append(attend(q, k, v, scale, window).transpose(1, 2).flatten(0, 1))
    return torch.cat(out)


def _after_head(head: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """(h, K, D) before each document's own (documents, K, length, D) -> (documents, K, h + length, D)."""
    return torch.cat([head.transpose(0, 1).expand(own.shape[0], -1, -1, -1), own], dim=2)


def _plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int) -> torch.Tensor:
    length, keys = q.shape[2], k.shape[2]
    mask = None if length == keys and not 0 < window < length else _visible(length, keys, window, q.device)
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )


def _capped(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int, *, softcap: float
) -> torch.Tensor:
    """softmax(softcap * tanh(scores / softcap)) v, one document at a time: the scores take length x length."""
    groups = q.shape[1] // k.shape[1]
    hidden = ~_visible(q.shape[2], k.shape[2], window, q.device)
    documents = []
    for q_d, k_d, v_d in zip(q, k, v, strict=True):
        k_h, v_h = (t.repeat_interleave(groups, dim=0) for t in (k_d, v_d))
        scores = torch.tanh(q_d @ k_h.transpose(1, 2) * scale / softcap) * softcap  # (H, length, keys)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.promote_types(q.dtype, torch.float))
        documents.append(weights.to(q.dtype) @ v_h)
    return torch.stack(documents)


def _visible(length: int, keys: int, window: int, device: torch.device) -> torch.Tensor:
    """(length, keys): whether the token of the row, one of the last `length`, sees the token of the column."""
    back = torch.arange(keys - length, keys, device=device)[:, None] - torch.arange(keys, device=device)
    return (back >= 0) & (back < (window or keys))
