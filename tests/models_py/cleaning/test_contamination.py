"""Contamination: planted copies of evaluation items are found with their evidence, clean texts are not."""

import re
import string
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models_py.cleaning.contamination import FOUND_SCHEMA, LookedFor, copies_in_all
from models_py.cleaning.evaluation_texts import TEXTS_SCHEMA, read_evaluation_texts
from models_py.cleaning.settings import EvaluationFile
from models_py.progress import Progress
from tests.models_py.cleaning.real_texts import DATA, needs_data, pairs, rows
from tests.support.properties import examples

LONG = (
    "A baker sells 24 loaves in the morning and half as many in the afternoon. On Friday she doesn't bake, "
    "but she sells 1,200 rolls for $2.50 each. How many loaves does she sell in a week?"
)
SHORT = "What is the capital of Australia?"
TEN = "Explain the process of photosynthesis to a child in kindergarten."
CJK = "请解释为什么天空在白天是蓝色的而在日落时是红色的"


def looked_for(*texts: str, is_asked: bool = True, words: int = 13) -> LookedFor:
    """Each text a row of the evaluation `set`."""
    told = [("set", "set.jsonl", row, "question", text, is_asked, words) for row, text in enumerate(texts, start=1)]
    return LookedFor.of(pl.DataFrame(told, schema=TEXTS_SCHEMA, orient="row"))


def candidate(content_id: str = "c", **fields: str) -> dict[str, str]:
    return {
        "content_id": content_id,
        "system": "",
        "history": "[]",
        "instruction": "",
        "input": "",
        "output": "",
        **fields,
    }


def find(sought: LookedFor, *candidates: dict[str, str]) -> list[dict[str, Any]]:
    found = copies_in_all([pl.DataFrame(list(candidates))], sought)
    assert found.schema == FOUND_SCHEMA
    return found.to_dicts()


def without_signs(text: str) -> str:
    """Without those that are in no number: there they say something."""
    return re.sub(rf"[{re.escape(string.punctuation)}](?!\d)", "", text)


@pytest.mark.parametrize(
    "planted",
    [
        LONG,
        LONG.upper(),
        LONG.lower(),
        LONG.title(),
        without_signs(LONG),
        re.sub(r"[.?,](?!\d)", "!", LONG),
        LONG.replace("'", "’").replace(", ", " , "),
        LONG.replace(" ", "\n"),
        LONG.replace(" ", "\u00a0 \u200b"),
        LONG.replace("a", "ａ"),
        f"Solve this.\n\n> {LONG}\n\nThink step by step.",
        f"**Question:** {LONG} **Answer:**",
        f"before {LONG} behind",
        f"<p>{LONG}</p><br/>",
    ],
)
def test_a_long_item_is_found_whole(planted: str) -> None:
    (row,) = find(looked_for("Unasked.", LONG), candidate(instruction=planted))
    words = int(row["item_words"])
    assert words == 38
    assert row | {"shared_text": ""} == {
        "content_id": "c",
        "field": "instruction",
        "evaluation": "set",
        "file": "set.jsonl",
        "item_row": 2,
        "item_field": "question",
        "share_covered": 1.0,
        "words_covered": words,
        "item_words": words,
        "shared_text": "",
    }
    assert row["shared_text"].startswith("a baker sells 24 loaves in the morning and half")
    assert row["shared_text"].endswith("in a week")


def test_other_numbers_leave_the_rest() -> None:
    for planted, covered in ((LONG.replace("2.50", "250"), 26), (LONG.replace("1,200", "1200"), 38)):
        (row,) = find(looked_for("Unasked.", LONG), candidate(instruction=planted))
        assert (row["words_covered"], row["item_words"]) == (covered, 38)
    sums = [f"What is the exact value of 12{sign}34 when it is written in full?" for sign in "*+"]
    assert find(looked_for(sums[0]), candidate(instruction=sums[1])) == []


@pytest.mark.parametrize("changed", [*range(27)])
def test_one_word_changed_in_a_long_item(changed: int) -> None:
    said = [f"word{n}" for n in range(27)]
    planted = [*said]
    planted[changed] = "other"
    (row,) = find(looked_for(" ".join(said)), candidate(output=" ".join(planted)))
    left, right = changed, 26 - changed
    covered = (left if left >= 13 else 0) + (right if right >= 13 else 0)
    assert (row["field"], row["words_covered"], row["item_words"]) == ("output", covered, 27)
    assert row["share_covered"] == covered / 27
    longest = said[:left] if left >= right else said[changed + 1 :]
    assert row["shared_text"] == " ".join(longest)


def test_words_added_and_left_out_leave_the_rest() -> None:
    words = LONG.split()
    added = " ".join([*words[:15], "really", *words[15:]])
    left_out = " ".join([*words[:17], *words[18:]])
    shares = [find(looked_for(LONG), candidate(input=text))[0]["words_covered"] for text in (added, left_out)]
    assert shares == [38, 37]


@pytest.mark.parametrize(
    "planted",
    [
        SHORT,
        SHORT.upper(),
        "what is the capital of australia",
        "What is the capital, of Australia ...",
        f"Question: {SHORT}\nAnswer:",
        f"I was asked “{SHORT}” and said Canberra.",
        f"1. Who?\n2. {SHORT}\n",
        f"Hello. {SHORT} Thank you.",
        f"| {SHORT} |",
    ],
)
def test_a_short_item_is_found_whole(planted: str) -> None:
    (row,) = find(looked_for(SHORT), candidate(output=planted))
    assert (row["share_covered"], row["item_words"], row["shared_text"]) == (1.0, 6, "what is the capital of australia")


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Austria?",
        "What is the capital of Australia in numbers?",
        "Tell me what is the capital of Australia today.",
        "The capital of Australia is Canberra.",
        "What is the capital? Of Australia they say much.",
        "",
    ],
)
def test_what_only_holds_the_words_of_a_short_item_is_no_copy(text: str) -> None:
    assert find(looked_for(SHORT), candidate(instruction=text, output="Canberra.")) == []


def test_of_eight_words_or_more_an_item_is_found_anywhere() -> None:
    (row,) = find(looked_for(TEN), candidate(instruction=f"Please {TEN[:-1].lower()} who likes plants"))
    assert (row["words_covered"], row["share_covered"]) == (10, 1.0)
    assert find(looked_for(TEN), candidate(instruction=TEN.replace("child", "pupil"))) == []


@pytest.mark.parametrize(
    "item", ["yes", "Yes.", "The answer.", "Thank you very much", "B", "42", "a b c d e f", "?!", ""]
)
def test_what_anybody_says_matches_nothing(item: str) -> None:
    sought = looked_for(item, LONG)
    assert find(sought, candidate(instruction=item or "x", output=item)) == []
    assert sought.told() == [
        "set: 1 of 2 rows ask in too few words (fewer than 4, or 18 letters) and are not looked for"
    ]


def test_scripts_without_spaces() -> None:
    (row,) = find(looked_for(CJK), candidate(instruction=f"老师：{CJK}？"))
    assert (row["item_words"], row["share_covered"]) == (24, 1.0)
    changed = CJK[:11] + "晚" + CJK[12:]
    assert find(looked_for(CJK + CJK[::-1]), candidate(instruction=changed)) == []  # no 13 in a row
    assert find(looked_for(CJK), candidate(instruction="为什么天空是蓝色的")) == []


def test_of_an_answer_half_must_be_copied() -> None:
    sought = looked_for(LONG, is_asked=False)
    words = LONG.split()
    assert find(sought, candidate(output=" ".join(words[:14]))) == []
    (row,) = find(sought, candidate(output=" ".join(words[:20])))
    assert row["words_covered"] == 20
    assert find(looked_for(LONG), candidate(output=" ".join(words[:14])))[0]["words_covered"] == 14
    assert find(looked_for(SHORT, is_asked=False), candidate(output=SHORT)) == []


def test_a_run_of_another_length() -> None:
    part = " ".join(LONG.split()[3:12])
    assert find(looked_for(LONG), candidate(output=part)) == []
    assert find(looked_for(LONG, words=8), candidate(output=part))[0]["words_covered"] == 9


def test_what_all_items_share_is_their_form() -> None:
    form = "Answer the following multiple choice question with one of the letters A to D and say nothing else."
    items = [
        f"{form} Which of these {n} animals that live in the {n}th forest of the old king can sing at night?"
        for n in range(11)
    ]
    sought = looked_for(*items)
    assert find(sought, candidate(instruction=f"{form} What is a cat?")) == []
    assert [row["item_row"] for row in find(sought, candidate(instruction=items[4]))] == [5]
    assert sought.coverage[0].forms > 0
    assert "are taken for their form" in sought.told()[-1]
    assert find(looked_for(*items[:10]), candidate(instruction=f"{form} What is a cat?")) != []  # of ten it is content


def test_repeated_items_are_one() -> None:
    (row,) = find(looked_for(*[LONG] * 20, LONG.upper()), candidate(instruction=LONG))
    assert row["item_row"] == 1


def test_every_field_of_a_conversation() -> None:
    history = '[{"content":"Hi.","role":"user"},{"content":"' + SHORT + '","role":"assistant"}]'
    found = find(looked_for(SHORT), candidate(system=SHORT, history=history, instruction="a", input=SHORT, output="b"))
    assert [row["field"] for row in found] == ["history[1]", "input", "system"]


def test_a_question_that_goes_on_in_the_input() -> None:
    words = LONG.split()
    halves = {"instruction": " ".join(words[:18]), "input": " ".join(words[18:])}
    found = find(looked_for(LONG), candidate(**halves))
    assert [(row["field"], row["words_covered"]) for row in found] == [
        ("input", 20),
        ("instruction", 18),
        ("instruction + input", 38),
    ]
    split = candidate(instruction="What is the capital", input="of Australia?")
    assert [row["field"] for row in find(looked_for(SHORT), split)] == ["instruction + input"]
    assert [row["field"] for row in find(looked_for(SHORT), candidate(instruction="Say.", input=SHORT))] == ["input"]


def test_a_text_is_looked_at_once() -> None:
    batch = pl.DataFrame([candidate("a", output=LONG), candidate("b", output=LONG), candidate("a", output=LONG)])
    told: list[Progress] = []
    found = copies_in_all([batch, batch, batch.clear()], looked_for(LONG), total=2, on_progress=told.append)
    assert found["content_id"].to_list() == ["a", "b"]
    assert told == [Progress(2, 2, "texts")] * 3
    assert copies_in_all([], looked_for(LONG)).schema == FOUND_SCHEMA


@given(st.data())
@examples(60)
def test_what_is_told_is_there(data: st.DataObject) -> None:
    """Against the definition, word by word."""
    word = st.sampled_from("abcdef")
    item = data.draw(st.lists(word, min_size=8, max_size=30))
    text = data.draw(st.lists(word, max_size=30))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(item)), st.integers(0, len(item)))))
    text[data.draw(st.integers(0, len(text))) : 0] = item[start:end]
    length = min(len(item), 8)
    covered = set[int]()
    for place in range(len(item) - length + 1):
        run = item[place : place + length]
        if any(text[at : at + length] == run for at in range(len(text) - length + 1)):
            covered |= {*range(place, place + length)}
    found = find(looked_for(" ".join(item), words=8), candidate(output=" ".join(text)))
    assert [row["words_covered"] for row in found] == ([len(covered)] if covered else [])
    assume(found)
    assert found[0]["shared_text"] in " ".join(item)


@needs_data
@pytest.mark.slow
def test_planted_copies_among_clean_rows_of_real_data() -> None:
    """2,885 real evaluation items, 1,500 real pairs and their likes: all that is planted is found, nothing else."""
    files = [
        EvaluationFile("gsm8k", path=str(DATA / "gsm8k_sample.jsonl")),
        EvaluationFile("judge", path=str(DATA / "judge_instructions.jsonl")),
        EvaluationFile("alpaca_eval", path=str(DATA / "alpaca_eval_verdicts.jsonl")),
    ]
    sought = LookedFor.of(read_evaluation_texts(files, lambda path: path.name))
    clean = [
        *pairs("alpaca_sample.json"),
        *pairs("expert_revisions.jsonl"),
        *pairs("expert_revisions.jsonl", "revised_"),
    ]
    candidates = [
        candidate(f"clean {n}", instruction=x, input=given, output=y) for n, (x, given, y) in enumerate(clean)
    ]
    assert find(sought, *candidates) == []

    changes: dict[str, Callable[[str], str]] = {
        "verbatim": lambda text: text,
        "upper": str.upper,
        "signs": without_signs,
        "other signs": lambda text: re.sub(r"[.,;:!?](?!\d)", " - ", text),
        "one word": lambda text: " ".join(["banana" if n == 15 else word for n, word in enumerate(text.split())]),
    }
    questions = [
        (row, text) for row, (text, _, _) in enumerate(pairs("gsm8k_sample.jsonl"), 1) if len(text.split()) > 40
    ]
    planted = {
        f"{what} {row}": (row, candidate(f"{what} {row}", **{field: change(text)}))
        for row, text in questions[:200]
        for field, (what, change) in zip(["instruction", "input", "output"] * 2, changes.items(), strict=False)
    }
    found = find(sought, *candidates, *(one for _, one in planted.values()))
    assert {row["content_id"]: (row["evaluation"], row["item_row"]) for row in found} == {
        name: ("gsm8k", row) for name, (row, _) in planted.items()
    }
    assert min(row["share_covered"] for row in found) > 0.3
    short = [row["text"] for row in rows("judge_instructions.jsonl") if len(row["text"].split()) < 13]
    whole = [candidate(text, instruction="Please help.", output=f"You ask: {text.upper()}\nWell.") for text in short]
    assert {row["content_id"] for row in find(sought, *whole) if row["evaluation"] == "judge"} == set(short)
    assert len(short) > 20
