"""How much texts repeat themselves."""

from models_py.report.diversity import distinct_n, openings


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
