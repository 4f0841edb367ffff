"""Replies as judges write them, read by hand; and what holds for every reply."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models_py.evaluation.verdict import Verdict, read_verdict

WHY = "\nThe first answer names all three causes, the second only 2 of them, so it is a bit worse."


@pytest.mark.parametrize(
    "reply",
    [
        "8 7",
        "8 7" + WHY,
        "  8 7  \n\nBoth answers are good, but the second has 3 mistakes.",
        "8, 7" + WHY,
        "8,7" + WHY,
        "8/7",
        "8 - 7" + WHY,
        "8\t7",
        "8.0 7.0",
        "[8, 7]",
        "(8) (7)",
        "[[8]] [[7]]",
        "8 | 7",
        "8 & 7",
        "8 vs. 7" + WHY,
        "8 and 7",
        "**8 7**" + WHY,
        "`8 7`",
        "### 8 7",
        "$\\boxed{8}$ $\\boxed{7}$",
        "8/10 7/10" + WHY,
        "8/10, 7/10",
        "8 / 10 and 7 / 10",
        "8 out of 10, 7 out of 10",
        "8 points, 7 points",
        "Score: 8/10 and 7/10" + WHY,
        "Scores: 8 7",
        "Scores: [8, 7]",
        "**Scores:** 8, 7" + WHY,
        "My scores are as follows: 8 and 7.",
        "On a scale of 1 to 10: 8 and 7",
        "Scores (1-10): 8, 7",
        "Answer 1: 8, Answer 2: 7" + WHY,
        "Answer 1: 8\nAnswer 2: 7" + WHY,
        "Answer 1: 8/10\n\nAnswer 2: 7/10\n\nThe first ...",
        "**Answer 1:** 8\n**Answer 2:** 7",
        "- Answer 1: 8\n- Answer 2: 7",
        "Answer 2: 7, Answer 1: 8",
        "Answer 2: 7\nAnswer 1: 8",
        "Assistant A: 8; Assistant B: 7",
        "Assistant 1's score is 8 and Assistant 2's score is 7.",
        "Assistant A gets 8, Assistant B gets 7",
        "Response A - 8, Response B - 7",
        "A: 8, B: 7",
        "1: 8, 2: 7",
        "Score 1: 8\nScore 2: 7",
        "Answer #1: 8 Answer #2: 7",
        "Answer one: 8, answer two: 7",
        "First: 8, second: 7",
        "The first answer gets 8 and the second answer gets 7.",
        "8 for Answer 1 and 7 for Answer 2" + WHY,
        "8 for the first, 7 for the second",
        "Answer 1 and Answer 2: 8 and 7, respectively.",
        '{"score_1": 8, "score_2": 7}',
        '{"answer_1": 8, "answer_2": 7}',
        '{\n  "score_1": 8,\n  "score_2": 7\n}',
        '```json\n{"scores": [8, 7]}\n```',
        "```\n8 7\n```" + WHY,
        "Answer 1 | Answer 2\n---|---\n8 | 7",
        "| Answer | Score |\n|---|---|\n| 1 | 8 |\n| 2 | 7 |",
        "| Answer 1 | 8 |\n| Answer 2 | 7 |",
        "8\n7" + WHY,
        "Here are my scores:\n\n8 7" + WHY,
        "Sure! I compared both answers.\n8 7" + WHY,
        "Evaluation of answer 1 and answer 2\n8 7",
        "Answer 1 lists 3 causes and answer 2 lists 5.\n8 7",
        "Helpfulness: 9 6\nAccuracy: 7 7\nOverall: 8 7",
        "8 7 Answer 1 is more detailed than answer 2.",
        "8 7. The first answer is more detailed.",
        "8/10 7/10 - the first is better",
        "Answer 1: 8, Answer 2: 7. The first is more detailed, by far.",
        "Answers 1 and 2: 8 and 7",
        "8, 7 (the second is shorter)",
        "I would rate the answers 8 and 7, since the second leaves out the cause.",
        "I rate Answer 1 with 8 and Answer 2 with 7 because of the mistake.",
        "Overall I would give a score of 8 to Answer 1 and a score of 7 to Answer 2.",
        "Scores: eight and seven",
        "<think>Answer 1 would be a 3, answer 2 a 4 ... no.\n9 9?</think>\n8 7" + WHY,
        "I think 9 9 is too much.</think>8 7",
        "<|im_start|>assistant\n8 7<|im_end|>",
        "<answer>8 7</answer>",
        "<scores>8 7</scores>",
        "8 7\n\nAnswer 1: 10 reasons why ...\nScores: 1 1",
        "Answer 1： 8，Answer 2： 7",
        "8, 7 because the second leaves out the cause.",
        "8 and 7 since the second has 2 mistakes.",
        "8 and 7 The first names all causes.",
        "8 7 the first names all causes.\nThe score of the second falls for 2 wrong causes and 3 missing ones.",
        "8 7 The first is better.\nI would score 3 causes higher than 4 guesses.",
        "1 and 2 are both good.\nScores: 8 7",
        "1 and 2 are both good. The scores are 8 and 7.",
        "1 & 2: both are good.\n8 7",
        "2 vs 1: the first wins\n8 7",
        "[2] vs. [1]\n8 7",
        "Rating: 1 > 2\n8 7",
        "Rating: 1 > 2, 8 to 7",
        "one versus two\n8 7",
        "2 to 3 sentences were asked for; the second answer gives five.\nScores: 8 7",
        "2-3 sentences were asked for.\nI would score them 8 and 7, as the second gives five.",
        "3/4 of the second answer is wrong.\n8 7",
    ],
)
def test_eight_and_seven_in_all_the_ways_that_judges_write_it(reply: str) -> None:
    assert read_verdict(reply, "stop") == Verdict("ok", 8.0, 7.0)


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("8.5, 7", (8.5, 7.0)),
        ("8,5 7,5", (8.5, 7.5)),
        ("10 1", (10.0, 1.0)),
        ("1 10", (1.0, 10.0)),
        ("1 - 10", (1.0, 10.0)),
        ("10/10 10/10", (10.0, 10.0)),
        ("10/10, 9/10", (10.0, 9.0)),
        ("2 1", (2.0, 1.0)),
        ("1 2", (1.0, 2.0)),
        ("Both answers get 8.", (8.0, 8.0)),
        ("Both: 6/10", (6.0, 6.0)),
        ("Answer 1: 1, Answer 2: 2", (1.0, 2.0)),
        ("Answer 1: 2\nAnswer 2: 1", (2.0, 1.0)),
        ("Answer 1 = 2, Answer 2 = 1", (2.0, 1.0)),
        ("7.25 / 6.75", (7.25, 6.75)),
        ("1.0 and 2.0", (1.0, 2.0)),
        ("2/10 and 1/10", (2.0, 1.0)),
        ("2 vs 10", (2.0, 10.0)),
        ("1 and 2.5", (1.0, 2.5)),
    ],
)
def test_other_scores(reply: str, scores: tuple[float, float]) -> None:
    assert read_verdict(reply, "stop") == Verdict("ok", *scores)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "it is empty"),
        ("  \n ", "it is empty"),
        (None, "it is empty"),
        ("<think>8 7</think>", "nothing but reasoning"),
        ("<think>8 7 ...", "nothing but reasoning"),
        ("Both are good.", "no line holds two scores: 'Both are good.'"),
        ("Answer 1 is better.", "no line holds two scores"),
        ("8", "no line holds two scores"),
        ("8/10", "no line holds two scores"),
        ("8.7", "no line holds two scores"),
        ("10/10", "no line holds two scores"),
        ("8 7 9", "no line holds two scores"),
        ("Answer 2 wins 8 to 7", "no line holds two scores"),
        ("Scores of Answer 2 and Answer 1: 7 and 8", "no line holds two scores"),
        ("Answer 1 lists 3 causes and answer 2 lists 5.", "no line holds two scores"),
        ("Answer 1 gives 3 examples, Answer 2 gives 5 examples.", "no line holds two scores"),
        ("1 and 2", "no line holds two scores: '1 and 2'"),
        ("Scores: 2 vs. 1", "no line holds two scores"),
        ("2 vs 1: the second wins, 9 to 7", "no line holds two scores"),
        ("2 > 1", "no line holds two scores"),
        ("2 to 3 sentences were asked for; the first answer gives five.", "no line holds two scores"),
        ("2-3 sentences were asked for.", "no line holds two scores"),
        ("3/4 of the second answer is wrong.", "no line holds two scores"),
        ("2, 3 and 5 are primes, as both say.", "no line holds two scores"),
        ("11 7", "11 is no score from 1 to 10"),
        ("0 7", "0 is no score from 1 to 10"),
        ("-3 7", "-3 is no score from 1 to 10"),
        ("80 70", "80 and 70 is no score from 1 to 10"),
        ("85% 70%", "85 and 70 is no score"),
        ("I'm sorry, but I cannot compare these answers.", "the judge declines"),
        ("I can't help with that.", "the judge declines"),
        ("The sky is blue because of scattering.", "no line holds two scores"),
        ("In 1969 two men walked on the moon in 2 hours.", "no line holds two scores"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_no_scores(reply: str | None, reason: str) -> None:
    found = read_verdict(reply, "stop")
    assert (found.status, found.score_1, found.score_2) == ("unreadable", None, None)
    assert found.reason is not None and reason in found.reason


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("8 7\nThe first", "ok"),
        ("8 7", "unreadable"),
        ("8 7\n", "ok"),
        ("Let me see", "unreadable"),
        ("8 1", "unreadable"),
    ],
)
def test_a_reply_that_was_cut_counts_where_its_scores_are_whole(reply: str, status: str) -> None:
    assert read_verdict(reply, "length").status == status


def test_what_never_arrived_is_failed_and_what_was_filtered_is_unreadable() -> None:
    assert read_verdict(None, None, "no route to host") == Verdict("failed", reason="no route to host")
    assert read_verdict(None, "content_filter", "filtered").status == "unreadable"


SCORES = st.floats(1, 10).map(lambda score: round(score * 2) / 2)
NUMBERS = st.sampled_from(["{:g}", "{:.1f}", "{:g}/10", "**{:g}**", "[{:g}]", "`{:g}`"])
BETWEEN = st.sampled_from([" ", ", ", " - ", " | ", "; ", " and ", " vs. ", "  "])
BEFORE = st.sampled_from(["", "Scores: ", "My ratings: ", "Here is my verdict.\n", "<think>1 1</think>\n", "# "])
AFTER = st.text(st.characters(blacklist_categories=["Cs"]), max_size=80)


@given(SCORES, SCORES, st.tuples(BEFORE, NUMBERS, BETWEEN), AFTER)
def test_two_scores_on_the_first_line_are_read_whatever_follows(
    one: float, two: float, form: tuple[str, str, str], after: str
) -> None:
    before, number, between = form
    assume({one, two} != {1.0, 2.0} or between.strip(" .") not in ("and", "vs"))  # these name the answers
    explanation = "\nBecause: " + after.replace("<", "").replace("\n", " ").replace("\r", " ")
    reply = before + number.format(one) + between + number.format(two) + explanation
    assert read_verdict(reply, "stop") == Verdict("ok", one, two)


NAMES = st.sampled_from([("Answer 1", "Answer 2"), ("Assistant A", "Assistant B"), ("First", "Second")])
FORMS = st.sampled_from([": {:g}", " gets {:g}", " - {:g}/10", " = {:g}", " (score: {:g})"])
SEPARATORS = st.sampled_from([", ", "\n", "; ", " and ", "\n\n"])


@given(SCORES, SCORES, st.tuples(NAMES, FORMS, SEPARATORS), st.booleans())
def test_named_scores_are_read_in_any_order(
    one: float, two: float, how: tuple[tuple[str, str], str, str], swapped: bool
) -> None:
    names, form, between = how
    said = [names[0] + form.format(one), names[1] + form.format(two)]
    reply = between.join(said[::-1] if swapped else said) + "\n\nThe explanation follows."
    assert read_verdict(reply, "stop") == Verdict("ok", one, two)


@given(st.text(max_size=300), st.sampled_from(["stop", "length", None, "content_filter"]))
def test_any_reply_has_scores_in_range_or_a_reason(reply: str, finish_reason: str | None) -> None:
    found = read_verdict(reply, finish_reason)
    if found.status == "ok":
        assert found.score_1 is not None and found.score_2 is not None
        assert 1 <= found.score_1 <= 10 and 1 <= found.score_2 <= 10 and found.reason is None
    else:
        assert found.score_1 is None and found.score_2 is None and found.reason
