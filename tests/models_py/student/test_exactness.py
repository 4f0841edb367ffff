"""Packed = padded = one at a time, for tiny random models of many architectures; what is not, is refused.

The yardstick is `own_nll`: the model's own full logits, one sequence at a time.
"""

import itertools
import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

from models_py.student.engine import Engine
from models_py.student.nll import TargetSequence, own_nll, padded_nlls
from models_py.student.packed import PackedPath
from models_py.student.packed_attention import UnsupportedAttention, attention_forward, by_document
from tests.support.properties import examples

VOCABULARY, POSITIONS = 97, 64
_SIZE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
}
_GROUPED = {"num_key_value_heads": 2, **_SIZE}
_GEMMA = {"head_dim": 4, "query_pre_attn_scalar": 4, **_GROUPED}
_STRETCHED: dict[str, Any] = {"rope_theta": 10000.0, "original_max_position_embeddings": 12}
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(num_key_value_heads=4, **_SIZE)),
    "llama, grouped queries": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_GROUPED)),
    "llama, tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(tie_word_embeddings=True, **_GROUPED)),
    "gpt2, learned positions": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=16, n_layer=2, n_head=4)
    ),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**_GROUPED)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(head_dim=4, **_GROUPED)),
    "mistral, window of 5": lambda: hf.MistralForCausalLM(hf.MistralConfig(sliding_window=5, **_GROUPED)),
    "gemma2, capped logits and scores, window of 5": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(sliding_window=5, final_logit_softcapping=3.0, attn_logit_softcapping=2.0, **_GEMMA)
    ),
    "gemma3, two rotations": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(sliding_window=5, **_GEMMA)),
    "granite, scaled logits": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(logits_scaling=3.0, **_GROUPED)),
    "cohere, scaled logits": lambda: hf.CohereForCausalLM(hf.CohereConfig(logit_scale=0.3, **_GROUPED)),
    "llama, yarn": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(rope_parameters={**_STRETCHED, "rope_type": "yarn", "factor": 4.0}, **_GROUPED)
    ),
    "neox, biases": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_SIZE)),
}
PLAIN_ONLY: dict[str, Callable[[], Any]] = {
    "bloom, alibi": lambda: hf.BloomForCausalLM(
        hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=4)
    ),
    "opt, positions out of a mask": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(ffn_dim=32, word_embed_proj_dim=16, **{k: v for k, v in _SIZE.items() if k != "intermediate_size"})
    ),
    "mpt, alibi of a fixed length": lambda: hf.MptForCausalLM(
        hf.MptConfig(vocab_size=VOCABULARY, d_model=16, n_heads=4, n_layers=2, max_seq_len=POSITIONS)
    ),
    "gpt-oss, attention sinks": lambda: hf.GptOssForCausalLM(
        hf.GptOssConfig(head_dim=4, num_local_experts=4, num_experts_per_tok=2, **_GROUPED)
    ),
}
# Scored exactly as long as what is on both sides of the turn stays apart.
TURNING: dict[str, Callable[[], Any]] = {
    "phi3, another rotation above 12 tokens": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(
            rope_parameters={
                **_STRETCHED,
                "rope_type": "longrope",
                "short_factor": [1.0] * 2,
                "long_factor": [3.0, 9.0],
            },
            original_max_position_embeddings=_STRETCHED["original_max_position_embeddings"],
            **_GROUPED,
        )
    ),
}


@cache
def model(name: str) -> Any:
    torch.manual_seed(1)
    made: Any = {**ARCHITECTURES, **PLAIN_ONLY, **TURNING}[name]()
    for parameter in made.parameters():  # far from uniform, so that a wrong position shows
        torch.nn.init.normal_(parameter, std=0.25)
    made = made.eval()
    Engine(made, fast=False)  # picks the attention that is the model's formula
    return made


def sequences(most: int = 7) -> st.SearchStrategy[list[TargetSequence]]:
    ids = st.lists(st.integers(1, VOCABULARY - 1), min_size=2, max_size=24)
    one = ids.flatmap(lambda i: st.integers(1, len(i) - 1).map(lambda n: TargetSequence(tuple(i), n)))
    return st.lists(one, min_size=1, max_size=most)


@pytest.mark.parametrize("name", ARCHITECTURES)
@examples(15)
@given(sequences())
def test_packed_is_padded_is_one_at_a_time(name: str, batch: list[TargetSequence]) -> None:
    alone = [own_nll(model(name), s) for s in batch]
    assert padded_nlls(model(name), batch) == pytest.approx(alone, rel=1e-6)
    assert PackedPath(model(name)).nlls(batch) == pytest.approx(alone, rel=1e-6)


@examples(15)
@given(sequences(), st.randoms(use_true_random=False), st.integers(1, 60))
def test_order_and_company_change_nothing(batch: list[TargetSequence], draw: Any, budget: int) -> None:
    path = PackedPath(model("mistral, window of 5"))
    expected = {s: path.nlls([s])[0] for s in batch}
    shuffled = draw.sample(batch, len(batch))
    for plan in Engine(path.model).plan(shuffled, budget):
        company = [shuffled[i] for i in plan]
        assert path.nlls(company) == pytest.approx([expected[s] for s in company], rel=1e-6)


@pytest.mark.parametrize("fast", [True, False])
@examples(15)
@given(sequences(), st.integers(20, 200))
def test_lengths_on_both_sides_of_a_turn_share_no_batch(fast: bool, batch: list[TargetSequence], budget: int) -> None:
    ours = model("phi3, another rotation above 12 tokens")
    engine = Engine(ours, fast=fast)
    engine.prepare([*a_batch(), *batch])
    assert engine.path.startswith("packs" if fast else "padded batches")
    plan = engine.plan(batch, budget)
    assert sorted(itertools.chain(*plan)) == list(range(len(batch)))
    for indices in plan:
        together = engine.nlls([batch[i] for i in indices])
        assert together == pytest.approx([own_nll(ours, batch[i]) for i in indices], rel=1e-6)


HEAD = tuple(range(20, 34))


def two_heads() -> list[TargetSequence]:
    """Sequences of which most begin with one of two heads, as answer and reverse prompts do."""
    ends = [(40, 41, 5, 6, 7), (40, 9), (8, 9, 10, 11, 12, 13, 14, 15), (3, 4, 5)]
    heads = (HEAD, HEAD[::-1], ())
    return [TargetSequence((*head, *end), len(end) - 1) for head in heads for end in ends]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_head_that_sequences_share_is_computed_once_a_pack(name: str) -> None:
    path, batch = PackedPath(model(name)), two_heads()
    read: list[int] = []
    hook = path.body.get_input_embeddings().register_forward_hook(lambda _m, ids, _out: read.append(ids[0].numel()))
    try:
        plan = path.plan(batch, 100)
        nlls = {i: nll for pack in plan for i, nll in zip(pack, path.nlls([batch[i] for i in pack]), strict=True)}
    finally:
        hook.remove()
    assert [nlls[i] for i in range(len(batch))] == pytest.approx([own_nll(model(name), s) for s in batch], rel=1e-6)
    assert sum(read) == sum(s.inputs for s in batch) - 2 * 3 * len(HEAD)


@examples(15)
@given(sequences(), st.lists(st.integers(1, VOCABULARY - 1), min_size=12, max_size=16), st.integers(1, 90))
def test_whatever_begins_alike_is_scored_as_if_alone(batch: list[TargetSequence], head: list[int], budget: int) -> None:
    batch += [TargetSequence((*head, *s.ids), s.target_tokens) for s in batch]
    path = PackedPath(model("gemma2, capped logits and scores, window of 5"))
    plan = path.plan(batch, budget)
    assert sorted(i for pack in plan for i in pack) == list(range(len(batch)))
    for pack in plan:
        alone = [own_nll(path.model, batch[i]) for i in pack]
        assert path.nlls([batch[i] for i in pack]) == pytest.approx(alone, rel=1e-6)


def test_heads_that_make_a_difference_are_not_shared(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def headless(*tensors: Any, head: int, **more: Any) -> torch.Tensor:
        return by_document(*tensors, head=0, **more)

    monkeypatch.setattr("models_py.student.packed_attention.by_document", headless)
    engine = Engine(model("llama"))
    engine.prepare(two_heads())
    assert engine.path == "packs"
    assert "scoring does not use packs with shared heads" in caplog.text


def a_batch() -> list[TargetSequence]:
    """Sequences of which no two begin alike."""
    return [
        TargetSequence(tuple(1 + n * i % (VOCABULARY - 1) for i in range(1, n)), n // 2) for n in (40, 30, 12, 5, 3)
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_engine_trusts_the_packs_it_checked(name: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(model(name))
    caplog.clear()  # of what transformers says of a model that is made here first
    engine.prepare(a_batch())
    assert engine.path == "packs" and not caplog.records


@pytest.mark.parametrize("name", PLAIN_ONLY)
def test_what_cannot_be_packed_is_told_and_scored_plainly(name: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(model(name))
    engine.prepare(a_batch())
    assert engine.path == "padded batches"
    assert f"scoring does not use packs for {type(model(name)).__name__}" in caplog.text
    assert engine.left == [record.message for record in caplog.records if record.name == "models_py.student.engine"]
    assert engine.nlls(a_batch()) == pytest.approx([own_nll(model(name), s) for s in a_batch()], rel=1e-6)


def test_a_path_that_leaks_is_left(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_document(query: Any, key: Any, value: Any, boundaries: list[int], **more: Any) -> torch.Tensor:
        return by_document(query, key, value, [0, boundaries[-1]], **more)

    monkeypatch.setattr("models_py.student.packed_attention.by_document", one_document)
    engine = Engine(model("llama"))
    engine.prepare(a_batch())
    assert engine.path == "padded batches"
    assert "nats instead of" in caplog.text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_leak_of_one_token_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document sees the last token of the one before."""

    def one_token_more(query: Any, key: Any, value: Any, boundaries: list[int], **more: Any) -> torch.Tensor:
        parts = [by_document(query[:end], key[:end], value[:end], [0, end], **more) for end in boundaries[1:2]]
        for start, end in itertools.pairwise(boundaries[1:]):
            q, k, v = (tensor[start - 1 : end] for tensor in (query, key, value))
            parts.append(by_document(q, k, v, [0, end - start + 1], **more)[1:])
        return torch.cat(parts)

    monkeypatch.setattr("models_py.student.packed_attention.by_document", one_token_more)
    engine = Engine(model(name))
    engine.prepare(a_batch())
    assert engine.path == "padded batches"


def test_rounding_of_a_model_that_is_sure_of_a_text_is_no_leak() -> None:
    """What was measured on a pretrained model: 28.3191 against 28.3187 nats for a target of 361 tokens."""
    engine = Engine(model("llama"))
    sequence = TargetSequence(tuple(range(1, 40)) * 10, 361)
    assert abs(28.3191 - 28.3187) < engine._tolerance(sequence, 28.3187) < 0.01


def test_much_longer_sequences_are_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def watched(model: Any, sequence: TargetSequence) -> float:
        asked.append(sequence.inputs)
        return own_nll(model, sequence)

    monkeypatch.setattr("models_py.student.engine.own_nll", watched)
    engine = Engine(model("llama"))
    for length in (10, 19, 21, 22, 60):
        engine.prepare([TargetSequence(tuple(range(1, length + 1)), 2)])
    assert asked == [9, 20, 59]


def test_the_model_is_left_as_it_was() -> None:
    ours = model("llama")
    before = (ours.config._attn_implementation, dict(vars(ours.base_model)))
    Engine(ours).prepare(a_batch())
    assert (ours.config._attn_implementation, dict(vars(ours.base_model))) == before


def test_a_compiler_that_fails_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    ours: Any = ARCHITECTURES["llama"]()
    ours.eval()
    monkeypatch.setattr(torch, "compile", broken)
    engine = Engine(ours, compile=True)
    engine.prepare(a_batch())
    assert engine.path == "packs"
    assert "scoring does not use compiled packs" in caplog.text and "no C++ compiler" in caplog.text


def test_attention_by_hand() -> None:
    """Two documents, one of one token: it sees itself alone, so it answers its own value."""
    query = key = torch.tensor([[[1.0]], [[2.0]], [[5.0]]])  # (T, H, D)
    value = torch.tensor([[[10.0]], [[20.0]], [[30.0]]])
    out = by_document(query, key, value, [0, 2, 3], scale=1.0)
    weight = 1 / (1 + math.exp(2 * 1 - 2 * 2))  # of the second token on itself
    assert out.flatten().tolist() == pytest.approx([10.0, 20 * weight + 10 * (1 - weight), 30.0])


@pytest.mark.parametrize(("window", "softcap", "head"), [*itertools.product((0, 3), (0.0, 1.5), (0, 4))])
def test_documents_attend_as_if_alone(window: int, softcap: float, head: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(11, heads, 4) for heads in (4, 2, 2))
    boundaries = [0, 4, 8, 11]
    packed = by_document(query, key, value, boundaries, head=head, scale=0.5, window=window, softcap=softcap)
    for start, end in itertools.pairwise(boundaries):
        before = head if start else 0
        k, v = (torch.cat([t[:before], t[start:end]]).repeat_interleave(2, 1) for t in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[start:end], k) * 0.5
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        back = torch.arange(before, before + end - start)[:, None] - torch.arange(before + end - start)
        seen = (back >= 0) & (back < (window or 99))
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        expected = torch.einsum("hqk,khd->qhd", weights, v)
        assert torch.allclose(packed[start:end], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"attention_mask": torch.ones(1)}, "a mask of its own"),
        ({"s_aux": torch.ones(1)}, "the argument s_aux"),
        ({"cu_seq_lens_q": None}, "where documents end"),
        ({"max_length_k": None}, "where documents end"),
        ({"is_causal": False}, "a mask of its own"),
    ],
)
def test_attention_that_means_more_is_refused(arguments: dict[str, Any], reason: str) -> None:
    tensor = torch.ones(1, 1, 2, 4)
    ends = {"cu_seq_lens_q": torch.tensor([0, 2]), "cu_seq_lens_k": torch.tensor([0, 2])}
    given = {"attention_mask": None, **ends, "max_length_q": 2, "max_length_k": 2, **arguments}
    with pytest.raises(UnsupportedAttention, match=reason):
        attention_forward(torch.nn.Module(), tensor, tensor, tensor, **given)


def test_a_warning_reaches_whoever_runs_a_script() -> None:
    assert logging.getLogger("models_py.student.engine").getEffectiveLevel() <= logging.WARNING
