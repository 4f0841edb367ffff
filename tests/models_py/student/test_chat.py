from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.conversation import Context, Message
from models_py.errors import UserError
from models_py.student.chat import Failure, StudentChat, TermSequences, TrainingExample
from models_py.student.spec import DEFAULT_CHAT_TEMPLATE
from tests.models_py.student.conftest import CHAT_TEMPLATE, MAX_LENGTH, make_tokenizer
from tests.support.properties import examples
from tests.support.values import as_a

# Texts that spell control tokens, whole and in parts.
PARTS = ["</s>", "<|end|>", "<|user", "|>", "<tool>", "sky ", "ü漢\u0301", "\n", " "]
TEXTS = st.lists(st.sampled_from(PARTS)).map("".join)
MESSAGES = st.builds(Message, st.sampled_from(("user", "assistant")), TEXTS)
CONTEXTS = st.builds(Context, TEXTS, st.lists(MESSAGES, max_size=3).map(tuple))


def tokens(chat: StudentChat, ids: list[int]) -> list[str]:
    return list(chat.tokenizer.convert_ids_to_tokens(ids))


def test_prompt_is_the_template_tokenized_whole(chat: StudentChat) -> None:
    rendered = "<s><|user|>Name the colour\nof the sky<|end|>\n<|assistant|>"
    expected = chat.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert chat.prompt_ids("Name the colour", "of the sky") == expected


def test_the_template_trims_and_so_do_we(chat: StudentChat) -> None:
    assert chat.prompt_ids("  the sky \n", " ") == chat.prompt_ids("the sky", "")
    assert chat.prompt_ids("  the </s> \n", " ") == chat.prompt_ids("the </s>", "")


def test_bos_comes_once_where_the_tokenizer_adds_one() -> None:
    for template in (CHAT_TEMPLATE, "{{ bos_token }}" + CHAT_TEMPLATE, DEFAULT_CHAT_TEMPLATE.read_text("utf-8")):
        chat = StudentChat(make_tokenizer("<s>", adds_bos=True), template, MAX_LENGTH)
        prompt = tokens(chat, chat.prompt_ids("sky", ""))
        assert prompt[0] == "<s>" and prompt.count("<s>") == 1


def test_what_is_saved_with_a_checkpoint_serves_the_same_ids() -> None:
    tokenizer: Any = make_tokenizer("<s>", adds_bos=True)
    chat = StudentChat(tokenizer, CHAT_TEMPLATE, MAX_LENGTH)
    tokenizer.chat_template = chat.template
    message = {"role": "user", "content": "Name the sky"}
    served = tokenizer.apply_chat_template([message], add_generation_prompt=True)["input_ids"]
    assert served == chat.prompt_ids("Name the sky", "")


def test_no_bos_where_the_tokenizer_has_none() -> None:
    chat = StudentChat(make_tokenizer(None), CHAT_TEMPLATE, MAX_LENGTH)
    assert tokens(chat, chat.prompt_ids("sky", ""))[0] == "<|user|>"
    assert tokens(chat, [chat.start_id]) == ["</s>"]


def test_both_terms_end_in_the_same_target(chat: StudentChat) -> None:
    terms = as_a(TermSequences, chat.answer_sequences("Name it", "", "The sky is blue"))
    target = chat.target_ids("The sky is blue")
    assert terms == TermSequences(
        alone=[chat.start_id, *target],
        conditioned=[*chat.prompt_ids("Name it", ""), *target],
        target_tokens=len(target),
        truncated=False,
    )


def test_instruction_is_scored_after_the_prompt_that_shows_the_answer(chat: StudentChat) -> None:
    terms = as_a(TermSequences, chat.instruction_sequences("Name it", "now", "The sky is blue"))
    target = chat.target_ids("Name it\nnow")
    assert terms.conditioned == [*chat.reverse_prompt_ids("The sky is blue"), *target]
    assert terms.alone == [chat.start_id, *target]
    assert "The sky is blue" in chat.tokenizer.decode(terms.conditioned)


@given(TEXTS)
@examples(50)
def test_data_never_becomes_a_control_token(text: str) -> None:
    chat = _CHAT
    control = set(chat.tokenizer.all_special_ids)
    assert control.isdisjoint(chat.target_ids(text))
    assert chat.tokenizer.decode(chat.target_ids(text)) == text
    for fill in (lambda t: chat.prompt_ids(t, ""), chat.reverse_prompt_ids):
        assert [i for i in fill(text) if i in control] == [i for i in fill("sky") if i in control]


_CHAT = StudentChat(make_tokenizer("<s>", adds_bos=True), CHAT_TEMPLATE, MAX_LENGTH)


def test_an_added_token_is_control_where_the_template_writes_it() -> None:
    tool = _CHAT.tokenizer.convert_tokens_to_ids("<tool>")
    with_tool = StudentChat(make_tokenizer("<s>"), "<tool>" + CHAT_TEMPLATE, MAX_LENGTH)
    assert _CHAT.target_ids("a <tool> b").count(tool) == 1
    assert with_tool.target_ids("a <tool> b").count(tool) == 0
    assert with_tool.prompt_ids("a <tool> b", "").count(tool) == 1


def test_half_a_surrogate_pair_is_no_crash(chat: StudentChat) -> None:
    assert chat.target_ids("\ud800") == chat.target_ids("?")


def test_end_of_turn_is_what_the_template_closes_an_answer_with(chat: StudentChat) -> None:
    assert tokens(chat, [chat.end_of_turn_id]) == ["<|end|>"]


@pytest.mark.parametrize("template", [DEFAULT_CHAT_TEMPLATE.read_text("utf-8"), "{{ messages[0].content }}: "])
def test_end_of_turn_is_eos_otherwise(template: str) -> None:
    chat = StudentChat(make_tokenizer(None), template, MAX_LENGTH)
    assert tokens(chat, [chat.end_of_turn_id]) == ["</s>"]


def test_the_training_mask_is_the_scored_span_and_the_end_of_turn(chat: StudentChat) -> None:
    for output in ("The sky is blue", "sky " * 400):
        scored = as_a(TermSequences, chat.answer_sequences("Name it", "", output))
        example = as_a(TrainingExample, chat.training_example("Name it", "", output))
        assert example.input_ids == [*scored.conditioned, chat.end_of_turn_id]
        prompt = len(scored.conditioned) - scored.target_tokens
        assert example.completion_mask == [0] * prompt + [1] * (scored.target_tokens + 1)
        assert len(example.input_ids) <= MAX_LENGTH


def test_a_long_answer_loses_its_tail_in_both_terms(chat: StudentChat) -> None:
    terms = as_a(TermSequences, chat.answer_sequences("Name it", "", "sky blue " * 400))
    assert terms.truncated
    assert len(terms.conditioned) == MAX_LENGTH - 1
    assert terms.alone[1:] == terms.conditioned[-terms.target_tokens :]
    assert terms.alone[1:] == chat.target_ids("sky blue " * 400)[: terms.target_tokens]
    assert as_a(TrainingExample, chat.training_example("Name it", "", "sky blue " * 400)).truncated


def test_an_answer_that_just_fits_is_whole(chat: StudentChat) -> None:
    tail = chat.target_ids("!")
    room = MAX_LENGTH - 1 - len(chat.prompt_ids("Name it", ""))
    assert len(chat.target_ids("!" * room)) == room * len(tail)
    assert not as_a(TermSequences, chat.answer_sequences("Name it", "", "!" * room)).truncated
    assert as_a(TermSequences, chat.answer_sequences("Name it", "", "!" * (room + 1))).truncated


def test_the_shown_answer_is_cut_so_that_the_instruction_fits(chat: StudentChat) -> None:
    terms = as_a(TermSequences, chat.instruction_sequences("Name it", "", "sky blue " * 400))
    assert terms.truncated
    assert len(terms.conditioned) == MAX_LENGTH - 1
    assert terms.conditioned[-terms.target_tokens :] == chat.target_ids("Name it")
    shown = chat.tokenizer.decode(terms.conditioned)
    assert "sky blue" in shown and "Which instruction" in shown


@pytest.mark.parametrize(
    ("instruction", "output", "status"),
    [("Name it", " \n", "empty_answer"), (" ", "Blue", "empty_instruction"), ("", "", "empty_answer")],
)
def test_empty_texts_are_failures(chat: StudentChat, instruction: str, output: str, status: str) -> None:
    for build in (chat.answer_sequences, chat.instruction_sequences, chat.training_example):
        failure = build(instruction, "", output)
        assert isinstance(failure, Failure) and failure.status == status and "empty" in failure.reason


def test_an_instruction_may_stand_in_the_input(chat: StudentChat) -> None:
    assert isinstance(chat.training_example("", "Name it", "Blue"), TrainingExample)


def test_a_prompt_without_room_is_a_failure(chat: StudentChat) -> None:
    for build in (chat.answer_sequences, chat.instruction_sequences, chat.training_example):
        failure = as_a(Failure, build("why " * 900, "", "Blue"))
        assert failure.status == "prompt_too_long" and f"max_length {MAX_LENGTH}" in failure.reason


def test_dates_in_a_template_stand_still() -> None:
    template = "{{ strftime_now('%Y-%m-%d') }}" + CHAT_TEMPLATE
    chat = StudentChat(make_tokenizer(None), template, MAX_LENGTH)
    assert chat.tokenizer.decode(chat.prompt_ids("sky", "")).startswith("2024-07-26")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("no text at all", "0 times"),
        ("{{ messages[0].content * 2 }}", "2 times"),
        ("{% if %}", "cannot be rendered"),
        ("{{ raise_exception('no') }}", "cannot be rendered"),
    ],
)
def test_a_template_that_is_none_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        StudentChat(make_tokenizer(None), template, MAX_LENGTH)


@pytest.mark.parametrize("reverse", ["{{ anser }}", "{% if %}", "no answer", "{{ answer }} {{ answer }}"])
def test_a_reverse_prompt_that_is_none_is_refused(reverse: str) -> None:
    with pytest.raises(UserError, match="reverse prompt"):
        StudentChat(make_tokenizer(None), CHAT_TEMPLATE, MAX_LENGTH, reverse)


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="eos_token"):
        StudentChat(tokenizer, CHAT_TEMPLATE, MAX_LENGTH)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, CONTEXTS), max_size=4))
def test_reading_ahead_changes_no_sequence(chat: StudentChat, rows: list[tuple[str, str, str, Context]]) -> None:
    def all_sequences() -> list[object]:
        return [(chat.answer_sequences(*row), chat.instruction_sequences(*row[:3])) for row in rows]

    expected = all_sequences()
    with chat.reading_ahead(rows, [row[:3] for row in rows]):
        assert all_sequences() == expected
        assert chat._encoded or not rows
    assert not chat._encoded and not chat._rendered
