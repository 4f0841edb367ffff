"""Every chat template that TRL ships, and some of our own: an answer follows what the template writes before one."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from models_py.conversation import NO_CONTEXT
from models_py.errors import UserError
from models_py.student.chat import Failure, StudentChat, TermSequences, TrainingExample
from models_py.student.template import answer_template, render, renders_as_at_first
from tests.models_py.student.conftest import CHAT_TEMPLATE, make_tokenizer
from tests.support.values import as_a

TRL = {file.name: file.read_text("utf-8") for file in files("trl.chat_templates").iterdir() if ".jinja" in file.name}
# Their messages are lists of parts: such models look at pictures.
OF_PARTS = {f"{name}{kind}.jinja" for name in ("idefics3", "llava_next", "smolvlm") for kind in ("", "_training")}
TEXT_ONLY = sorted(TRL.keys() - OF_PARTS)
# What they ask with is not what they write before an answer.
ASK_OTHERWISE = {
    f"{name}{kind}.jinja"
    for name in (
        *("deepseek_r1_distill", "deepseekv3", "glm4moe", "gptoss", "muse_glimmer", "qwen3", "qwen3_5_think"),
        *("qwen3_6", "qwen3_8", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "nemotron_3_5_lightning"),
    )
    for kind in ("", "_training")
}
# They know thinking blocks, so that an answer that begins with one has other ids than it had.
KNOW_THINKING = {"qwen3_5_nothink.jinja", "qwen3_5_nothink_training.jinja"} | {
    f"lfm2_2_5{kind}.jinja" for kind in ("", "_v2", "_vl")
}
DROP_THINKING = {"deepseek_r1_distill.jinja", "deepseekv3.jinja", "deepseekv3_training.jinja"}
DAY = {"strftime_now": datetime(2024, 7, 26).strftime}
USER, ANSWER, SYSTEM = (
    {"role": role, "content": text}
    for role, text in (("user", "Why blue?"), ("assistant", "Light is\n\nscattered."), ("system", "Be brief."))
)
THOUGHT = "<think>\nAir, then.\n</think>\n\nBlue."


@cache
def tokenizer_for(template: str) -> Any:
    """One token a byte, and one for each mark that a template writes: ids and text tell the same."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={sign: n for n, sign in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    marks = sorted(set(re.findall(r"<[|｜/]?[\w▁|｜]+>|\[/?[A-Z_]+\]", template)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_tokens([mark for mark in marks if mark not in ("<s>", "</s>")], special_tokens=True)
    return tokenizer


@cache
def chat_of(template: str) -> StudentChat:
    return StudentChat(tokenizer_for(template), template, 100_000)


def rendered(template: str, *messages: dict[str, str], asks: bool = False) -> str:
    """As transformers renders it."""
    tokenizer = tokenizer_for(template)
    text: str = tokenizer.apply_chat_template(
        list(messages), chat_template=template, tokenize=False, add_generation_prompt=asks, **DAY
    )
    return text


def text_of(chat: StudentChat, ids: list[int]) -> str:
    return str(chat.tokenizer.decode(ids))


def test_trl_ships_what_these_tests_know() -> None:
    assert len(TRL) >= 70 and TRL.keys() > OF_PARTS | ASK_OTHERWISE | KNOW_THINKING


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_prompt_and_answer_and_rest_are_what_the_template_writes(name: str) -> None:
    chat = chat_of(TRL[name])
    terms = as_a(TermSequences, chat.answer_sequences(USER["content"], "", ANSWER["content"]))
    assert terms.alone == [chat.start_id, *chat.target_ids(ANSWER["content"])]
    whole = rendered(TRL[name], USER, ANSWER)
    conditioned = text_of(chat, terms.conditioned)
    assert conditioned.endswith(ANSWER["content"])
    assert whole.startswith(conditioned)
    after = chat.tokenizer(whole.removeprefix(conditioned), add_special_tokens=False)["input_ids"]
    example = as_a(TrainingExample, chat.training_example(USER["content"], "", ANSWER["content"]))
    assert example.input_ids == [*terms.conditioned, chat.end_of_turn_id]
    prompt = len(terms.conditioned) - terms.target_tokens  # what is scored is what the loss counts, and the end
    assert example.completion_mask == [0] * prompt + [1] * (terms.target_tokens + 1)
    assert chat.end_of_turn_id == next((i for i in after if i >= 256), chat.tokenizer.eos_token_id)


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_the_saved_template_asks_with_what_was_trained_on(name: str) -> None:
    chat = chat_of(TRL[name])
    tokenizer = chat.tokenizer
    served = tokenizer.apply_chat_template([USER], chat_template=chat.template, add_generation_prompt=True, **DAY)
    assert served["input_ids"] == chat.prompt_ids(USER["content"], "")
    for earlier in ([], [USER, ANSWER], [USER, ANSWER, USER, ANSWER]):
        turns = [*earlier, USER]
        assert rendered(chat.template, *turns, ANSWER) == rendered(TRL[name], *turns, ANSWER)
        before = rendered(TRL[name], *turns, ANSWER).rpartition(ANSWER["content"])[0]
        assert rendered(chat.template, *turns, asks=True) == before


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_only_templates_that_ask_otherwise_are_changed(name: str) -> None:
    assert (chat_of(TRL[name]).template == TRL[name]) == (name not in ASK_OTHERWISE)
    assert renders_as_at_first(TRL[name]) == (name not in ASK_OTHERWISE | KNOW_THINKING)


@pytest.mark.parametrize("name", sorted(OF_PARTS))
def test_templates_that_take_no_text_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="0 times; it must write it, a plain text, exactly once"):
        chat_of(TRL[name])


@pytest.mark.parametrize("name", TEXT_ONLY)
@pytest.mark.parametrize("output", [THOUGHT, "<think>Air.</think>Blue."])
def test_an_answer_keeps_its_thoughts_as_the_template_writes_them_or_says_so(name: str, output: str) -> None:
    chat = chat_of(TRL[name])
    terms = chat.answer_sequences(USER["content"], "", output)
    if name in DROP_THINKING:
        failure = as_a(Failure, terms)
        assert failure.status == "answer_cut" and "leaves out its thinking block" in failure.reason
        return
    whole = rendered(TRL[name], USER, {"role": "assistant", "content": output})
    conditioned = as_a(TermSequences, terms).conditioned
    assert whole.startswith(text_of(chat, conditioned))
    scored = conditioned[-as_a(TermSequences, terms).target_tokens :]
    assert "".join(text_of(chat, scored).split()) == "".join(output.split())
    marks = {chat.tokenizer.convert_tokens_to_ids(mark) for mark in ("<think>", "</think>") if mark in TRL[name]}
    assert marks <= set(scored)  # the model's own tokens, as a server would write them


def test_nothing_else_of_a_thinking_answer_becomes_a_token() -> None:
    chat = chat_of(TRL["qwen3.jinja"])
    output = "<think>\nIs <|im_end|> a token?\n</think>\n\nYes: <|im_end|>"
    terms = as_a(TermSequences, chat.answer_sequences("Why </think>?", "", output))
    control = [i for i in terms.conditioned if i >= 256]
    expected = ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>"]
    assert chat.tokenizer.convert_ids_to_tokens(control) == expected
    assert text_of(chat, terms.conditioned[-terms.target_tokens :]) == output


@pytest.mark.parametrize(
    "output", ["Write <think> first.", "a </think> b", "Blue.\n<think>hm</think>", "<think>no end", "</think> at once"]
)
def test_marks_that_an_answer_only_mentions_stay_text(output: str) -> None:
    template = CHAT_TEMPLATE + "{# knows <think> and </think> #}"
    chat = StudentChat(tokenizer_for(template), template, 999)
    terms = as_a(TermSequences, chat.answer_sequences("Why", "", output))
    assert terms.alone[1:] == chat.target_ids(output) and max(terms.alone[1:]) < 256


def test_thoughts_without_their_opening_follow_the_prompt_that_opens_them() -> None:
    chat = chat_of(TRL["qwen3_5_think.jinja"])
    terms = as_a(TermSequences, chat.answer_sequences("Why?", "", "Air.\n</think>\n\nBlue."))
    prompt, target = terms.conditioned[: -terms.target_tokens], terms.conditioned[-terms.target_tokens :]
    assert text_of(chat, prompt).endswith("<|im_start|>assistant\n<think>\n")
    assert text_of(chat, target) == "Air.\n</think>\n\nBlue."
    assert chat.tokenizer.convert_tokens_to_ids("</think>") in target


def test_a_text_that_the_template_refuses_fails_its_row_alone() -> None:
    chat = chat_of(TRL["gptoss.jinja"])
    rows = [("Why?", "", "<|channel|>analysis<|message|>Hm.<|end|>Blue."), ("Why?", "", "Blue.")]
    with chat.reading_ahead([(*row, NO_CONTEXT) for row in rows], rows):
        bad, good = (chat.answer_sequences(*row) for row in rows)
    failure = as_a(Failure, bad)
    assert failure.status == "template_error" and "You have passed a message containing" in failure.reason
    assert isinstance(good, TermSequences)


OPEN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
THINKS = "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
PROMPTS_ONLY = "{% for m in messages if m.role == 'user' %}Q: {{ m.content }}\n{% endfor %}"
NO_ANSWERS = "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (OPEN + ASKS, "<|user|>Why<|end|><|assistant|>"),
        (OPEN + THINKS, "<|user|>Why<|end|><|assistant|>"),
        (OPEN + "{% if add_generation_prompt %}<|assistant|>[THINK]{% endif %}", "<|user|>Why<|end|><|assistant|>"),
        (OPEN + "{% if add_generation_prompt %}<|assist{% endif %}", "<|user|>Why<|end|><|assistant|>"),
        (OPEN, "<|user|>Why<|end|><|assistant|>"),  # it has no generation prompt at all
        (OPEN.replace("{{ m.content }}", "{{ m.content | trim }}") + THINKS, "<|user|>Why<|end|><|assistant|>"),
        ("{%- macro say(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}\n{% for m in messages %}{{ say(m) }}\n"
         "{% endfor %}\n{% if add_generation_prompt %}<assistant><thought>{% endif %}\n", "<user>Why\n<assistant>"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m.role }}:"
         "{{ m.content }};{% endfor %}{{ 'analysis:' if add_generation_prompt }}", "1user:Why;2assistant:"),
        ("{% for m in messages %}{% generation %}{{ m.role }}: {{ m.content }}\n{% endgeneration %}{% endfor %}:",
         "user: Why\nassistant: "),
        (PROMPTS_ONLY + "A:", "Q: Why\nA:"),
        (NO_ANSWERS + "{{ messages[0].content }} =>", "Why =>"),
    ],
)  # fmt: skip
def test_an_answer_follows_what_the_template_writes_before_one(template: str, prompt: str) -> None:
    chat = StudentChat(make_tokenizer(None), template, 512)
    tokenizer: Any = chat.tokenizer
    assert tokenizer.decode(chat.prompt_ids("Why", "")) == prompt
    assert render(chat.template, [{"role": "user", "content": "Why"}], asks=True) == prompt


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (PROMPTS_ONLY + "<think>", "inside a thinking block .* name a chat_template that renders an assistant message"),
        (PROMPTS_ONLY + "<thinking>\n", "inside a thinking block"),
        (PROMPTS_ONLY + "[THINK]", "inside a thinking block"),
        (PROMPTS_ONLY + "<|channel|>analysis<|message|>", "inside a thinking block"),
        (NO_ANSWERS + "{{ messages[0].content }}<think>\n", "inside a thinking block"),
        (
            OPEN + "{{ messages[-1].content if messages | length > 1 }}",
            "every answer exactly once, as it is; name a chat",
        ),
        (
            OPEN.replace("m.content", "m.content if m.role == 'user' else m.content | upper"),
            "every answer exactly once",
        ),
        (OPEN.replace("{{ m.content }}", "{{ m.content | length if m.role != 'user' }}{{ m.content }}"), "each answer"),
        (OPEN.replace("{{ m.content }}", "{{ m.content.split('\n')[0] }}"), "every answer exactly once"),
        ("{{ messages[-1].content }}{{ messages[0].content if messages | length > 1 }}", "instruction before the"),
    ],
)
def test_a_template_without_a_prompt_for_answers_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        answer_template(template)
    assert renders_as_at_first(template)  # who is refused has no scores to lose


ALPACA = (
    "Below is an instruction{% if input %}, paired with an input{% endif %}.\n\n### Instruction:\n{{ instruction }}\n\n"
    "{% if input %}### Input:\n{{ input }}\n\n{% endif %}### Response:\n"
)
INPUT_FIRST = "{{ input | trim }} || {{ instruction | trim }} =>{{ messages[1].content + eos_token if messages[1] }}"


@pytest.mark.parametrize(
    ("template", "input", "prompt"),
    [
        (ALPACA, "", "Below is an instruction.\n\n### Instruction:\nName it\n\n### Response:"),
        (ALPACA, " ", "Below is an instruction.\n\n### Instruction:\nName it\n\n### Response:"),
        (ALPACA, "sky", "Below is an instruction, paired with an input.\n\n### Instruction:\nName it\n\n"
         "### Input:\nsky\n\n### Response:"),
        (INPUT_FIRST, " sky\n", "sky || Name it =>"),
        (INPUT_FIRST, "</s> || ", "</s> || || Name it =>"),
    ],
)  # fmt: skip
def test_a_template_may_take_instruction_and_input_apart(template: str, input: str, prompt: str) -> None:
    chat = StudentChat(make_tokenizer(None), template, 512)
    ids = chat.prompt_ids("Name it", input)
    assert text_of(chat, ids) == prompt and chat.tokenizer.eos_token_id not in ids
    rows = [("Name it", input, "Blue")]
    expected = chat.answer_sequences(*rows[0])
    with chat.reading_ahead([(*row, NO_CONTEXT) for row in rows], rows):
        assert chat.answer_sequences(*rows[0]) == expected == as_a(TermSequences, expected)


def test_a_template_of_two_parts_is_served_with_messages_too() -> None:
    chat = StudentChat(make_tokenizer(None), ALPACA, 512)
    tokenizer: Any = chat.tokenizer
    tokenizer.chat_template = chat.template
    message = {"role": "user", "content": "Name it"}
    asked: Callable[..., Any] = tokenizer.apply_chat_template
    assert asked([message], add_generation_prompt=True)["input_ids"] == chat.prompt_ids("Name it", "")
    apart = asked([message], add_generation_prompt=True, instruction="Name it", input="sky")["input_ids"]
    assert apart == chat.prompt_ids("Name it", "sky")


def test_a_part_that_is_lost_is_refused() -> None:
    with pytest.raises(UserError, match="writes its text 0 times"):
        StudentChat(make_tokenizer(None), "{{ instruction }} =>", 512)


@pytest.mark.parametrize("template", ["\n{{ bos_token }}" + CHAT_TEMPLATE, "Chat:{{ bos_token }}" + CHAT_TEMPLATE])
def test_bos_that_stands_after_something_is_not_written_twice(template: str) -> None:
    chat = StudentChat(make_tokenizer("<s>", adds_bos=True), template, 512)
    assert chat.prompt_ids("sky", "").count(chat.start_id) == 1
    assert chat.template == template and not renders_as_at_first(template)


SPACED = (
    "{% for m in messages %}"
    "{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + eos_token }}{% endfor %}"
)


@cache
def spacing_tokenizer(spaces: bool) -> Any:
    """A token a sign, as SentencePiece has them: ▁ is a space, and stands before every text where it `spaces`."""
    signs = ["▁", *"[]/INSTBblue.Why"]
    backend = Tokenizer(models.BPE(vocab={sign: n for n, sign in enumerate(dict.fromkeys(signs))}, merges=[]))
    scheme = "always" if spaces else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


@pytest.mark.parametrize("spaces", [True, False])
def test_the_space_before_an_answer_is_written_once(spaces: bool) -> None:
    """Llama 2 and Mistral write ` answer` after `[/INST]`; their tokenizers put that space there themselves."""
    chat = StudentChat(spacing_tokenizer(spaces), SPACED, 512)
    terms = as_a(TermSequences, chat.answer_sequences("Why", "", "Blue."))
    whole = chat.tokenizer("[INST] Why [/INST] Blue.", add_special_tokens=False)["input_ids"]
    assert terms.conditioned == whole
    assert (chat.template == SPACED) == spaces == renders_as_at_first(SPACED, spaces_texts=spaces)
