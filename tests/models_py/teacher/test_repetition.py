"""Replies that say the same over and over are found; what merely has a form is none, whole or while it is written."""

import json
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.teacher.repetition import repeats_itself
from tests.conftest import PROJECT
from tests.models_py.teacher.test_real_replies import BETTER, REWRITTEN, UNUSABLE

WORDS = [
    *("sea", "river", "mountain", "cloud", "road", "house", "table", "lamp"),
    *("winter", "summer", "morning", "garden", "stone", "bridge", "paper", "window"),
]

# What small models wrote until their limit ended it, in kinds.
LOOPS = {
    "a sentence": "The sea is a source of life for all of us. ",
    "two sentences": "Be kind to others. Be honest with others. ",
    "three words": "Be kind, always. ",
    "a list": "- Use a timer to keep track of your work\n",
    "a paragraph": (
        "To make the soup, heat the oil, add the onions and stir until they are soft. Add the stock, the lentils and "
        "a bay leaf, and let it cook for half an hour. Season it with salt and pepper and serve it hot.\n\n"
    ),
    "code": "    if value is None:\n        return default\n",
    "questions": "What is the capital of France? What is the largest sea? ",
    "Chinese": "我们应该保护环境，保护环境。",
    "German": "Das Wetter ist heute sehr schön und warm. ",
    "tags": "[New Answer] The new answer is below. [End]\n",
    "reasoning": "Wait, let me think about that again. ",
    "rows": "| Feature | Good value | Bad value |\n",
}


def times(unit: str, chars: int) -> str:
    return "".join(islice(cycle(unit), chars))


@pytest.mark.parametrize("unit", LOOPS.values(), ids=LOOPS)
def test_a_loop_is_found_where_the_limit_ended_it_and_where_it_ends_itself(unit: str) -> None:
    loop = times(unit, max(12 * len(unit), 1500))
    assert repeats_itself(loop, was_cut=True)
    assert repeats_itself(f"A good question, and here is what I think of it. {loop}", was_cut=False)


@pytest.mark.parametrize("unit", LOOPS.values(), ids=LOOPS)
def test_a_loop_is_found_behind_a_sound_beginning(unit: str) -> None:
    sound = next(iter(REWRITTEN.values()))[0] * 2
    assert repeats_itself(sound + times(unit, max(6 * len(unit), 1500)), was_cut=True)


def test_a_list_that_counts_the_same_point_is_found() -> None:
    points = "\n".join(f"{number}. Use a timer to keep track of your work." for number in range(1, 40))
    assert repeats_itself(points, was_cut=True) and repeats_itself(points, was_cut=False)


def test_paragraphs_that_come_in_turns_are_found() -> None:
    first, second, third = (f"{name} and drink enough water every day. " for name in ("Eat well", "Sleep", "Walk"))
    assert repeats_itself((first + second + first + third) * 8, was_cut=True)


@pytest.mark.parametrize("unit", ["0, ", "-", "\n", "ha ", "the ", "A", "|---", "😀", " . "])
def test_a_sequence_without_words_is_found_only_where_a_limit_cut_it_and_it_is_long(unit: str) -> None:
    assert repeats_itself("It begins so: " + times(unit, 2000), was_cut=True)
    assert not repeats_itself("It begins so: " + times(unit, 1000), was_cut=True)
    assert not repeats_itself("It begins so: " + times(unit, 5000), was_cut=False)


# ── what has a form ────────────────────────────────────────────────────────────────────────────────────────────────

_DAYS = [
    *("a partridge in a pear tree", "two turtle doves", "three french hens", "four calling birds", "five gold rings"),
    *("six geese laying", "seven swans swimming", "eight maids milking", "nine ladies dancing", "ten lords leaping"),
    *("eleven pipers piping", "twelve drummers drumming"),
]
_CHORUS = "We walk along the river and we sing the old song,\nwe sing it in the morning and we sing it all day long."
FORMS = {
    "a cumulative song": "\n\n".join(
        f"On day {day} of Christmas my true love gave to me\n" + ",\n".join(_DAYS[day - 1 :: -1])
        for day in range(1, 13)
    ),
    "a song that counts": "\n".join(
        f"{n} bottles of juice on the wall, {n} bottles of juice. Take one down, pass it around, {n - 1} bottles of "
        "juice on the wall."
        for n in range(99, 0, -1)
    ),
    "a refrain": "\n\n".join(
        f"{verse}\n\n{_CHORUS}" for verse in (" ".join(islice(cycle(WORDS[n:]), 40)) for n in range(6))
    ),
    "a table": "\n".join(
        f"| {name} {n} | yes | no | yes | open on all days |" for n in range(30) for name in WORDS[:2]
    ),
    "an empty table": "| Monday | Tuesday |\n|---|---|\n" + "|  |  |\n" * 60,
    "a table of truth": "\n".join(
        " | ".join("TF"[bit == "0"] for bit in f"{n:06b}") + " | " + "TF"[n % 3 == 0] for n in range(64)
    ),
    "multiplication": "\n".join(f"{a} times {b} is {a * b}" for a in range(1, 13) for b in range(1, 13)),
    "a matrix of zeros": "[" + ",\n ".join("[" + ", ".join(["0"] * 10) + "]" for _ in range(10)) + "]",
    "rows of data": "\n".join(f"{n},pending,low,none,unassigned,open" for n in range(60)),
    "assertions": "\n".join(f"    assert add({n}, {n + 1}) == {2 * n + 1}" for n in range(60)),
    "accessors": "\n\n".join(f"    def get_{one}(self):\n        return self._{one}" for one in WORDS),
    "JSON": json.dumps([{"id": n, "name": WORDS[n % 16], "active": True, "tags": []} for n in range(40)], indent=2),
    "HTML": "".join(f'<li class="item"><a href="/{one}">Open {one}</a></li>\n' for one in WORDS * 3),
    "SQL": "\n".join(f"insert into places (id, name, kind) values ({n}, 'place {n}', 'lake');" for n in range(40)),
    "a letter to each": "\n".join(f"- Write a thank-you note to {one} and send it by post" for one in WORDS),
    "steps": "\n".join(f"Step {n}: turn the {WORDS[n % 16]} and wait for a minute, then go on." for n in range(16)),
    "a litany": "\n".join(f"Saint {one.title()}, pray for us." for one in WORDS * 2),
    "a round, four times": "Row, row, row your boat, gently down the stream, merrily, merrily, life is but a dream.\n"
    * 4,
    "laughter": "ha " * 60,
    "DNA": "ACGT" * 300,
    "a rule": "Above\n" + "-" * 400 + "\nbelow",
    "numbers": " ".join(map(str, range(600))),
    "a dialogue": "\n".join(f"A: Do you like the {one}?\nB: Yes, I like the {one}." for one in WORDS),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_form_is_no_repetition_neither_whole_nor_while_it_is_written(text: str) -> None:
    assert not repeats_itself(text, was_cut=False)
    assert [end for end in range(100, len(text) + 100, 100) if repeats_itself(text[:end], was_cut=True)] == []


def test_no_reply_of_a_sound_teacher_is_one() -> None:
    lines = (PROJECT / "seeds" / "teacher_replies.jsonl").read_text("utf-8").splitlines()
    recorded = [json.loads(line)["reply"] for line in lines]
    real = [case[0] for case in (*REWRITTEN.values(), *BETTER.values())] + [case[2] for case in UNUSABLE.values()]
    assert [text for text in (*recorded, *real) for cut in (False, True) if repeats_itself(text, was_cut=cut)] == []


# ── properties ─────────────────────────────────────────────────────────────────────────────────────────────────────

SENTENCES = st.lists(st.sampled_from(WORDS), min_size=3, max_size=25).filter(lambda words: len({*words}) >= 3)


@given(before=st.lists(st.sampled_from(WORDS), max_size=200), unit=SENTENCES, cut=st.integers(0, 24))
def test_whatever_comes_before_a_long_loop_is_found(before: list[str], unit: list[str], cut: int) -> None:
    # Every 8 words of a loop hold 3 different ones where its unit does not say one word over and over.
    loop = unit * max(7, 150 // len(unit))
    every = [{*loop[start : start + 8]} for start in range(len(loop) - 8)]
    if all(len(words) >= 3 for words in every):
        assert repeats_itself(" ".join([*before, *loop, *unit[:cut]]), was_cut=True)


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join), max_size=40))
def test_lines_that_each_begin_with_another_number_are_none(lines: list[str]) -> None:
    text = "\n".join(f"Row {number}: {line[:40]}" for number, line in enumerate(lines))
    assert not repeats_itself(text, was_cut=False)
    assert not repeats_itself(text, was_cut=True)


@given(st.lists(st.sampled_from(WORDS), max_size=119).map(" ".join), st.booleans())
def test_a_short_text_is_never_one(text: str, was_cut: bool) -> None:
    assert not repeats_itself(text, was_cut=was_cut)


@given(st.text(max_size=3000), st.booleans())
def test_any_text_is_judged(text: str, was_cut: bool) -> None:
    assert repeats_itself(text, was_cut=was_cut) in (True, False)
