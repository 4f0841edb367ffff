"""Near duplicates: small edits are found, other texts are not, and what is told of them is what is there."""

import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.cleaning.near_duplicates import FOUND_SCHEMA, band_rows, near_duplicates
from models_py.cleaning.settings import NearDuplicates
from models_py.cleaning.words import words
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from tests.models_py.cleaning.real_texts import needs_data, pairs
from tests.support.properties import examples

FOX = "The quick brown fox jumps over the lazy dog and runs away into the dark wood behind the old mill."
HEN = "A hen that lays no eggs is kept for her company, says the farmer, and for the noise she makes at noon."


def find(
    texts: Sequence[str], threshold: float = 0.8, batch: int = 3, on_progress: OnProgress = silent
) -> pl.DataFrame:
    """`t0`, `t1`, ... in batches."""
    numbered = [(n, f"t{n}", text) for n, text in enumerate(texts)]
    frame = pl.DataFrame(numbered, schema={"place": pl.Int64, "pair_id": pl.String, "text": pl.String}, orient="row")
    shuffled = frame.sample(fraction=1, shuffle=True, seed=3)  # the order in which they come says nothing
    with tempfile.TemporaryDirectory() as folder:
        settings, texts_again = NearDuplicates(threshold), lambda: shuffled.iter_slices(batch)
        return near_duplicates(texts_again, settings, Path(folder), total=len(texts), on_progress=on_progress)


def shingles(text: str) -> set[tuple[str, ...]]:
    said = words(pl.Series([text])).to_list()[0]
    return {tuple(said[start : start + 3]) for start in range(max(1, len(said) - 2))} if said else set()


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


@pytest.mark.parametrize(
    "edited",
    [
        FOX.upper(),
        FOX.replace(" ", "  \n"),
        FOX.replace(".", "!"),
        FOX.removesuffix("."),
        f"“{FOX}”",
        FOX.replace("The", "Ｔｈｅ"),
        f"{FOX} Really.",
        FOX.replace("mill", "barn"),
        FOX.replace("The quick", "Quick"),
    ],
)
def test_a_small_edit_is_a_near_duplicate(edited: str) -> None:
    found = find([HEN, FOX, edited, "Something else."])
    assert found.schema == FOUND_SCHEMA
    (row,) = found.iter_rows(named=True)
    assert (row["pair_id"], row["representative_id"], row["linked_to"]) == ("t2", "t1", "t1")
    assert (row["place"], row["cluster_size"]) == (2, 2)
    assert row["similarity"] == row["similarity_to_representative"] == jaccard(FOX, edited) >= 0.8
    assert row["shared_shingles"] / row["all_shingles"] == row["similarity"]
    assert row["shared_text"] in " ".join(words(pl.Series([FOX])).to_list()[0])
    assert len(row["shared_text"].split()) >= 13


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [FOX],
        [FOX, HEN],
        ["What is the capital of France?\nParis.", "What is the capital of Spain?\nMadrid."],
        ["Compute 5 + 3.\n8", "Compute 5 - 3.\n2"],
        ["", "", " ", "?!", "🙂", "🙂"],  # without a word there is nothing to compare
        [FOX, FOX.split(" and ", maxsplit=1)[0]],
        ["yes", "no", "maybe", "yes no"],
    ],
)
def test_other_texts_are_not(texts: list[str]) -> None:
    assert find(texts).height == 0
    assert find(texts).schema == FOUND_SCHEMA


def test_short_texts_are_compared_as_a_whole() -> None:
    assert find(["Yes!", "no", "yes", "Thank you.", "thank you"]).select(
        "pair_id", "linked_to", "shared_text"
    ).rows() == [
        ("t2", "t0", "yes"),
        ("t4", "t3", "thank you"),
    ]


def test_a_chain_is_one_cluster_and_tells_its_links() -> None:
    """t0 is like t1 and t1 like t2, but t0 is not like t2."""
    said = [f"w{n}" for n in range(60)]
    chain = [" ".join([*said[shift : shift + 40]]) for shift in (0, 4, 8)]
    assert jaccard(chain[0], chain[1]) == jaccard(chain[1], chain[2]) == 34 / 42
    found = find([HEN, *chain]).select(
        "pair_id", "representative_id", "place", "cluster_size", "linked_to", "similarity"
    )
    assert found.rows() == [("t2", "t1", 2, 3, "t1", 34 / 42), ("t3", "t1", 3, 3, "t2", 34 / 42)]
    assert find([HEN, *chain])["similarity_to_representative"].to_list() == [34 / 42, 30 / 46]


def test_the_first_in_order_represents() -> None:
    texts = [FOX.upper(), HEN, FOX, f"{FOX}!"]
    assert find(texts)["representative_id"].to_list() == ["t0", "t0"]
    assert find(texts[::-1]).select("pair_id", "representative_id").rows() == [("t1", "t0"), ("t3", "t0")]


def test_many_repetitions_of_one_text_cost_no_comparison_of_all_with_all() -> None:
    texts = [f"{FOX} It is {n}." for n in range(3000)]
    found = find(texts, batch=1000)
    assert found.height == 2999
    assert set(found["representative_id"]) == {"t0"} == set(found["linked_to"])


def test_how_far_it_is_is_told_of_the_texts_and_then_of_their_pairs() -> None:
    told: list[Progress] = []
    find([HEN, FOX, f"{FOX} Really.", "Something else."], on_progress=told.append)
    assert told == [Progress(3, 4, "texts"), Progress(4, 4, "texts"), Progress(0, 1, "pairs of texts compared")]


def test_long_shared_texts_are_cut() -> None:
    (shared,) = find([FOX * 20, FOX * 20 + "!"])["shared_text"]
    assert len(shared) == 300
    assert shared.endswith("…")


@pytest.mark.parametrize("threshold", [0.49, 1.01, -1, 0])
def test_thresholds_that_ask_for_nothing(threshold: float) -> None:
    with pytest.raises(UserError, match=r"threshold: .* use 0\.5 to 1"):
        NearDuplicates(threshold)


@given(st.floats(0.5, 1))
@examples(100)
def test_bands_miss_one_in_a_thousand_at_most(threshold: float) -> None:
    rows = band_rows(threshold)
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.999


@given(st.data())
@examples(25)
def test_the_same_in_any_batches_and_as_counted(data: st.DataObject) -> None:
    """Against the definition: all with all, linked where Jaccard is high enough."""
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    vocabulary = [f"w{n}" for n in range(30)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(0, 25))) for _ in range(6)]
    for _ in range(data.draw(st.integers(0, 6))):
        said = rng.choice(texts).split()
        said[rng.randrange(len(said) + 1) : 0] = [rng.choice(vocabulary)]
        texts.append(" ".join(said))
    found = find(texts)
    assert find(texts, batch=100).equals(found)
    assert dict(found.select("pair_id", "representative_id").iter_rows()) == counted(texts, 0.8)
    for pair_id, linked, similarity in found.select("pair_id", "linked_to", "similarity").iter_rows():
        assert similarity == jaccard(texts[int(pair_id[1:])], texts[int(linked[1:])]) >= 0.8


def counted(texts: Sequence[str], threshold: float) -> dict[str, str]:
    """Repetition -> representative, by comparing every two texts that share a shingle."""
    sets = [shingles(text) for text in texts]
    holders = defaultdict(list)
    for place, of_text in enumerate(sets):
        for shingle in of_text:
            holders[shingle].append(place)
    root = [*range(len(texts))]

    def find_root(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    for one, other in sorted({(a, b) for held in holders.values() for a, b in two_of(held)}):
        if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other]):
            first, second = sorted((find_root(one), find_root(other)))
            root[second] = first
    return {f"t{n}": f"t{find_root(n)}" for n in range(len(texts)) if find_root(n) != n}


def two_of(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((one, other) for one in places for other in places if one < other)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_real_texts_and_their_revisions(threshold: float) -> None:
    """2,800 real pairs, many of them revisions of others: what comparing all with all finds, and nothing else."""
    texts = [
        "\n".join(pair)
        for pair in (
            *pairs("alpaca_sample.json")[:300],
            *pairs("expert_revisions.jsonl"),
            *pairs("expert_revisions.jsonl", "revised_"),
            *pairs("gsm8k_sample.jsonl")[:200],
        )
    ]
    found = find(texts, threshold, batch=1000)
    assert dict(found.select("pair_id", "representative_id").iter_rows()) == counted(texts, threshold)
    assert found.height > 50
