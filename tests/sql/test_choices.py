"""The two choices: every outcome, ties, NULLs, failures, and what is not there yet."""

from datetime import datetime

import pytest

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from tests.sql.story import Story, Text, refresh

FAILED = Text(ifd=None, r_ifd=None, status="not_finite")


def first(lake: Lake) -> dict[str, tuple[str | None, str]]:
    rows = lake.read("select pair_id, choice, reason from selection.instruction_choices order by pair_id").rows()
    return {pair: (choice, reason) for pair, choice, reason in rows}


def second(lake: Lake) -> dict[str, tuple[str | None, str]]:
    rows = lake.read("select pair_id, choice, reason from selection.response_choices order by pair_id").rows()
    return {pair: (choice, reason) for pair, choice, reason in rows}


@pytest.fixture
def story(lake: Lake) -> Story:
    story = Story(lake)
    story.recipe("paper", "paper")
    return story


def test_the_instruction_with_the_higher_ifd_wins(story: Story) -> None:
    story.pair("wins", Text(ifd=0.5), Text(ifd=0.7))
    story.pair("vetoed", Text(ifd=0.7), Text(ifd=0.5))
    story.pair("tie", Text(ifd=0.6), Text(ifd=0.6))
    assert first(story.tell()) == {
        "tie": ("original", "tie"),
        "vetoed": ("original", "rewrite_vetoed"),
        "wins": ("instruction", "rewrite_wins"),
    }


def test_a_score_that_is_null_wins_nothing(story: Story) -> None:
    story.pair("neither", FAILED, FAILED)
    story.pair("only_original", Text(ifd=0.1), FAILED)
    story.pair("only_rewrite", FAILED, Text(ifd=0.1))
    story.pair("no_rewrite", Text(ifd=0.1), "truncated")
    story.pair("nothing", FAILED, "refused")
    assert first(story.tell()) == {
        "neither": (None, "not_scored"),
        "no_rewrite": ("original", "no_rewrite"),
        "nothing": (None, "not_scored"),
        "only_original": ("original", "rewrite_not_scored"),
        "only_rewrite": ("instruction", "base_not_scored"),
    }


def test_a_guarded_first_choice_asks_more_of_a_rewrite_that_wins(lake: Lake) -> None:
    story = Story(lake, first_choice="guarded")
    story.recipe("paper", "paper")
    original = Text(ifd=0.5, r_ifd=0.6)
    story.pair("as_good", original, Text(ifd=0.7, r_ifd=0.6))
    story.pair("too_hard", original, Text(ifd=1.0, r_ifd=0.1))
    story.pair("off_topic", original, Text(ifd=0.7, r_ifd=0.61))
    story.pair("vetoed", original, Text(ifd=0.4, r_ifd=0.9))
    story.pair("unknown", original, Text(ifd=0.7, r_ifd=None))
    story.pair("unscored", original, Text(ifd=0.7, r_ifd=0.1))
    story.rows["scoring.guard_scores"] = [
        row for row in story.rows["scoring.guard_scores"] if row["content_id"] != "unscored-instruction"
    ]
    assert first(story.tell()) == {
        "as_good": ("instruction", "rewrite_wins"),
        "off_topic": ("original", "rewrite_off_topic"),
        "too_hard": ("original", "rewrite_too_hard"),
        "unknown": ("original", "guard_not_scored"),
        "unscored": (None, "awaiting_scores"),
        "vetoed": ("original", "rewrite_vetoed"),
    }
    row = lake.read("select instruction_vetoed from selection.selection_summary").row(0)
    assert row == (3,)


def test_the_guard_asks_for_the_first_phases_texts_and_nobody_scores_them_twice(lake: Lake) -> None:
    story = Story(lake, first_choice="guarded")
    story.recipe("paper", "paper")
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7))
    story.rows["scoring.response_scores"] = []
    guard = story.rows["scoring.guard_scores"].pop()
    story.tell()
    wanted = lake.read(load_pending("scoring.guard_scores").sql)
    assert wanted.select("content_id", "answer_terms", "instruction_terms").rows() == [("p-instruction", False, True)]
    lake.append({"scoring.guard_scores": [guard]}, Commit("the guard's"))
    refresh(lake)
    assert lake.read(load_pending("scoring.guard_scores").sql).is_empty()
    assert lake.read(load_pending("scoring.response_scores").sql).is_empty()


def test_who_has_no_guard_asks_for_nothing_more(story: Story) -> None:
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7, r_ifd=0.99))
    lake = story.tell()
    assert lake.read(load_pending("scoring.guard_scores").sql).is_empty()
    assert first(lake) == {"p": ("instruction", "rewrite_wins")}


def test_what_is_still_missing_is_no_choice(story: Story) -> None:
    story.pair("unreflected", Text(), None)
    story.pair("unscored", Text(), Text())
    story.rows["scoring.instruction_scores"] = [
        row for row in story.rows["scoring.instruction_scores"] if row["content_id"] != "unscored-instruction"
    ]
    assert first(story.tell()) == {
        "unreflected": (None, "awaiting_reflection"),
        "unscored": (None, "awaiting_scores"),
    }


def test_the_answer_with_the_lower_reversed_ifd_wins_on_either_base(story: Story) -> None:
    story.pair("response", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=Text(r_ifd=0.7))
    story.pair("original", Text(ifd=0.9, r_ifd=0.7), Text(ifd=0.1), response=Text(r_ifd=0.8))
    story.pair("both", Text(ifd=0.1), Text(ifd=0.9, r_ifd=0.8), both=Text(r_ifd=0.7))
    story.pair("instruction", Text(ifd=0.1), Text(ifd=0.9, r_ifd=0.7), both=Text(r_ifd=0.8))
    story.pair("tie", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=Text(r_ifd=0.8))
    assert second(story.tell()) == {
        "both": ("both", "rewrite_wins"),
        "instruction": ("instruction", "rewrite_vetoed"),
        "original": ("original", "rewrite_vetoed"),
        "response": ("response", "rewrite_wins"),
        "tie": ("original", "tie"),
    }


def test_a_failed_second_score_keeps_or_replaces_the_base_but_is_never_compared(story: Story) -> None:
    story.pair("base_failed", Text(ifd=0.9, r_ifd=None), Text(ifd=0.1), response=Text(r_ifd=0.9))
    story.pair("twin_failed", Text(ifd=0.9, r_ifd=0.9), Text(ifd=0.1), response=FAILED)
    story.pair("twin_refused", Text(ifd=0.9, r_ifd=0.9), Text(ifd=0.1), response="refused")
    story.pair("no_base", FAILED, "refused", response=Text())
    for row in story.rows["scoring.response_scores"]:
        if row["content_id"] == "base_failed":
            row |= {"status": "prompt_too_long", "reason": "told"}
    assert second(story.tell()) == {
        "base_failed": ("response", "base_not_scored"),
        "no_base": (None, "not_scored"),
        "twin_failed": ("original", "rewrite_not_scored"),
        "twin_refused": ("original", "no_rewrite"),
    }


def test_a_rewrite_that_wins_is_chosen_when_its_ifd_is_known_and_sound(story: Story) -> None:
    story.pair("awaits", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=Text(r_ifd=0.7))
    story.pair("failed", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=Text(r_ifd=0.7))
    story.pair("needless", Text(ifd=0.9, r_ifd=0.7), Text(ifd=0.1), response=Text(r_ifd=0.8))
    chosen = {row["content_id"]: row for row in story.rows["scoring.chosen_scores"]}
    chosen["failed-response"] |= {"answer_nll": None, "status": "out_of_memory", "reason": "told"}
    story.rows["scoring.chosen_scores"] = [chosen["failed-response"]]
    assert second(story.tell()) == {
        "awaits": (None, "awaiting_scores"),
        "failed": ("original", "rewrite_not_scored"),
        "needless": ("original", "rewrite_vetoed"),
    }


@pytest.mark.parametrize(
    ("response_reflection", "wanted"),
    [("selected", ["base_failed-response", "wins-response"]), ("all", ["base_failed-response", "vetoed-response"])],
)
def test_the_ifd_of_a_rewritten_answer_is_wanted_when_it_wins(
    lake: Lake, response_reflection: str, wanted: list[str]
) -> None:
    """With `all`, `vetoed` is wanted too; what is scored already is not."""
    story = Story(lake, response_reflection=response_reflection)
    story.recipe("paper", "paper")
    story.pair("wins", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=Text(r_ifd=0.7))
    story.pair("vetoed", Text(ifd=0.9, r_ifd=0.7), Text(ifd=0.1), response=Text(r_ifd=0.8))
    story.pair("tie", Text(ifd=0.9, r_ifd=0.7), Text(ifd=0.1), response=Text(r_ifd=0.7))
    story.pair("failed", Text(ifd=0.9, r_ifd=0.8), Text(ifd=0.1), response=FAILED)
    story.pair("base_failed", Text(ifd=0.9, r_ifd=None), Text(ifd=0.1), response=Text(r_ifd=0.9))
    known = {"tie-response", "failed-response"} | ({"wins-response"} if response_reflection == "all" else set())
    scored = story.rows["scoring.chosen_scores"]
    story.rows["scoring.chosen_scores"] = [row for row in scored if row["content_id"] in known]
    pending = story.tell().read(load_pending("scoring.chosen_scores").sql)
    assert pending["content_id"].to_list() == wanted
    assert set(pending.select("answer_terms", "instruction_terms").rows()) == {(True, False)}


def test_the_ratios_are_those_of_the_terms(story: Story) -> None:
    story.pair("p", Text(ifd=0.5, r_ifd=0.25), Text(ifd=0.125), response=Text(ifd=0.75, r_ifd=0.2))
    lake = story.tell()
    row = lake.read("select r_ifd_base, r_ifd_reflected, ifd from selection.response_choices").row(0)
    assert row == pytest.approx((0.25, 0.2, 0.75), rel=1e-12)
    scores = lake.read(
        "select ppl_answer, ppl_answer_given_instruction, ifd from selection.candidate_scores "
        "where candidate = 'original'"
    ).row(0)
    assert scores == pytest.approx((296.8263182051532, 148.4131591025766, 0.5), rel=1e-12)


def test_replies_to_an_old_prompt_do_not_count(story: Story) -> None:
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7))
    for row in story.rows["reflection.instruction_reflections"]:
        row["prompt_version"] = "v0"
    assert first(story.tell()) == {"p": (None, "awaiting_reflection")}


def test_scores_of_another_student_do_not_count(story: Story) -> None:
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7))
    for row in story.rows["scoring.instruction_scores"]:
        row["student_fingerprint"] = "fp-older"
    assert first(story.tell()) == {"p": (None, "awaiting_scores")}


@pytest.mark.parametrize("failed_on", [datetime(2026, 1, 1), datetime(2026, 1, 3)], ids=["before", "clock_set_back"])
def test_a_reply_after_a_failure_replaces_it_whatever_the_clock_says(story: Story, failed_on: datetime) -> None:
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7), both=Text())
    for phase in ("instruction", "response"):
        (ok,) = story.rows[f"reflection.{phase}_reflections"]
        ok["created_at"] = datetime(2026, 1, 2)
        nothing = {"status": "failed", "content_id": None, "instruction": None, "output": None}
        failed = {**ok, **nothing, "created_at": failed_on}
        story.add(f"reflection.{phase}_reflections", **{name: failed[name] for name in ok})
    lake = story.tell()
    assert first(lake) == {"p": ("instruction", "rewrite_wins")}
    for phase in ("instruction", "response"):
        current = lake.read(f"select status, content_id is not null from selection.current_{phase}_reflections")
        assert current.rows() == [("ok", True)]
        assert lake.read(load_pending(f"reflection.{phase}_reflections").sql).is_empty()


def test_of_two_outcomes_the_one_committed_last_counts_under_a_clock_set_back(story: Story) -> None:
    story.pair("p", Text(ifd=0.5), Text(ifd=0.7), both=Text())
    later = {}
    for phase in ("instruction", "response"):
        table = f"reflection.{phase}_reflections"
        (ok,) = story.rows[table]
        later[table] = [{**ok, "critique": "the later", "created_at": datetime(2026, 1, 1)}]
        ok |= {"status": "missing_tag", "content_id": None, "created_at": datetime(2036, 1, 1)}
    lake = story.tell()
    lake.append(later, Commit("ten years before"))
    for phase in ("instruction", "response"):
        current = lake.read(f"select status, critique from selection.current_{phase}_reflections")
        assert current.rows() == [("ok", "the later")]


def test_selected_mode_asks_only_for_the_chosen_base(story: Story) -> None:
    story.pair("p", Text(ifd=0.9), Text(ifd=0.1), response=Text(), both=Text())
    candidates = story.tell().read("select candidate from selection.response_candidates order by 1")["candidate"]
    assert candidates.to_list() == ["original", "response"]


def test_all_mode_offers_both_bases_and_both_twins(lake: Lake) -> None:
    story = Story(lake, response_reflection="all")
    story.recipe("paper", "paper")
    story.pair("p", Text(ifd=0.9), Text(ifd=0.1), response=Text(), both=Text())
    candidates = story.tell().read("select candidate from selection.response_candidates order by 1")["candidate"]
    assert candidates.to_list() == ["both", "instruction", "original", "response"]
