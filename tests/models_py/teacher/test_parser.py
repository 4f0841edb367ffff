import re
import time
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models_py.teacher.parser import ParsedReply, normalise_reply, parse_reply
from models_py.teacher.prompt import load_prompts
from models_py.teacher.request import INSTRUCTION_REFLECTION, PHASES, RESPONSE_REFLECTION

WHOLE = "Vague.\n\n[New Instruction] Compare two sorts. [End]\n\n[New Answer] Merge sort splits. [End]"


def instruction(reply: str | None, finish_reason: str | None = "stop") -> ParsedReply:
    return parse_reply(INSTRUCTION_REFLECTION, reply, finish_reason)


def response(reply: str | None, finish_reason: str | None = "stop") -> ParsedReply:
    return parse_reply(RESPONSE_REFLECTION, reply, finish_reason)


def test_reads_critique_instruction_and_answer() -> None:
    assert instruction(WHOLE) == ParsedReply("ok", "Vague.", "Compare two sorts.", "Merge sort splits.")


def test_reads_a_better_answer() -> None:
    assert response("Curt.\n[Better Answer]\nThe Baltic.\n[End]") == ParsedReply("ok", "Curt.", None, "The Baltic.")


def test_reads_a_reply_on_one_line() -> None:
    reply = "Vague. [New Instruction] Compare. [End] [New Answer] Merge sort. [End]"
    assert instruction(reply) == ParsedReply("ok", "Vague.", "Compare.", "Merge sort.")


@pytest.mark.parametrize(
    "tags",
    [
        ("[new instruction]", "[END]", "[NEW ANSWER]", "[end]"),
        ("[ New  Instruction ]:", "[ End ]", "[New\tAnswer]:", "[End]"),
        ("**[New Instruction]**", "**[End]**", "**[New Answer]:**", "**[End]**"),
        ("### [New Instruction]", "[End]", "2. [New Answer]", "[End]"),
        ("\u200e[New\u00a0Instruction]\u200f", "\u202a[End]\u202c", "\ufeff[New Answer]", "[\u200bEnd]"),
    ],
)
def test_tags_may_vary_in_case_space_and_decoration(tags: tuple[str, ...]) -> None:
    open_instruction, end_instruction, open_answer, end_answer = tags
    parsed = instruction(f"Why.\n{open_instruction} Ask.\n{end_instruction}\n\n{open_answer} Reply.\n{end_answer}")
    assert (parsed.status, parsed.critique) == ("ok", "Why.")
    assert [str(text).strip("\u200f\u202a\n ") for text in (parsed.instruction, parsed.output)] == ["Ask.", "Reply."]


@pytest.mark.parametrize(
    "tag", ["[New Instructions]", "(New Instruction)", "new instruction:", "[NewInstruction]", "My New Instruction:"]
)
def test_look_alikes_are_text(tag: str) -> None:
    assert instruction(WHOLE.replace("[New Instruction]", tag)).status == "missing_tag"


@pytest.mark.parametrize(
    "answer",
    [
        "Close it with [End] and go on.",
        "The closing tag is\n[End]\nand stands alone.",
        "print(items[end])\nlast = v[End]",
        "Use `[New Answer]`, then a [Better Answer] follows.",
        "Write [New Instruction] first.",
    ],
)
def test_an_answer_may_speak_of_tags(answer: str) -> None:
    assert instruction(f"Weak.\n[New Instruction] Explain it. [End]\n[New Answer] {answer} [End]").output == answer
    assert response(f"Weak.\n[Better Answer]\n{answer}\n[End]").output == answer


@pytest.mark.parametrize(
    "mention", ["The `[New Instruction]` will ask more.", "I end with [End].", "No [New Answer] yet"]
)
def test_a_critique_may_speak_of_tags(mention: str) -> None:
    assert instruction(f"{mention}\n{WHOLE}") == ParsedReply(
        "ok", f"{mention}\nVague.", "Compare two sorts.", "Merge sort splits."
    )


def test_a_mention_alone_is_no_block() -> None:
    assert response("The [Better Answer] would name a sea.").status == "missing_tag"


def test_text_after_the_last_end_is_dropped() -> None:
    assert response("Curt.\n[Better Answer] The Baltic. [End]\n\nI hope this helps!").output == "The Baltic."


def test_a_second_try_replaces_the_first() -> None:
    second = WHOLE.replace("Compare two", "Rank three").replace("splits", "wins")
    parsed = instruction(f"{WHOLE}\n\nBetter still:\n\n{second}")
    assert (parsed.instruction, parsed.output) == ("Rank three sorts.", "Merge sort wins.")


def test_a_second_answer_goes_with_the_instruction_before_it() -> None:
    parsed = instruction(f"{WHOLE}\n[New Answer] Merge sort halves. [End]")
    assert (parsed.instruction, parsed.output) == ("Compare two sorts.", "Merge sort halves.")


def test_a_format_shown_inside_an_answer_stays_in_it() -> None:
    answer = "Use this:\n[New Instruction] task [End]\n[New Answer] solution [End]\nand fill it in."
    assert instruction(f"[New Instruction] Design a format. [End]\n[New Answer]\n{answer}\n[End]").output == answer


def test_repeated_tags_that_do_not_balance_are_not_guessed_at() -> None:
    assert instruction(f"[New Instruction] is too easy.\n{WHOLE}").status == "missing_tag"


@pytest.mark.parametrize(
    ("finish_reason", "status"),
    [("stop", "ok"), (None, "ok"), ("abort", "missing_tag"), ("length", "truncated")],
)
def test_the_last_end_may_be_forgotten_only_by_a_teacher_that_stopped(finish_reason: str | None, status: str) -> None:
    parsed = instruction(WHOLE.removesuffix("[End]"), finish_reason)
    assert (parsed.status, parsed.output) == (status, "Merge sort splits." if status == "ok" else None)


def test_a_next_block_closes_an_instruction() -> None:
    assert instruction(WHOLE.replace("sorts. [End]", "sorts.")).instruction == "Compare two sorts."


def test_a_reply_without_the_answer_tag_keeps_only_the_critique() -> None:
    assert instruction("Vague.\n[New Instruction] Compare. [End]\nMerge sort.") == ParsedReply("missing_tag", "Vague.")


def test_blocks_may_come_in_the_other_order() -> None:
    reply = "[New Answer] Merge sort. [End]\n[New Instruction] Compare. [End]"
    assert instruction(reply) == ParsedReply("ok", None, "Compare.", "Merge sort.")
    assert instruction(reply.removesuffix("[End]")) == ParsedReply("ok", None, "Compare.", "Merge sort.")
    assert instruction(reply.removesuffix("[End]"), "abort").status == "missing_tag"


def test_a_cut_reply_is_truncated_even_if_it_looks_whole() -> None:
    assert instruction(WHOLE, "length") == ParsedReply("truncated", "Vague.")


@pytest.mark.parametrize("reply", [None, "", " \n\t", "\u200b\ufeff\x00"])
def test_nothing_is_empty(reply: str | None) -> None:
    assert instruction(reply).status == "empty"


@pytest.mark.parametrize("body", ["", "\n \n", "\u200f\u202e", "\x00"])
def test_an_empty_block_is_empty(body: str) -> None:
    assert response(f"Fine.\n[Better Answer]{body}[End]") == ParsedReply("empty", "Fine.")


@pytest.mark.parametrize(
    "body",
    [
        "your better answer",
        "Your better answer here.",
        "<new instruction>",
        "[insert the improved response here]",
        "...",
        "[…]",
        "the full text of the better answer",
        "The new answer goes here",
    ],
)
def test_an_echo_is_a_placeholder(body: str) -> None:
    assert response(f"Fine.\n[Better Answer] {body} [End]").status == "placeholder"


@pytest.mark.parametrize(
    "body", ["Question", "Text.", "[]", "Your answer is wrong: 7.", "42", "😀", "Write a new poem."]
)
def test_a_short_answer_is_no_placeholder(body: str) -> None:
    assert response(f"Fine.\n[Better Answer] {body} [End]").output == body


@pytest.mark.parametrize("phase", PHASES)
def test_echoing_the_bundled_prompt_is_a_placeholder(phase: str) -> None:
    asked = load_prompts("any")[phase].messages("Name a sea.", "", "Baltic.")[-1].content
    assert parse_reply(phase, asked, "stop").status == "placeholder"


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I’m really sorry, I cannot rewrite this.",
        "As an AI language model, I do not judge people.",
        "Thank you for asking. Unfortunately I am unable to assist with this request.",
        "I cannot write a [New Instruction] about weapons.",
    ],
)
def test_a_refusal_is_refused(reply: str) -> None:
    assert instruction(reply) == ParsedReply("refused")


def test_a_polite_critique_with_blocks_is_no_refusal() -> None:
    assert instruction(f"I'm sorry to say this is weak.\n{WHOLE}").status == "ok"


def test_the_content_filter_refuses() -> None:
    assert instruction(None, "content_filter").status == "refused"
    assert instruction(WHOLE, "content_filter") == ParsedReply("refused", "Vague.")


def test_an_error_is_failed() -> None:
    assert parse_reply(RESPONSE_REFLECTION, None, None, "timeout after 60 s") == ParsedReply("failed")


def test_thinking_is_not_part_of_the_reply() -> None:
    assert response(
        "<think>\n[Better Answer] draft [End]\n</think>\nCurt.\n[Better Answer] Done. [End]"
    ) == ParsedReply("ok", "Curt.", None, "Done.")


def test_line_ends_nul_and_surrogates_are_normalised() -> None:
    assert response("Curt.\r\n[Better Answer]\r\none\r\ntwo\x00\ud800\r\n[End]\r\n").output == "one\ntwo\ufffd"


HOSTILE = [
    *(
        "[",
        "[[",
        "[ ",
        "[New ",
        "[New Answer",
        "[New Answer] ",
        "[New Answer]\n",
        "[New Answer: ",
        "[End] ",
        "[End]\n\n",
    ),
    *(
        "**[End]** x",
        "[/New Answer]\n",
        "<New Answer>",
        "</New Answer>\n",
        "[New Instruction]\n[End]\n",
        "`",
        "*",
        "> ",
        "# ",
    ),
    *(
        "New Answer:\n",
        "New Answer:\n[End]\n",
        "End\n\n",
        "[Aa]\n[End]\n\n",
        "```\n[End]\n",
        "---\n\n",
        "\n",
        " ",
        "\u200b",
    ),
    *(
        "<think>",
        "</think>",
        "</think>\n[New Answer]\n",
        "<think></think>",
        "<|im_end|><|im_start|>",
        "<|channel|>final",
    ),
    *("<s>", "</s>", "</answer>", "assistantfinal", "x"),
]


@pytest.mark.parametrize("before", ["", "[New Instruction] Ask.\n[New Answer] ", "<think>"])
def test_a_long_hostile_reply_is_read_in_linear_time(before: str) -> None:
    """Forty kilobytes of each; what is not linear takes minutes."""
    began = time.process_time()
    for unit in HOSTILE:
        instruction(before + unit * (40_000 // len(unit)))
    assert time.process_time() - began < 15


PIECES = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(
        [
            "[New Instruction]",
            "[New Answer]",
            "[Better Answer]",
            "[End]",
            "\n",
            "\r\n",
            " ",
            "**",
            "<think>",
            "</think>",
        ]
    ),
    st.sampled_from(
        [
            *(
                "New Instruction:",
                "### New Answer\n",
                "**Better Answer:**",
                "<new_answer>",
                "</new_answer>",
                "[New Answer: ",
            ),
            *("[/New Answer]", "[End of Answer]", "\nEnd\n", "---\n", "```\n", "> ", "]", "<|im_end|>", "<|im_start|>"),
            *("<|channel|>final<|message|>", "<answer>", "</answer>", "［New Answer］", "\\[Better Answer\\]"),
        ]
    ),
    st.sampled_from(["[ end ]", "\x00", "\u202e", "\u200b", "your new answer", "...", "I'm sorry", "# ", "x"]),
)
REPLIES = st.lists(PIECES, max_size=25).map("".join)
FINISHES = st.sampled_from(["stop", "length", "content_filter", None, "other"])


@given(st.sampled_from(PHASES), REPLIES, FINISHES, st.sampled_from([None, "timeout"]))
def test_never_raises_and_returns_only_text_of_the_reply(
    phase: str, reply: str, finish: str | None, error: str | None
) -> None:
    parsed = parse_reply(phase, reply, finish, error)
    source = normalise_reply(reply)
    texts = (parsed.critique, parsed.instruction, parsed.output)
    lines = [line for text in texts for line in (text or "").split("\n")]  # marks of a quote are taken from each
    assert all(line in source for line in lines)
    assert (parsed.output is not None) == (parsed.status == "ok")
    assert (parsed.instruction is not None) == (parsed.status == "ok" and phase == INSTRUCTION_REFLECTION)


MENTIONS = st.sampled_from(["see [End] there", "a tag [New Answer] b", "x[end]\n", "word [End]\n", "`[Better Answer]`"])
TEXTS = st.lists(st.one_of(st.text(), MENTIONS), min_size=1, max_size=6).map("".join)
PARAGRAPH_ENDS = re.compile(r"end[\W_]*[\n\r][\W_]*?(?:[\n\r]|```|~~~|---|[*]{3}|___|===)", re.IGNORECASE)
BLOCK_STARTS = re.compile(r"(?:^|[\n\r]|\])[\W\d_]*\[\s*(?:new|better)", re.IGNORECASE)


def well_formed(text: str) -> str:
    """What the parser promises to return of a text on the line of its tags."""
    assume(any(char.isalnum() for char in text) and not BLOCK_STARTS.search(text) and not PARAGRAPH_ENDS.search(text))
    return normalise_reply(text).strip()


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["stop", None]))
def test_rendered_blocks_come_back_exactly(
    critique: str, new_instruction: str, answer: str, finish: str | None
) -> None:
    new_instruction, answer = f"{new_instruction} q7", f"{answer} q8"  # `none` is no instruction
    expected = (well_formed("c" + critique), well_formed(new_instruction), well_formed(answer))
    reply = f"c{critique}\n\n[New Instruction] {new_instruction} [End]\n\n[New Answer]\n{answer}\n[End]"
    parsed = instruction(reply, finish)
    assert (parsed.status, parsed.critique, parsed.instruction, parsed.output) == ("ok", *expected)
    better = response(f"c{critique}\n\n[Better Answer] {answer} [End]\n", finish)
    assert (better.status, better.output) == ("ok", expected[2])


@given(st.sampled_from(PHASES), REPLIES, FINISHES, st.randoms(use_true_random=False))
def test_line_ends_and_nuls_change_nothing(phase: str, reply: str, finish: str | None, random: Random) -> None:
    parsed = parse_reply(phase, reply, finish)
    as_windows = normalise_reply(reply).replace("\n", "\r\n")
    with_nuls = "".join(random.choice(["", "\x00"]) + char for char in reply.replace("\r\n", "\n"))
    assert parse_reply(phase, as_windows, finish) == parsed
    assert parse_reply(phase, with_nuls, finish) == parsed


INVISIBLE = r"[\s\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
OPENING = rf"\[{INVISIBLE}*(?:new{INVISIBLE}+(?:instruction|answer)|better{INVISIBLE}+answer){INVISIBLE}*\]"
LINE_START = rf"(?:^|\n){INVISIBLE}*(?:(?:#{{1,6}}|>|[-*+]|\d{{1,2}}[.)]){INVISIBLE}*)?"
NOT_PROMISED = re.compile(
    rf"(?:{LINE_START}|\[{INVISIBLE}*end{INVISIBLE}*\][\W_]*)(?:\*{{1,3}}|__)?{OPENING}", re.IGNORECASE
)
SECTION_AFTER_END = re.compile(rf"end{INVISIBLE}*\][^\w\n]*\n{INVISIBLE}*\n[^\w\n]*\[", re.IGNORECASE)
TAG_PIECES = st.sampled_from(
    ["[New Answer]", "[ new  INSTRUCTION ]", "[Better\u200bAnswer]", "[End]", "[ end ]\n", "**[End]**", "[New Answers]"]
)
TEXT_PIECES = st.sampled_from(["see ", "(", "\n", "\r\n", "\u202e", "\x00", "# ", "12. ", "**", "[", "x]", ":"])
TAGGED = st.lists(st.one_of(TAG_PIECES, TEXT_PIECES, st.text(max_size=6)), max_size=10).map("".join)


def promised(before: str, text: str) -> str:
    """What the parser's docstring promises of a text that is written after `before`."""
    assume(not NOT_PROMISED.search(normalise_reply(f"?{before}{text}")))
    assume(not SECTION_AFTER_END.search(normalise_reply(text)))
    return normalise_reply(text).strip()


@given(TAGGED, TAGGED, TAGGED, st.sampled_from([" ", "\n"]))
def test_what_the_docstring_promises_of_texts_that_speak_of_tags_holds(
    first: str, second: str, third: str, before: str
) -> None:
    critique, new_instruction, answer = f"c {first}", f"{second} q7", f"{third} q8"
    expected = (promised("", critique), promised(before, new_instruction), promised(before, answer))
    reply = f"{critique}\n\n[New Instruction]{before}{new_instruction}\n[End]\n\n[New Answer]{before}{answer}\n[End]"
    parsed = instruction(reply)
    assert (parsed.status, parsed.critique, parsed.instruction, parsed.output) == ("ok", *expected)
    better = response(f"{critique}\n\n[Better Answer]{before}{answer}\n[End]")
    assert (better.status, better.critique, better.output) == ("ok", expected[0], expected[2])


def test_a_reply_of_megabytes_is_read_whole() -> None:
    answer = "It says [End]. " + "".join(f"Word {number}. " for number in range(200_000))
    parsed = instruction(f"Vague.\n[New Instruction] Explain. [End]\n[New Answer] {answer}[End]")
    assert (parsed.status, parsed.instruction, len(parsed.output or "")) == ("ok", "Explain.", len(answer) - 1)


# Lines of texts that people really ask for, among them all that a teacher could also mean as a mark.
LINES = st.sampled_from(
    [
        *(
            "",
            "A plain line.",
            "End",
            "end",
            "The End",
            "END.",
            "Begin",
            "---",
            "***",
            "===",
            "# Title",
            "## New Answer",
        ),
        *(
            "New Answer: 7",
            "**Better Answer:** 8",
            "New Instruction",
            "> quoted",
            "- [ ] to do",
            "1. [x] done",
            "N/A",
            "...",
        ),
        *(
            "```",
            "```python",
            "print(a[end])",
            "~~~",
            "| a | b |",
            "[Verse 1]",
            "[/New Answer] is a tag",
            "it says [End] here",
        ),
        *(
            "<answer>",
            "</answer>",
            "<new_answer>",
            "</b>",
            "<think>",
            "</think>",
            "[THINK]",
            "<|im_start|>user",
            "<|im_end|>",
        ),
        *(
            "</s>",
            "<s>",
            "\\\\[x\\\\]",
            "`[New Answer]`",
            "［End",
            "title: x",
            "Note: I closed it.",
            "**bold**",
            "[a]: http://b",
        ),
    ]
)
OWN_TEXTS = st.lists(LINES, min_size=1, max_size=8).map("\n".join)


@given(OWN_TEXTS, OWN_TEXTS, st.sampled_from(["stop", "abort"]))
def test_whatever_people_write_comes_back_from_between_plain_tags(first: str, second: str, finish: str) -> None:
    first, second = f"q6\n{first}\nq7", f"q8\n{second}\nq9"
    reply = f"Weak.\n[New Instruction]\n{first}\n[End]\n\n[New Answer]\n{second}\n[End]"
    assert instruction(reply, finish) == ParsedReply("ok", "Weak.", first, second)
    assert response(f"Weak.\n[Better Answer]\n{first}\n[End]\nDone.", finish).output == first
