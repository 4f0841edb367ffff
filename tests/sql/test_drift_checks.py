"""The method's known failures, each planted in a lake of 24 pairs that passes every check, and named by one."""

import shutil
from pathlib import Path

import pytest

from dagster_project.checks import claims, evaluate
from dagster_project.lakehouse.lake import Lake
from tests.sql.story import Story, Text
from tests.support.frozen import change, freeze

RECIPES = ["paper", "every"]
CLAIMS = {claim.name: claim for claim in claims(RECIPES) if claim.severity == "warn"}
WORDS = "array_to_string(list_transform(range({count}), i -> md5(concat(pair_id, '{which}', i))[:5]), ' ') || '.'"
ANSWERS = "update reflection.response_reflections set output = "


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift") / "lake"
    story = Story(Lake(folder))
    story.recipe("paper", "paper")
    story.recipe("every", "reflect_both")
    for number in range(24):
        vetoed = number >= 22
        original = Text(ifd=0.6 if vetoed else 0.4, r_ifd=0.9)
        second = {"response" if vetoed else "both": Text(ifd=0.55, r_ifd=0.95 if vetoed else 0.3)}
        story.pair(f"p{number:02}", original, Text(ifd=0.5, r_ifd=0.9), **second)
    lake = story.tell()
    change(
        lake,
        f"update raw.raw_pairs set source = 's', category = if(pair_id < 'p12', 'a', 'b'), "
        f"output = {WORDS.format(count=30, which='original')}",
        f"{ANSWERS}{WORDS.format(count=40, which='better')}",
    )
    return folder


@pytest.fixture
def lake(sound_folder: Path, tmp_path: Path) -> Lake:
    shutil.copytree(sound_folder, tmp_path / "lake")
    return Lake(tmp_path / "lake")


def violations(lake: Lake) -> dict[str, list[dict[str, object]]]:
    with lake.recalling() as recall:
        found = {name: recall(claim.sql, claim.params).rows.to_dicts() for name, claim in CLAIMS.items()}
    return {name: rows for name, rows in found.items() if rows}


def test_the_lake_passes_before_anything_is_planted(lake: Lake) -> None:
    assert violations(lake) == {}


# What is planted, the check that finds it, and what it says of the first offender.
PLANTED: dict[str, tuple[list[str], str, dict[str, object]]] = {
    "a manner of opening": (
        [f"{ANSWERS}concat('Certainly! Here is the ', output) where pair_id < 'p07'"],
        "rewrites_open_in_many_ways",
        {"recipe": "every", "opening": "certainly! here is the", "answers": 7},
    ),
    "the same said of everything": (
        [f"{ANSWERS}concat(pair_id, ' is ', repeat('what one may well expect of such a thing ', 4))"],
        "rewrites_differ_from_each_other",
        {"recipe": "paper", "row_count": 22},
    ),
    "answers six times as long": (
        [f"{ANSWERS}{WORDS.format(count=200, which='longer')}"],
        "answers_do_not_outgrow_their_originals",
        {"recipe": "paper", "rewritten_answers": 22},
    ),
    "a category that is lost": (
        ["update profile.recipes set top_k = 5"],
        "categories_and_sources_are_kept",
        {"recipe": "paper", "trait": "category", "value": "b", "pairs": 12},
    ),
    "a student that takes everything": (
        ["delete from raw.raw_pairs where pair_id >= 'p22'"],
        "students_neither_take_nor_veto_everything",
        {"teacher": "gpt", "student": "toy", "phase": "response", "rewrites": 22, "taken_share": 1.0},
    ),
    "an answer off topic": (
        ["update scoring.response_scores set instruction_nll_given_answer = 5.5 where content_id = 'p03-both'"],
        "kept_rewrites_are_on_topic_and_whole",
        {"recipe": "every", "pair_id": "p03", "looks": "off topic"},
    ),
    "an answer that breaks off": (
        [f"{ANSWERS}'It is because the' where pair_id = 'p04'"],
        "kept_rewrites_are_on_topic_and_whole",
        {"recipe": "paper", "pair_id": "p04", "candidate": "both", "looks": "cut"},
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_named(lake: Lake, what: str) -> None:
    planted, name, offender = PLANTED[what]
    change(lake, *planted)
    rows = violations(lake).get(name, [])
    assert any(offender.items() <= row.items() for row in rows), (name, rows[:3])


def test_a_shift_is_told_against_the_set_that_was_frozen_before(lake: Lake) -> None:
    first = freeze(lake)
    assert violations(lake) == {}
    change(lake, "update scoring.chosen_scores set answer_nll = answer_nll - ln(1.5) where content_id like '%-both'")

    def told() -> list[tuple[object, ...]]:
        rows = violations(lake).get("statistics_did_not_shift", [])
        texts = [(row["recipe"], row["version_before"]) for row in rows]
        figures = [(round(float(str(row["ifd_before"])), 6), round(float(str(row["ifd_now"])), 6)) for row in rows]
        return [(*text, *figure) for text, figure in zip(texts, figures, strict=True)]

    assert told() == [("paper", first, 0.55, 0.825)]
    change(lake, "update profile.recipes set top_k = 21")
    assert told() == [("paper", first, 0.55, 0.825)]
    second = freeze(lake)
    assert told() == [("paper", first, 0.55, 0.825)]
    change(lake, "update profile.recipes set top_k = 20")
    assert told() == []
    assert freeze(lake) != second
    assert told() == []


def test_few_rows_say_nothing(lake: Lake) -> None:
    change(
        lake, f"{ANSWERS}{WORDS.format(count=400, which='longer')}", "delete from raw.raw_pairs where pair_id >= 'p04'"
    )
    assert violations(lake) == {}


def test_a_violation_warns_and_stops_nothing(lake: Lake) -> None:
    change(lake, *PLANTED["answers six times as long"][0])
    with lake.recalling() as recall:
        result = evaluate(CLAIMS["answers_do_not_outgrow_their_originals"], recall)
    assert (result.passed, result.severity.value) == (False, "WARN")
