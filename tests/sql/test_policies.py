"""Policies and recipes: who is kept, who is dropped and why, and that a failed score is never a training row."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import policies
from tests.sql.story import Story, Text
from tests.support.properties import examples

FAILED = Text(ifd=None, r_ifd=None, status="not_finite")


def kept(lake: Lake, recipe: str) -> list[tuple[str, str]]:
    return lake.read(
        "select pair_id, candidate from selection.recycled_pairs where recipe = ? order by rank", [recipe]
    ).rows()


def dropped(lake: Lake, recipe: str) -> dict[str, str]:
    return dict(
        lake.read(
            "select pair_id, drop_reason from selection.pair_decisions where recipe = ? and not kept", [recipe]
        ).rows()
    )


@pytest.fixture
def four(lake: Lake) -> Story:
    """One pair with all four texts, distinct in every statistic."""
    story = Story(lake, response_reflection="all")
    story.pair(
        "p",
        Text(ifd=0.4, r_ifd=0.9, ppl=40),
        Text(ifd=0.5, r_ifd=0.8, ppl=10),
        response=Text(ifd=0.9, r_ifd=0.7, ppl=30),
        both=Text(ifd=0.6, r_ifd=0.5, ppl=20),
    )
    return story


@pytest.mark.parametrize(
    ("policy", "candidate"),
    [
        ("original", "original"),
        ("reflect_instruction", "instruction"),
        ("reflect_response", "response"),
        ("reflect_both", "both"),
        ("perplexity", "instruction"),  # lowest ppl(y | x)
        ("grape", "instruction"),  # highest mean log-likelihood of y given x
        ("longest", "original"),
        ("random_rows", "original"),
        ("ifd_only", "response"),  # highest IFD
        ("r_ifd_only", "both"),  # lowest reversed IFD
        ("paper", "both"),  # instruction by IFD, then the twin by reversed IFD
        ("paper_gated", "both"),
    ],
)
def test_each_policy_keeps_its_text(four: Story, policy: str, candidate: str) -> None:
    four.recipe("r", policy)
    assert kept(four.tell(), "r") == [("p", candidate)]


def test_random_choice_depends_on_the_seed_alone(lake: Lake) -> None:
    story = Story(lake, response_reflection="all")
    for i in range(40):
        story.pair(f"p{i:02}", Text(), Text(ifd=0.9), response=Text(), both=Text())
    story.recipe("one", "random_choice", seed=1)
    story.recipe("same", "random_choice", seed=1)
    story.recipe("other", "random_choice", seed=2)
    story.tell()
    one, same, other = (dict(kept(lake, name)) for name in ("one", "same", "other"))
    assert one == same != other
    assert len(one) == 40
    assert set(one.values()) == {"original", "instruction", "response", "both"}


def test_paper_drops_what_was_not_reflected_and_gated_what_is_not_below_one(lake: Lake) -> None:
    story = Story(lake)
    story.pair("kept", Text(ifd=0.9), Text(ifd=0.1), response=Text(ifd=0.5, r_ifd=0.5))
    story.pair("vetoed", Text(ifd=0.9, r_ifd=0.5), Text(ifd=0.1), response=Text(r_ifd=0.6))
    story.pair("misaligned", Text(ifd=0.9), Text(ifd=0.1), response=Text(ifd=1.0, r_ifd=0.5))
    story.pair("unguessable", Text(ifd=0.9, r_ifd=1.5), Text(ifd=0.1), response=Text(ifd=0.5, r_ifd=1.2))
    story.recipe("paper", "paper")
    story.recipe("gated", "paper_gated")
    story.tell()
    assert {pair for pair, _ in kept(lake, "paper")} == {"kept", "misaligned", "unguessable"}
    assert kept(lake, "gated") == [("kept", "response")]
    assert dropped(lake, "gated") == {"vetoed": "policy", "misaligned": "policy", "unguessable": "policy"}


def ten(lake: Lake) -> Story:
    story = Story(lake)
    for i in range(10):
        story.pair(
            f"p{i}", Text(ifd=(i + 1) / 10, r_ifd=0.9), Text(ifd=0.01), response=Text(ifd=(i + 1) / 10, r_ifd=0.1)
        )
    return story


def test_cuts_by_rank_are_floors_and_keep_the_highest_ifd(lake: Lake) -> None:
    story = ten(lake)
    story.recipe("top_k", "paper", top_k=3)
    story.recipe("fraction", "paper", top_fraction=0.29)  # floor(2.9) = 2
    story.recipe("exact", "paper", top_fraction=0.3)
    story.recipe("none_left", "paper", top_fraction=0.05)
    story.tell()
    assert [pair for pair, _ in kept(lake, "top_k")] == ["p9", "p8", "p7"]
    assert [pair for pair, _ in kept(lake, "fraction")] == ["p9", "p8"]
    assert len(kept(lake, "exact")) == 3
    assert kept(lake, "none_left") == []
    assert dropped(lake, "top_k")["p0"] == "below_cut"


def test_equal_scores_are_ordered_by_pair(lake: Lake) -> None:
    story = Story(lake)
    for name in ("c", "a", "b"):
        story.pair(name, Text(ifd=0.9, r_ifd=0.9), Text(ifd=0.1), response=Text(ifd=0.5, r_ifd=0.1))
    story.recipe("r", "paper", top_k=2)
    assert [pair for pair, _ in kept(story.tell(), "r")] == ["a", "b"]


def test_gates_are_strict_and_name_themselves(lake: Lake) -> None:
    story = Story(lake)
    for name, ratio in (("above", 1.1), ("equal", 1.0), ("below", 0.9)):
        text = Text(ifd=ratio, r_ifd=ratio)
        story.pair(name, Text(ifd=ratio, r_ifd=2.0), Text(ifd=0.1), response=text)
    story.recipe("ifd", "paper", ifd_below=1.0)
    story.recipe("r_ifd", "paper", r_ifd_below=1.0)
    story.tell()
    assert kept(lake, "ifd") == kept(lake, "r_ifd") == [("below", "response")]
    assert dropped(lake, "ifd") == {"above": "ifd_below", "equal": "ifd_below"}
    assert dropped(lake, "r_ifd") == {"above": "r_ifd_below", "equal": "r_ifd_below"}


def test_the_guard_keeps_the_original_where_a_rewrite_is_too_hard_or_off_topic(lake: Lake) -> None:
    story = Story(lake, response_reflection="all")
    twin = Text(ifd=0.5, r_ifd=0.1)
    for name, instruction in (
        ("good", Text(ifd=0.6, r_ifd=0.9)),
        ("too_hard", Text(ifd=1.0, r_ifd=0.5)),
        ("off_topic", Text(ifd=0.9, r_ifd=0.91)),
        ("vetoed", Text(ifd=0.4, r_ifd=0.1)),
        ("not_scored", Text(ifd=0.9, r_ifd=None)),
    ):
        story.pair(name, Text(ifd=0.5, r_ifd=0.9), instruction, response=twin, both=twin)
    story.pair("base_failed", FAILED, Text(ifd=0.9, r_ifd=0.9), response=twin, both=twin)
    story.recipe("guarded", "paper_guarded")
    story.recipe("paper", "paper")
    story.tell()
    both = {pair for pair, candidate in kept(lake, "guarded") if candidate == "both"}
    assert both == {"good", "base_failed"} and len(kept(lake, "guarded")) == 6
    assert {pair for pair, candidate in kept(lake, "paper") if candidate == "response"} == {"vetoed"}


def originals(lake: Lake) -> Story:
    """Five pairs whose orders by IFD, by length and by likelihood all differ."""
    story = Story(lake, response_reflection="all")
    ifd, tokens, ppl = (0.1, 0.2, 0.3, 0.4, 0.5), (3, 9, 1, 5, 7), (40, 50, 10, 20, 30)
    for i in range(5):
        text = Text(ifd=ifd[i], tokens=tokens[i], ppl=ppl[i])
        worse = Text(ifd=0.01, ppl=90)
        story.pair(f"p{i}", text, worse, response=worse, both=worse)
    return story


def test_a_policy_may_rank_by_something_else_than_ifd(lake: Lake) -> None:
    story = originals(lake)
    for policy in ("original", "longest", "grape"):
        story.recipe(policy, policy, top_k=3)
    story.tell()
    assert [pair for pair, _ in kept(lake, "original")] == ["p4", "p3", "p2"]
    assert [pair for pair, _ in kept(lake, "longest")] == ["p1", "p4", "p3"]
    assert [pair for pair, _ in kept(lake, "grape")] == ["p2", "p3", "p4"]
    assert dropped(lake, "longest") == {"p0": "below_cut", "p2": "below_cut"}


def test_random_rows_depend_on_the_seed_alone(lake: Lake) -> None:
    story = originals(lake)
    for name, seed in (("one", 1), ("same", 1), ("other", 3)):
        story.recipe(name, "random_rows", seed=seed, top_k=4)
    story.tell()
    one, same, other = (kept(lake, name) for name in ("one", "same", "other"))
    assert one == same != other and len(one) == len(other) == 4


def test_a_recipe_keeps_as_many_rows_as_another_as_far_as_there_are(lake: Lake) -> None:
    story = originals(lake)
    story.recipe("two", "original", top_fraction=0.4)
    story.recipe("longest_two", "longest", rows_as="two")
    story.recipe("all", "original")
    story.recipe("gated", "longest", ifd_below=0.35, rows_as="all")
    story.recipe("none", "original", ifd_below=0.05)
    story.recipe("as_none", "longest", rows_as="none")
    story.tell()
    assert [pair for pair, _ in kept(lake, "longest_two")] == ["p1", "p4"]
    assert [pair for pair, _ in kept(lake, "gated")] == ["p1", "p0", "p2"]
    assert kept(lake, "as_none") == []


def repeats(story: Story, *cluster: str) -> None:
    for place, pair_id in enumerate(cluster[1:], start=2):
        story.add("raw.near_duplicates", pair_id=pair_id, representative_id=cluster[0], place=place)


def copies(story: Story, *content_ids: str) -> None:
    for row in (1, 2):  # two items in one text are one reason
        for content_id in content_ids:
            story.add("selection.contaminated_texts", content_id=content_id, evaluation="set", item_row=row)


def test_of_near_duplicates_one_is_kept_the_first_that_is_there(lake: Lake) -> None:
    story = originals(lake)
    repeats(story, "p3", "p0", "p2")
    story.recipe("as_they_come", "original")
    story.recipe("clean", "original", drop_near_duplicates=True)
    story.recipe("gated", "original", ifd_below=0.35, drop_near_duplicates=True)
    story.tell()
    assert dropped(lake, "as_they_come") == {}
    assert dropped(lake, "clean") == {"p0": "near_duplicate", "p2": "near_duplicate"}
    # The representative is above the gate, so the next of the cluster stays.
    assert dropped(lake, "gated") == {"p3": "ifd_below", "p4": "ifd_below", "p2": "near_duplicate"}
    assert [pair for pair, _ in kept(lake, "gated")] == ["p1", "p0"]


def test_cuts_count_what_the_gates_leave(lake: Lake) -> None:
    story = originals(lake)
    repeats(story, "p3", "p4")
    copies(story, "p1")
    gates = {"drop_near_duplicates": True, "drop_contaminated": True}
    story.recipe("clean", "original", top_fraction=0.7, **gates)
    story.recipe("as_many", "longest", rows_as="clean")
    story.tell()
    assert dropped(lake, "clean") == {"p1": "contaminated", "p4": "near_duplicate", "p0": "below_cut"}
    assert len(kept(lake, "as_many")) == len(kept(lake, "clean")) == 2
    summary = lake.read(
        "select dropped, dropped_contaminated, dropped_near_duplicate from selection.selection_summary order by recipe"
    ).rows()
    assert summary == [(3, 0, 0), (3, 1, 1)]


def test_copies_of_evaluation_texts_are_dropped_with_what_was_made_of_them(lake: Lake) -> None:
    story = ten(lake)
    copies(story, "p0", "p1-response", "p2-instruction", "gone")
    story.recipe("as_it_comes", "paper")
    story.recipe("clean", "paper", drop_contaminated=True)
    story.recipe("mixed", "paper", drop_contaminated=True, mix=0.9)
    story.tell()
    assert dropped(lake, "as_it_comes") == {}
    assert dropped(lake, "clean") == dropped(lake, "mixed")
    assert dropped(lake, "clean") == {"p0": "contaminated", "p1": "contaminated"}  # what p2 has a copy in is not kept


def test_the_ratio_of_mean_losses_stands_beside_that_of_perplexities(lake: Lake) -> None:
    story = Story(lake)
    story.pair("p", Text(ifd=0.5, ppl=math.e**3, tokens=4))
    story.recipe("r", "original")
    row = story.tell().read("select ifd, ifd_loss, answer_tokens from selection.candidate_scores").row(0)
    assert row == (pytest.approx(0.5), pytest.approx(3 / (3 - math.log(0.5))), 4)


def test_mix_puts_a_share_of_originals_back_and_keeps_the_size(lake: Lake) -> None:
    story = ten(lake)
    story.recipe("mixed", "paper", mix=0.35, seed=7)
    story.recipe("pure", "paper")
    story.tell()
    candidates = [candidate for _, candidate in kept(lake, "mixed")]
    assert len(candidates) == 10
    assert candidates.count("original") == 3  # floor(3.5)
    assert [pair for pair, _ in kept(lake, "mixed")] == [pair for pair, _ in kept(lake, "pure")]


def test_every_policy_refuses_every_failed_score(lake: Lake) -> None:
    story = Story(lake, response_reflection="all")
    story.pair("all_failed", FAILED, FAILED, response=FAILED, both=FAILED)
    story.pair("sound", Text(ifd=0.5), Text(ifd=0.6), response=Text(r_ifd=0.2), both=Text(r_ifd=0.2))
    for policy in policies():
        story.recipe(policy, policy)
    story.tell()
    for policy in policies():
        assert [pair for pair, _ in kept(lake, policy)] == ["sound"], policy
        assert dropped(lake, policy) == {"all_failed": "not_scored"}


def test_the_summary_counts_outcomes_and_vetoes(lake: Lake) -> None:
    story = Story(lake)
    story.pair("a", Text(ifd=0.9, r_ifd=0.9), Text(ifd=0.1), response=Text(r_ifd=0.1))
    story.pair("b", Text(ifd=0.1), Text(ifd=0.9, r_ifd=0.9), both=Text(r_ifd=0.1))
    story.pair("c", Text(ifd=0.1), Text(ifd=0.9, r_ifd=0.1), both=Text(r_ifd=0.9))
    story.recipe("paper", "paper")
    row = story.tell().read("select * from selection.selection_summary").row(0, named=True)
    assert (row["pairs"], row["kept"], row["dropped"]) == (3, 2, 1)
    assert [row[f"kept_{text}"] for text in ("original", "instruction", "response", "both")] == [0, 0, 1, 1]
    assert (row["instruction_vetoed"], row["response_vetoed"], row["kept_share"]) == (1, 1, 0.6667)
    assert row["answer_chars_after"] > row["answer_chars_before"] == 3.0


texts = st.one_of(
    st.builds(Text, ifd=st.sampled_from([0.2, 0.5, 0.5, 1.0, 1.5]), r_ifd=st.sampled_from([0.2, 0.5, 0.5, 1.0, 1.5])),
    st.just(FAILED),
)
rewrites = st.one_of(texts, st.sampled_from(["truncated", "refused", "failed"]))


@pytest.mark.slow
@given(
    pairs=st.lists(st.tuples(texts, rewrites, rewrites, rewrites), min_size=1, max_size=12),
    mix=st.sampled_from([0, 0.5]),
)
@examples(8)
def test_pairs_are_conserved_and_only_sound_texts_are_kept(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[Any, ...]], mix: float
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    story = Story(lake, response_reflection="all")
    for i, (original, instruction, response, both) in enumerate(pairs):
        twin = both if isinstance(instruction, Text) else None
        story.pair(f"p{i}", original, instruction, response=response, both=twin)
    for policy in policies():
        story.recipe(policy, policy, mix=mix, top_fraction=0.7)
    story.tell()
    counts = lake.read(
        "select recipe, count(*), count(distinct pair_id), count(*) filter (where not kept and drop_reason is null) "
        "from selection.pair_decisions group by 1"
    ).rows()
    assert {row[1:] for row in counts} == {(len(pairs), len(pairs), 0)}
    unsound = lake.scalar(
        "select count(*) from selection.recycled_pairs r left join selection.candidate_scores s "
        "on s.pair_id = r.pair_id and s.candidate = r.candidate where s.status is distinct from 'ok' or r.ifd is null"
    )
    assert unsound == 0
