"""words: what a copy may change without becoming another text, and what makes another word."""

import string
import unicodedata
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.cleaning.words import Words, excerpts, words
from tests.support.properties import examples

# What people write in: Latin with accents, Greek, Cyrillic, Arabic, Devanagari, Hangul, Han, kana, digits, signs.
LETTERS = st.characters(min_codepoint=32, max_codepoint=0xD7A3, exclude_categories=("Cs", "Cn", "Co"))
TEXTS = st.text(LETTERS, max_size=60)


def of(text: str) -> list[str]:
    return list(words(pl.Series([text])).to_list()[0])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Hello, World!", "hello world"),
        ("HELLO   world…", "hello world"),
        ("Don’t stop", "don't stop"),
        ("dont stop", "don't stop"),
        ("It costs $1,000.50", "it costs 1000 50"),
        ("1,000,000,000 or 1.000.000", "1000000000 or 1000000"),
        ("1,2,3,4", "1 2 3 4"),
        ("at 10:30", "at 10 30"),
        ("48/2=24", "48 / 2 = 24"),
        ("12*34 − 5", "12 × 34-5"),
        ("½ × 3", "1/2*3"),
        ("well-known", "well known"),
        ("**bold** _and_ `code`", "bold and code"),
        ("naïve café", "naive cafe"),
        ("nai\u0308ve cafe\u0301", "naive cafe"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("ﬁne ﬂow", "fine flow"),
        ("STRASSE", "straße"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("zero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
        ("non\u00a0breaking\u2009space", "non breaking space"),
        ("“quoted” «so» (or) [so]", "quoted so or so"),
        ("İstanbul", "istanbul"),
        ("¿Qué?", "que"),
        ("a\r\nb\tc", "a b c"),
        ("f(x)=x²", "f x x2"),
    ],
)
def test_the_same_words(text: str, same: str) -> None:
    assert of(text) == of(same) != []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", []),
        ("?!… 🙂 — *", []),
        ("你好吗", ["你", "好", "吗"]),
        ("GPT是模型", ["gpt", "是", "模", "型"]),
        ("สวัสดี", ["ส", "ว", "ส", "ด"]),
        ("한국어 문장", [unicodedata.normalize("NFKD", word) for word in ("한국어", "문장")]),
        ("10 apples", ["10", "apples"]),
        ("def add_two(a, b):", ["def", "add", "two", "a", "b"]),
        ("3.5 and 35", ["3", "5", "and", "35"]),
        ("1 - 2+3*4/5", ["1", "minus", "2", "plus", "3", "times", "4", "by", "5"]),
        ("6^7%8=9<10>11", ["6", "power", "7", "modulo", "8", "equals", "9", "below", "10", "above", "11"]),
        ("- 5 eggs\n* 3 nuts", ["5", "eggs", "3", "nuts"]),
    ],
)
def test_words(text: str, told: list[str]) -> None:
    assert of(text) == told


def test_other_arithmetic_is_another_text() -> None:
    told = [of(text) for text in ("12*34", "12+34", "12-34", "12/34", "12 34", "1234", "1.234,5", "12.34", "0.5", "05")]
    assert told[8] == ["0", "5"] and told[7] == told[4]
    assert len({tuple(one) for one in told}) == len(told) - 1


@given(TEXTS)
@examples(300)
def test_case_form_and_signs_around_say_nothing(text: str) -> None:
    told = of(text)
    assert of(unicodedata.normalize("NFC", text)) == of(unicodedata.normalize("NFD", text)) == told
    assert of(f" \n{text}?! ") == told
    assert of(" ".join(told)) == told  # folding what is folded changes nothing


@given(st.text(string.ascii_letters + string.digits + " .,!?'’-éßΣя", max_size=60))
@examples(300)
def test_case_says_nothing(text: str) -> None:
    assert of(text.upper()) == of(text.lower()) == of(text)


@given(st.lists(TEXTS, max_size=5), st.integers(1, 6))
@examples(200)
def test_runs_are_those_of_the_words(texts: list[str], length: int) -> None:
    """Equal runs of words have equal hashes, others have others; none leads from one text into the next."""
    lists = [of(text) for text in texts]
    told = Words.of(pl.Series(texts, dtype=pl.String))
    assert np.bincount(told.text, minlength=len(texts)).tolist() == [len(one) for one in lists]
    expected = [
        (text, tuple(one[start : start + length]))
        for text, one in enumerate(lists)
        for start in range(len(one) - length + 1)
    ]
    found = [
        (int(told.text[place]), run)
        for _, places, runs in told.runs([length])
        for place, run in zip(places, runs, strict=True)
    ]
    assert [text for text, _ in found] == [text for text, _ in expected]
    by_words = {words: hash for (_, words), (_, hash) in zip(expected, found, strict=True)}
    assert len(set(by_words.values())) == len(by_words)
    assert [by_words[words] for _, words in expected] == [hash for _, hash in found]


def test_runs_of_several_lengths_come_in_one_pass() -> None:
    told = Words.of(pl.Series(["a b c d", "", "e f"]))
    assert [(length, places.tolist()) for length, places, _ in told.runs([2, 4])] == [(2, [0, 1, 2, 4]), (4, [0])]
    assert [*told.runs([])] == [*Words.of(pl.Series([], dtype=pl.String)).runs([1])] == []


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("one two", "one", "two"),
        ("One two. Three four", "one three", "two four"),
        ("Q: one\n- two\n\n3) three", "q one two 3 three", "q one two 3 three"),
        ("say “one two”, please", "say one please", "say two please"),
        ("一二。三", "一 三", "二 三"),
        ("costs 3.50, or 4", "costs", "4"),
    ],
)
def test_where_sentences_begin_and_end(text: str, begins: str, ends: str) -> None:
    told, said = Words.of(pl.Series([text])), of(text)
    assert [word for word, begin in zip(said, told.begins, strict=True) if begin] == begins.split()
    assert [word for word, end in zip(said, told.ends, strict=True) if end] == ends.split()


def test_edges_do_not_leak_into_the_next_text() -> None:
    told = Words.of(pl.Series(["one", "two three", "...", "four"]))
    assert told.begins.tolist() == [True, True, False, True]
    assert told.ends.tolist() == [True, False, True, True]
    assert all(one < other for one, other in pairwise([*dict.fromkeys(told.text.tolist())]))


def test_excerpts() -> None:
    short, long = excerpts(pl.Series("said", ["short", "x" * 400])).to_list()
    assert short == "short"
    assert long == "x" * 299 + "…"
