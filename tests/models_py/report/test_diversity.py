"""How much texts repeat themselves."""

from models_py.report.diversity import FIRST_WORDS, distinct_n, openings


def test_openings_that_come_again_the_most_frequent_first() -> None:
    texts = [
        "Sure, here is a list.",
        "sure, here is one",
        "I think that it is",
        "I think that too",
        "I think that",
        "No.",
    ]
    assert openings(texts) == [("i think that", 3), ("sure, here is", 2)]


def test_distinct_n_is_the_share_of_different_runs_of_words() -> None:
    assert distinct_n(["a b a b"], 2) == 2 / 3
    assert distinct_n(["a b", "A b"], 1) == 0.5
    assert distinct_n(["a"], 2) is None


def test_one_huge_text_does_not_decide_distinct_n() -> None:
    texts = [f"this is text number {n} and it says {n * n}" for n in range(50)]
    huge = "again and " * 100_000
    assert distinct_n([*texts, huge], 1) == distinct_n([*texts, "again and " * (FIRST_WORDS // 2)], 1)
    assert distinct_n(["a " * FIRST_WORDS + "b c"], 3) == 1 / (FIRST_WORDS - 2)
