"""Scores against explicit references: one sequence at a time, in float64, without the scorer's own batching."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models_py.conversation import Context, Message
from models_py.progress import Progress
from models_py.student.loading import load_chat, load_model
from models_py.student.nll import TargetSequence, padded_nlls
from models_py.student.scorer import Scorer, ScoreRequest, ScoreRow
from models_py.student.spec import ResolvedStudent
from tests.support.values import known

ALPACA = Path(__file__).parents[4] / "shared" / "data" / "alpaca_sample.json"
FAMILIES = ("llama", "gpt2", "qwen")
Student = Callable[[str], ResolvedStudent]
TERMS = ("answer_nll", "answer_nll_given_instruction", "instruction_nll", "instruction_nll_given_answer")


def make_scorer(student: ResolvedStudent, **settings: Any) -> Scorer:
    return Scorer(load_model(student, "cpu"), load_chat(student), **settings)


def reference_nll(model: Any, ids: list[int], target_tokens: int) -> float:
    """The sum over target positions of -log p(token | everything before it), one by one."""
    log_p = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)  # (T, V)
    return -sum(log_p[at - 1, ids[at]].item() for at in range(len(ids) - target_tokens, len(ids)))


def reference_terms(model: Any, chat: Any, request: ScoreRequest) -> dict[str, float]:
    pair = (request.instruction, request.input, request.output)
    answer, instruction = chat.answer_sequences(*pair, request.context), chat.instruction_sequences(*pair)
    sequences = (answer.alone, answer.conditioned, instruction.alone, instruction.conditioned)
    counts = (answer.target_tokens,) * 2 + (instruction.target_tokens,) * 2
    return {t: reference_nll(model, s, n) for t, s, n in zip(TERMS, sequences, counts, strict=True)}


def pair(
    name: str = "a", instruction: str = "Name the sky", output: str = "The sky is blue", **more: Any
) -> ScoreRequest:
    return ScoreRequest(name, instruction, "", output, **more)


class Uniform(torch.nn.Module):
    """A model that finds every token equally likely: each target token costs ln(vocabulary)."""

    device = torch.device("cpu")

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, vocabulary, bias=False)
        torch.nn.init.zeros_(self.head.weight)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        return type("Out", (), {"logits": self.head(torch.ones(*input_ids.shape, 2))})


def test_a_uniform_model_by_hand(chat: Any) -> None:
    row = next(Scorer(Uniform(1000), chat).score([pair()]))
    answer, instruction = (len(chat.target_ids(text)) for text in ("The sky is blue", "Name the sky"))
    assert (row.answer_tokens, row.instruction_tokens) == (answer, instruction)
    assert row.answer_nll == row.answer_nll_given_instruction == pytest.approx(answer * math.log(1000), rel=1e-6)
    assert row.instruction_nll == pytest.approx(instruction * math.log(1000), rel=1e-6)


def test_a_two_token_target_by_hand(student: Student) -> None:
    model = load_model(student("gpt2"), "cpu")
    logits = model(input_ids=torch.tensor([[7, 8, 9, 10]])).logits[0]
    by_hand = sum(torch.logsumexp(logits[at], 0).item() - logits[at, wanted].item() for at, wanted in ((1, 9), (2, 10)))
    assert padded_nlls(model, [TargetSequence((7, 8, 9, 10), 2)])[0] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not ALPACA.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("family", FAMILIES)
def test_batched_scores_equal_single_float64_scores(student: Student, family: str) -> None:
    rows = [row for row in json.loads(ALPACA.read_text("utf-8")) if row["output"].strip()][:50]
    requests = [ScoreRequest(str(n), r["instruction"], r["input"], r["output"]) for n, r in enumerate(rows)]
    scorer = make_scorer(student(family), token_budget=1500, chunk_rows=20)
    scored = list(scorer.score(requests))
    model, compared = load_model(replace(student(family)), "cpu").double(), 0
    for request, row in zip(requests, scored, strict=True):
        assert row.content_id == request.content_id
        if row.status == "ok":
            for term, nll in reference_terms(model, scorer.chat, request).items():
                assert getattr(row, term) == pytest.approx(nll, rel=1e-5), (request, term)
            compared += 1
    assert compared >= 40  # the rest has a prompt beyond the tiny model's positions
    assert {row.status for row in scored} <= {"ok", "prompt_too_long"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text", ["</s>", "a <|end|> b", "漢字 ü 🙂", "\u202eabc\x00"], ids=["eos", "turn", "han", "control"]
)
def test_awkward_text_scores_like_the_reference(student: Student, family: str, text: str) -> None:
    scorer = make_scorer(student(family))
    request = pair(instruction=f"Say {text}", output=text)
    row = next(scorer.score([request]))
    expected = reference_terms(scorer.model, scorer.chat, request)
    assert {term: getattr(row, term) for term in TERMS} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_conversations_score_like_the_reference(student: Student, family: str) -> None:
    """The answer after all that stands before it, whole or as far as it fits; the instruction as without it."""
    turns = tuple(Message(("user", "assistant")[n % 2], f"turn {n}: the sky, </s> or the air") for n in range(24))
    contexts = [Context("Be brief."), *(Context(("", "Be brief.")[n % 2], turns[: 4 * n]) for n in range(7))]
    scorer = make_scorer(student(family), token_budget=900)
    requests = [pair(str(n), output="The sky is blue " * 9, context=context) for n, context in enumerate(contexts)]
    scored = list(scorer.score(requests))
    for request, row in zip(requests, scored, strict=True):
        expected = reference_terms(scorer.model, scorer.chat, request)
        assert {term: getattr(row, term) for term in TERMS} == pytest.approx(expected, rel=1e-5)
    assert len({row.answer_nll_given_instruction for row in scored}) > 4
    assert len({(row.answer_nll, row.instruction_nll, row.instruction_nll_given_answer) for row in scored}) == 1
    assert {row.history_truncated for row in scored} == {False, True} and not any(row.truncated for row in scored)


def test_the_budget_and_the_chunks_change_nothing(student: Student) -> None:
    requests = [pair(str(n), f"Name {n}", "The sky is blue. " * (n % 5 + 1)) for n in range(12)]
    whole = list(make_scorer(student("llama")).score(requests))
    small = list(make_scorer(student("llama"), token_budget=1, chunk_rows=5).score(requests))
    assert [row.content_id for row in small] == [str(n) for n in range(12)]
    for one, other in zip(whole, small, strict=True):
        assert one.answer_nll == pytest.approx(other.answer_nll, rel=1e-5)
        assert one.instruction_nll_given_answer == pytest.approx(other.instruction_nll_given_answer, rel=1e-5)


def test_equal_sequences_of_a_chunk_are_computed_once(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make_scorer(student("llama"))
    seen: list[TargetSequence] = []
    real = scorer._try_batch

    def watched(batch: Sequence[TargetSequence]) -> list[float | None] | None:
        seen.extend(batch)
        return real(batch)

    monkeypatch.setattr(scorer, "_try_batch", watched)
    first, second = scorer.score([pair("a"), pair("b")])
    assert len(seen) == 4
    assert replace(first, content_id="b") == second


def test_rows_stream(student: Student) -> None:
    def endless() -> Iterator[ScoreRequest]:
        while True:
            yield pair()

    assert next(make_scorer(student("gpt2"), chunk_rows=2).score(endless())).status == "ok"


def test_terms_not_asked_are_none_and_ok(student: Student) -> None:
    row = next(make_scorer(student("llama")).score([pair(instruction_terms=False)]))
    assert row.status == "ok" and row.reason is None and known(row.answer_nll) > 0
    assert row.instruction_nll is row.instruction_nll_given_answer is row.instruction_tokens is None


def test_answers_given_their_instructions_alone_are_half_the_work(student: Student) -> None:
    whole, half = (make_scorer(student("llama")) for _ in range(2))
    both = next(whole.score([pair(instruction_terms=False)]))
    given = next(half.score([pair(instruction_terms=False, alone=False)]))
    assert given == replace(both, answer_nll=None) and given.status == "ok"
    assert half.tokens_scored < whole.tokens_scored
    failed = next(half.score([pair(output=" ", instruction_terms=False, alone=False)]))
    assert failed.reason == "answer_nll_given_instruction: the answer is empty"


def test_nothing_asked_is_nothing_computed(student: Student) -> None:
    row = next(make_scorer(student("llama")).score([pair(answer_terms=False, instruction_terms=False)]))
    assert row == ScoreRow("a", None, None, None, None, None, None, truncated=False, status="ok", reason=None)


def test_nan_weights_give_no_score(student: Student) -> None:
    scorer = make_scorer(student("llama"))
    torch.nn.init.constant_(scorer.model.get_output_embeddings().weight, math.nan)
    row = next(scorer.score([pair()]))
    assert [getattr(row, term) for term in TERMS] == [None] * 4
    assert row.status == "not_finite" and "answer_nll: the model computed nan" in known(row.reason)


def test_a_failed_term_leaves_the_others(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make_scorer(student("llama"))
    alone, *_ = next(scorer.score([pair()])), None
    real = scorer.sequence_nlls
    monkeypatch.setattr(scorer, "sequence_nlls", lambda *args: [math.inf, *real(*args)[1:]])
    row = next(scorer.score([pair()]))
    assert (row.answer_nll, row.status) == (None, "not_finite")
    assert row.answer_nll_given_instruction == alone.answer_nll_given_instruction
    assert row.reason == "answer_nll: the model computed inf"


@pytest.mark.parametrize(
    ("instruction", "output", "status"),
    [("why " * 900, "Blue", "prompt_too_long"), ("Why", " ", "empty_answer"), (" ", "Blue", "empty_instruction")],
)
def test_a_row_without_sequences_has_a_reason(student: Student, instruction: str, output: str, status: str) -> None:
    bad, good = make_scorer(student("llama")).score([pair("bad", instruction, output), pair("good")])
    assert [getattr(bad, term) for term in TERMS] == [None] * 4
    assert bad.status == status and known(bad.reason).startswith("answer_nll and answer_nll_given_instruction: the ")
    assert good.status == "ok"


def test_a_text_that_the_template_refuses_fails_its_row_alone(student: Student) -> None:
    """A template can raise on whatever it reads: an instruction, an answer, or an answer that is shown as one."""
    refuses = "{% for m in messages if 'forbidden' in m.content %}{{ raise_exception('not this') }}{% endfor %}"
    base = student("llama")
    scorer = make_scorer(replace(base, chat_template=refuses + base.chat_template))
    requests = [pair("a", "Name forbidden"), pair("b", output="A forbidden sky"), pair("c")]
    asked, answered, sound = scorer.score(requests)
    assert (asked.status, answered.status, sound.status) == ("template_error", "template_error", "ok")
    assert known(asked.instruction_nll_given_answer) > 0 and asked.answer_nll is None  # what can be said is said
    assert [getattr(answered, term) for term in TERMS] == [None] * 4
    assert "answer_nll and answer_nll_given_instruction: the student's chat template" in known(asked.reason)
    assert known(answered.reason).count("not this") == 2


def test_truncation_is_told(student: Student) -> None:
    long, short = make_scorer(student("llama")).score([pair("long", output="sky " * 900), pair("short")])
    assert (long.truncated, short.truncated) == (True, False)
    assert long.status == "ok" and known(long.answer_tokens) < 512


@contextmanager
def narrow(scorer: Scorer, tokens: int) -> Iterator[None]:
    """Let the scorer's memory end at a number of tokens that the model reads at once."""

    def refuse(_module: Any, ids: tuple[torch.Tensor]) -> None:
        if ids[0].numel() > tokens:
            raise torch.OutOfMemoryError("no more")

    hook = scorer.model.get_input_embeddings().register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


def test_out_of_memory_halves_the_budget_and_goes_on(student: Student) -> None:
    requests = [pair(str(n), f"Name {n}") for n in range(30)]
    scorer = make_scorer(student("llama"), token_budget=1000)
    expected = list(scorer.score(requests))
    with narrow(scorer, 300):
        scored = list(scorer.score(requests))
    assert scorer.token_budget == 250
    assert [row.answer_nll for row in scored] == pytest.approx([row.answer_nll for row in expected], rel=1e-5)


def test_a_sequence_that_never_fits_is_told(student: Student) -> None:
    scorer = make_scorer(student("llama"))
    with narrow(scorer, 60):
        long, short = scorer.score([pair("long", output="sky " * 150), pair("short", instruction_terms=False)])
    assert (long.status, long.answer_nll, short.status) == ("out_of_memory", None, "ok")
    assert known(long.instruction_nll) > 0  # the term that fits is kept
    assert "answer_nll: the sequence does not fit into memory" in known(long.reason)


def test_other_errors_rise(student: Student) -> None:
    scorer = make_scorer(student("gpt2"))
    scorer.model.transformer.wte = torch.nn.Embedding(3, 32)
    with pytest.raises(IndexError):
        next(scorer.score([pair()]))


def test_half_precision_weights_are_summed_in_float32(student: Student) -> None:
    scorer = make_scorer(replace(student("llama"), dtype="bfloat16"))
    request = pair(output="The sky is blue. " * 9)
    expected = reference_terms(load_model(student("llama"), "cpu"), scorer.chat, request)
    assert next(scorer.score([request])).answer_nll == pytest.approx(expected["answer_nll"], rel=0.02)


def test_progress_ends_at_the_total_and_never_falls(student: Student) -> None:
    said: list[Progress] = []
    requests = [pair(str(n), f"Name {n}") for n in range(7)]
    list(make_scorer(student("llama"), token_budget=64, chunk_rows=3).score(requests, said.append))
    assert said[-1].done == said[-1].total == 7 and len(said) > 5
    assert [p.share for p in said] == sorted(known(p.share) for p in said)


def test_progress_of_who_knows_how_many_names_no_total(student: Student) -> None:
    said: list[Progress] = []
    list(make_scorer(student("llama")).score(iter([pair()]), said.append))
    assert (said[-1].done, said[-1].total, said[-1].share) == (1, None, None)
