"""PARSER_VERSION says when replies are read differently; nobody has to remember to raise it: this test does."""

import re
from dataclasses import astuple
from itertools import product
from types import ModuleType
from typing import Any, get_args

import pytest

from models_py.content import fingerprint
from models_py.teacher import parser, reply_text
from models_py.teacher.parser import ParsedReply, Status, parse_reply
from models_py.teacher.prompt import prompt_version
from models_py.teacher.request import INSTRUCTION_REFLECTION, PHASES, RESPONSE_REFLECTION, Sampling
from tests.models_py.teacher.test_real_replies import BETTER, REWRITTEN, UNUSABLE
from tests.support.engines import second_parser

# What the corpus of then said to each parser. A line is added with a new version, and never changed.
READ_AS = {"1": "593c59d213a5fd97", "2": "c1a3aa5a2af2dc56", "3": "6ffee5de1c4c34a0"}

REMEDY = (
    "The parser reads replies differently. Raise PARSER_VERSION in models_py/teacher/parser.py and add its line here."
)

CRITIQUES = ("", "Vague.\n\n", "The `[New Answer]` will end with [End].\n", "<think>\n[End] draft\n</think>\nCurt.\r\n")
OPENINGS = ("[{}]", "[ {} ]:", "**[{}]**", "### [{}]", "2. [{}]", "({})", "see [{}]")
ENDS = ("[End]", "\n[End]", "\n**[end]**\n", "", "\n[End]\n\nI hope this helps!")
BODIES = (
    "Compare two sorts.",
    "Close it with [End] and go on.",
    "Use this:\n[New Instruction] task [End]\n[New Answer] solution [End]\nand fill it in.",
    "print(items[end])",
    "your new answer",
    "...",
    " \u200b\n",
    "one\r\ntwo\x00\ud800",
)
WHOLE = "[New Instruction] Ask. [End]\n[New Answer] Say. [End]\n[Better Answer] Say more. [End]"
LOOP = "Be kind to others. Be honest with others. " * 40
OTHERS = (
    *("", " \n\u200b", "I'm sorry, but I can't help with that.", "As an AI language model, I do not judge people."),
    *("I’m really sorry, I cannot rewrite this.", "Thank you. Unfortunately I am unable to assist with this request."),
    *(f"{WHOLE}\n\nBetter still:\n\n{WHOLE}", f"[New Instruction] is too easy.\n{WHOLE}", f"I'm sorry: weak.\n{WHOLE}"),
    *("[New Answer] B. [End]\n[New Instruction] A. [End]", "[New Instruction] A.\n[New Answer] B.", "<think>[End]"),
    *(
        "[New Instruction] A. [End]\nB.",
        "[Better Answer][End]",
        "[Better Answer] Baltic",
        "I end with [Better Answer].",
    ),
    *(
        LOOP,
        f"{LOOP} [End]",
        f"[New Instruction] Ask. [End]\n[New Answer] {LOOP} [End]",
        f"[Better Answer] {LOOP} [End]",
    ),
)
REAL = (*(case[0] for case in (*REWRITTEN.values(), *BETTER.values())), *(case[2] for case in UNUSABLE.values()))
FINISHES = ("stop", "length", "content_filter", "abort")


def corpus() -> list[str]:
    """Replies in every shape that the parser's docstring speaks of, and in some that it does not."""

    def reply(critique: str, opening: str, end: str, body: str) -> str:
        first, second, better = map(opening.format, ("New Instruction", "New Answer", "Better Answer"))
        return f"{critique}{first} Rank three. {end}\n{second} {body} {end}\n{better} {body} {end}"

    return [*(reply(*parts) for parts in product(CRITIQUES, OPENINGS, ENDS, BODIES)), *OTHERS, *REAL]


def all_read() -> list[tuple[str, tuple[str | None, ...]]]:
    replies = product(PHASES, corpus(), FINISHES)
    read = [(phase, astuple(parse_reply(phase, reply, finish))) for phase, reply, finish in replies]
    return [*read, *((phase, astuple(parse_reply(phase, WHOLE, "stop", "timeout"))) for phase in PHASES)]


def real_read() -> list[ParsedReply]:
    """What the part of the corpus says that has an example of every rule."""
    return [parse_reply(phase, reply, "stop") for phase, reply in product(PHASES, (*OTHERS, *REAL))]


def reads_as() -> str:
    return fingerprint(all_read())[:16]


def test_what_is_read_differently_has_another_version() -> None:
    assert reads_as() == READ_AS.get(parser.PARSER_VERSION), REMEDY


def test_the_corpus_has_every_status_in_both_phases() -> None:
    assert {(phase, status) for phase, (status, *_) in all_read()} == set(product(PHASES, get_args(Status)))


RULES = {
    parser: (
        *("_LINE_PREFIX", "_LOOSE_PREFIX", "_LINE_END", "_PARAGRAPH_END", "_BARE_END", "_BEGIN", "_SECTION", "_FENCE"),
        *("_QUOTE", "_LEADING_RULE", "_TRAILING_RULE", "_KEY", "_NEXT_FENCE", "_BRACKET"),
        *("_REFUSAL", "_PLACEHOLDER", "_BRACKETED", "_ELLIPSIS", "_UNWRITTEN", "_NOT_APPLICABLE", "_NO_INSTRUCTION"),
    ),
    reply_text: (
        *("_OWN_TURN", "_TURNS", "_LAST_TOKENS", "_OPEN", "_CLOSE", "_CHANNEL", "_FINAL_CHANNEL", "_BARE_CHANNEL"),
        "_WRAPPING",
    ),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in RULES.items() for name in names])
def test_a_rule_that_is_dropped_is_noticed(module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = real_read()
    monkeypatch.setattr(module, name, re.compile(r"(?!)"))
    assert real_read() != before


@pytest.mark.parametrize("name", ["_HEADINGS", "_HOLDING"])
def test_a_spelling_that_is_dropped_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = real_read()
    monkeypatch.setattr(parser, name, dict.fromkeys(PHASES, re.compile(r"(?!)")))
    assert real_read() != before


def test_one_more_closing_tag_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    second_parser(monkeypatch, closing="[Better Answer]")
    assert reads_as() not in READ_AS.values()


# ── which reflections are current ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phase", "arguments", "version"),
    [
        (INSTRUCTION_REFLECTION, ("text", Sampling(), "m", 2), "a7b1dc432c455677"),
        (RESPONSE_REFLECTION, ("text", Sampling(), "m", 2), "e3d32b280134a2b4"),
        (INSTRUCTION_REFLECTION, ("other [End]", Sampling(0.7, seed=3), "recorded:abc", 0), "c9a6367c40a0c802"),
        (RESPONSE_REFLECTION, ("other [End]", Sampling(0.7, seed=3), "recorded:abc", 0), "21173de419b239e1"),
    ],
)
def test_the_first_parser_leaves_reflections_current_and_another_does_not(
    phase: str, arguments: tuple[Any, ...], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "PARSER_VERSION", parser.FIRST_VERSION)
    assert prompt_version(phase, *arguments)[:16] == version
    versions = {version}
    for raised in ("2", "3"):
        monkeypatch.setattr(parser, "PARSER_VERSION", raised)
        versions.add(prompt_version(phase, *arguments)[:16])
    assert len(versions) == 3
