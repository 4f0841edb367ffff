"""Answers against a plain loop that writes one token at a time, whatever batches they come in and whoever writes."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from models_py.conversation import Context, Message
from models_py.errors import UserError
from models_py.evaluation.answer import Answer, Asked
from models_py.evaluation.answer_settings import Generation
from models_py.evaluation.model import EvaluatedModel
from models_py.evaluation.write_answers import answers, engine_of
from models_py.progress import Progress
from models_py.student.loading import load_chat, load_model

QUESTIONS = [
    "Name a sea.",
    "Why?",
    "Say in one sentence why the sky looks blue at noon and red in the evening.",
    "List three birds that cannot fly, and for each the place where it lives.",
    "2 + 2 = ?",
    "Name a colour. " * 6,
    "Was the ferry late?",
    "Spell `<|im_end|>` and </s>.",
    "Übersetze: 猫が好き。",
    "a" * 40,
    "Is that so?\n\n- yes\n- no",
    "Tell me more about " + ", ".join(map(str, range(20))),
]
ASKED = [Asked(f"q{number}", question, "") for number, question in enumerate(QUESTIONS)]
ASKED += [
    Asked("input", "Name it.", "A red fruit that grows on trees."),
    Asked("history", "And another?", "", Context("Be brief.", (Message("user", "A sea?"), Message("assistant", "x")))),
]
GREEDY = Generation(max_tokens=24, engine="transformers", batch_tokens=300)


def by_id(found: Sequence[Answer]) -> dict[str, Answer]:
    assert len({one.instruction_id for one in found}) == len(found)
    return {one.instruction_id: one for one in found}


def plain_loop(model: EvaluatedModel, asked: Sequence[Asked], tokens: int) -> dict[str, tuple[str, str]]:
    """Text and ending of each answer, by the model's own forward pass over the whole sequence at every step."""
    network, chat = load_model(model.student), load_chat(model.student)
    ends = {chat.end_of_turn_id, chat.tokenizer.eos_token_id}
    written = {}
    for one in asked:
        ids = chat.prompt_ids(one.instruction, one.input, one.context)
        new: list[int] = []
        while len(new) < tokens and not ends & set(new):
            with torch.inference_mode():
                logits = network(input_ids=torch.tensor([ids + new])).logits[0, -1]
            new.append(int(logits.argmax()))
        is_ended = bool(ends & set(new))
        text = chat.tokenizer.decode(new[:-1] if is_ended else new, skip_special_tokens=True)
        written[one.instruction_id] = (text, "stop" if is_ended else "length")
    return written


@pytest.fixture(scope="module")
def reference(tiny: EvaluatedModel) -> dict[str, tuple[str, str]]:
    return plain_loop(tiny, ASKED, GREEDY.max_tokens)


def test_batches_change_no_answer(tiny: EvaluatedModel, reference: dict[str, tuple[str, str]]) -> None:
    reports: list[Progress] = []
    found = by_id(list(answers(tiny, ASKED, GREEDY, on_progress=reports.append)))
    assert {name: (one.answer, one.finish_reason) for name, one in found.items()} == reference
    assert len({one.answer for one in found.values()}) > 10
    assert {one.finish_reason for one in found.values()} == {"stop", "length"}
    assert all(one.tokens is not None and one.tokens <= 24 for one in found.values())
    assert all(one.seconds is not None and one.seconds > 0 for one in found.values())
    assert (reports[-1].done, reports[-1].total) == (len(ASKED), len(ASKED))
    assert [one.done for one in reports] == sorted(one.done for one in reports)


def test_what_the_folder_recommends_for_sampling_is_not_used(
    tiny: EvaluatedModel, reference: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(tiny.student.model, tmp_path / "warm")
    (folder / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 1.8, "repetition_penalty": 1.9, "max_new_tokens": 3, "eos_token_id": 5}'
    )
    warm = replace(tiny, student=replace(tiny.student, model=str(folder)))
    found = by_id(list(answers(warm, ASKED[:4], GREEDY)))
    assert {name: (one.answer, one.finish_reason) for name, one in found.items()} == {
        name: reference[name] for name in found
    }


def test_a_lack_of_memory_halves_the_batch(
    tiny: EvaluatedModel, reference: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from models_py.evaluation import answer_transformers

    generate = answer_transformers._Writer._generate
    sizes = []

    def short_of_memory(self: Any, batch: Any, watch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2 or "q1" in [one.instruction_id for one in batch]:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return generate(self, batch, watch)

    monkeypatch.setattr(answer_transformers._Writer, "_generate", short_of_memory)
    found = by_id(list(answers(tiny, ASKED, replace(GREEDY, batch_tokens=100_000))))
    assert max(sizes) == len(ASKED)
    failed = found.pop("q1")
    assert (failed.status, failed.answer) == ("out_of_memory", None)
    assert "does not fit into memory" in str(failed.reason)
    assert {name: (one.answer, one.finish_reason) for name, one in found.items()} == {
        name: answer for name, answer in reference.items() if name != "q1"
    }


def test_what_cannot_be_asked_is_an_answer_with_a_reason(tiny: EvaluatedModel) -> None:
    asked = [Asked("long", "word " * 400, ""), Asked("empty", " ", ""), Asked("ok", "Name a sea.", "")]
    found = by_id(list(answers(tiny, asked, GREEDY)))
    assert [found[name].status for name in ("long", "empty", "ok")] == ["prompt_too_long", "empty_instruction", "ok"]
    assert found["long"].answer is None
    assert "of max_length 256: no room for an answer" in str(found["long"].reason)


def test_an_answer_has_as_much_room_as_the_model_leaves(tiny: EvaluatedModel) -> None:
    chat = load_chat(tiny.student)
    question = "a b c " * 60
    prompt = len(chat.prompt_ids(question, ""))
    short = replace(tiny, student=replace(tiny.student, max_length=prompt + 6))
    found = by_id(list(answers(short, [Asked("long", question, ""), *ASKED], GREEDY)))
    long = found.pop("long")
    assert plain_loop(tiny, [Asked("long", question, "")], 5)["long"] == (long.answer, long.finish_reason)
    assert (long.prompt_tokens, long.tokens) == (prompt, 5)
    assert max(one.tokens or 0 for one in found.values()) == GREEDY.max_tokens


def test_logits_that_are_no_numbers_are_told(tiny: EvaluatedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from models_py.evaluation import answer_transformers

    model = load_model(tiny.student)
    forward = type(model).forward

    def broken(self: Any, **inputs: Any) -> Any:
        output = forward(self, **inputs)
        output.logits[-1] = torch.nan
        return output

    monkeypatch.setattr(type(model), "forward", broken)
    monkeypatch.setattr(answer_transformers, "load_model", lambda student: model)
    found = list(answers(tiny, ASKED[:3], GREEDY))
    assert sorted(one.status for one in found) == ["not_finite", "ok", "ok"]
    assert [one.answer for one in found if one.status == "not_finite"] == [None]


def test_sampled_answers_are_drawn_from_their_seed(tiny: EvaluatedModel) -> None:
    warm = replace(GREEDY, temperature=1.0, seed=3)
    first, again, other = (
        {one.instruction_id: one.answer for one in answers(tiny, ASKED[:4], settings)}
        for settings in (warm, warm, replace(warm, seed=4))
    )
    assert first == again != other


def test_vllm_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from models_py.evaluation import write_answers

    monkeypatch.setattr(write_answers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"evaluation\.generation\.engine: vLLM is not installed"):
        engine_of(Generation(engine="vllm"))
    assert engine_of(Generation()) == "transformers"


def test_without_a_gpu_auto_is_transformers() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert engine_of(Generation()) == "transformers"


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_vllm_answers_the_same(tiny: EvaluatedModel, reference: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    settings = replace(
        GREEDY, engine="vllm", engine_args={"kv_cache_memory_bytes": 128 << 20, "max_num_seqs": 4, "seed": 1}
    )
    asked = [*ASKED, Asked("long", "word " * 400, "")]
    found = by_id(list(answers(tiny, asked, settings, tmp_path)))
    assert found.pop("long").status == "prompt_too_long"
    assert {name: (one.answer, one.finish_reason) for name, one in found.items()} == reference
    assert all(one.seconds is not None and one.seconds > 0 for one in found.values())
