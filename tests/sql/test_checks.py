"""Every claim of sql/checks passes on a sound lake and fails on one that violates it, naming the offenders."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import duckdb
import pytest

from dagster_project.checks import asset_checks, claims, evaluate, evaluate_all
from dagster_project.lakehouse.answers import Answer
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from models_py.errors import UserError
from tests.sql.story import Story, Text
from tests.sql.test_drift_checks import PLANTED

RECIPES = ["original", "paper"]
CLAIMS = {f"{claim.asset.to_user_string()}:{claim.name}": claim for claim in claims(RECIPES)}
TABLE = re.compile(" from ([a-z_.]+) ")
GRAINS = {table.name: table.grain for table in TABLES_BY_NAME.values()}
GRAINS |= {table: model.header.grain for table, model in load_models().items()}
UNIQUE = [key for key, claim in CLAIMS.items() if claim.name == "rows_are_unique"]


class Held:
    """A lake that stays attached while a module's tests ask it, inside a transaction where it was spoiled."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def recall(self, sql: str, params: Sequence[object] = ()) -> Answer:
        return Answer([], self.connection.execute(sql, params).pl())

    @contextmanager
    def spoiled(self, change: str) -> Iterator["Held"]:
        self.connection.execute("begin")
        self.connection.execute(change)
        yield self
        self.connection.execute("rollback")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """A lake that holds what a good run leaves: rewrites kept and vetoed, a refusal, a failed score, a bad row."""
    story = Story(Lake(tmp_path_factory.mktemp("sound")))
    # Of the second source every row repeats a pair of the first.
    for source, rows, allowed in (("s", 4, 0.25), ("repeats", 1_000, 0.001)):
        story.add("profile.sources", source=source, paths=[f"{source}.jsonl"], max_bad_fraction=allowed)
        story.add("raw.source_counts", source=source, row_count=rows, quarantined_count=1)
        bad_row = {"file": f"{source}.jsonl", "source_row": 9, "reason": "no JSON", "excerpt": "{"}
        story.add("raw.quarantined_rows", source=source, **bad_row)
    # Pairs that the sources had once, and of which a teacher made nothing.
    for place in range(30):
        gone = {"teacher": "gpt", "prompt_version": "v1", "pair_id": f"gone {place}", "status": "refused"}
        story.add("reflection.instruction_reflections", **gone)
        story.add("reflection.response_reflections", **gone, base="original", base_content_id=f"gone {place}")
    story.recipe("paper", "paper")
    story.recipe("original", "original", mix=0.5)
    story.pair("both", Text(ifd=0.4), Text(ifd=0.5, r_ifd=0.9), both=Text(r_ifd=0.3))
    story.pair("vetoed", Text(ifd=0.5, r_ifd=0.3), Text(ifd=0.4), response=Text(r_ifd=0.9))
    story.pair("response", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.4), response=Text(r_ifd=0.3))
    story.pair("scored", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.4), response=Text(r_ifd=0.3))
    story.pair("failed", Text(ifd=None, r_ifd=None, status="not_finite"), "refused")
    guard = {"student": "toy", "student_fingerprint": "fp-toy", "content_id": "both", "status": "ok"}
    story.add("scoring.guard_scores", **guard, truncated=False)
    with story.tell().connect(read_only=False) as connection:
        yield Held(connection)


@dataclass(frozen=True)
class Violation:
    """SQL that spoils the sound lake, run inside a transaction that is rolled back; and what the check then names."""

    check: str
    spoil: str
    offender: dict[str, str]


def _score(table: str, **values: str) -> str:
    row = {"student": "'toy'", "student_fingerprint": "'fp-toy'", "content_id": "'x'", "status": "'ok'", **values}
    return f"insert into scoring.{table} ({', '.join(row)}) values ({', '.join(row.values())})"


def _scores(phase: str, content_id: str = "both") -> list[Violation]:
    table = f"{phase}_scores"
    sound, unique = f"scoring/{table}:scores_are_sound", f"scoring/{table}:rows_are_unique"
    again = f"insert into scoring.{table} select * from scoring.{table} where content_id = '{content_id}'"
    return [
        Violation(unique, again, {"content_id": content_id, "copies": "2"}),
        Violation(sound, _score(table, answer_nll="'nan'", answer_tokens="1"), {"content_id": "x"}),
        Violation(sound, _score(table, answer_nll="-1", answer_tokens="1"), {"content_id": "x"}),
        Violation(sound, _score(table, answer_nll="1", answer_tokens="0"), {"content_id": "x"}),
        Violation(sound, _score(table, answer_nll_given_instruction="'inf'", answer_tokens="1"), {"content_id": "x"}),
        Violation(sound, _score(table, instruction_nll="'-inf'", instruction_tokens="1"), {"content_id": "x"}),
        Violation(
            sound, _score(table, instruction_nll_given_answer="-0.1", instruction_tokens="1"), {"content_id": "x"}
        ),
        Violation(sound, _score(table, status="'prompt_too_long'"), {"content_id": "x", "status": "prompt_too_long"}),
    ]


def _reflections(phase: str) -> Violation:
    spoil = f"update reflection.{phase}_reflections set status = 'truncated'"
    return Violation(f"reflection/{phase}_reflections:reflections_are_usable", spoil, {"teacher": "gpt", "usable": "0"})


PAIR = "insert into raw.raw_pairs (pair_id, source, instruction, input, output, duplicate_count) values"

COPY = "insert into selection.contaminated_texts (content_id, evaluation, item_row) values"

VIOLATIONS = [
    Violation(
        "raw/raw_pairs:rows_are_unique", f"{PAIR} ('both', 's', 'x', '', 'y', 0)", {"pair_id": "both", "copies": "2"}
    ),
    Violation(
        "raw/raw_pairs:raw_pairs_have_instructions", f"{PAIR} ('blank', 's', '  ', '', 'y', 0)", {"pair_id": "blank"}
    ),
    Violation(
        "raw/raw_pairs:raw_pairs_have_instructions", f"{PAIR} ('mute', 's', 'x', '', NULL, 0)", {"pair_id": "mute"}
    ),
    Violation(
        "raw/quarantined_rows:quarantine_share",
        "update raw.source_counts set quarantined_count = 3 where source = 's'",
        {"source": "s", "quarantined_rows": "3", "share": "0.75", "max_bad_fraction": "0.25"},
    ),
    Violation(
        "raw/quarantined_rows:quarantine_share",
        "update raw.source_counts set row_count = 1 where source = 's'",
        {"source": "s", "share": "1.0"},
    ),
    _reflections("instruction"),
    _reflections("response"),
    *_scores("instruction"),
    *_scores("guard"),
    *_scores("response"),
    *_scores("chosen", "both-both"),
    Violation(
        "selection/response_choices:choices_conserve_pairs",
        "delete from selection.response_choices where pair_id = 'both'",
        {"teacher": "gpt", "student": "toy", "pairs": "5", "choices": "4"},
    ),
    Violation(
        "selection/response_choices:choices_conserve_pairs",
        "insert into selection.response_choices select * from selection.response_choices where pair_id = 'both'",
        {"pairs": "5", "choices": "6"},
    ),
    Violation(
        "selection/response_choices:choices_conserve_pairs",
        "update selection.response_choices set reason = NULL where pair_id = 'failed'",
        {"unexplained": "1"},
    ),
    Violation(
        "selection/response_choices:choices_conserve_pairs", "delete from selection.response_choices", {"choices": "0"}
    ),
    Violation(
        "selection/recycled_pairs:decisions_conserve_pairs",
        "insert into selection.pair_decisions select * from selection.pair_decisions "
        "where recipe = 'paper' and pair_id = 'both'",
        {"recipe": "paper", "pairs": "5", "kept": "4"},
    ),
    Violation(
        "selection/recycled_pairs:recycled_pairs_trace_to_one_raw_pair",
        f"{PAIR} ('both', 's', 'x', '', 'y', 0)",
        {"pair_id": "both"},
    ),
    Violation(
        "selection/recycled_pairs:failed_scores_are_never_chosen",
        "update selection.candidate_scores set status = 'not_finite' where pair_id = 'both' and candidate = 'both'",
        {"recipe": "paper", "pair_id": "both", "candidate": "both", "status": "not_finite"},
    ),
    Violation(
        "selection/recycled_pairs:failed_scores_are_never_chosen",
        "update selection.pair_decisions set ifd = NULL where recipe = 'paper' and pair_id = 'response'",
        {"recipe": "paper", "pair_id": "response", "candidate": "response"},
    ),
    Violation(
        "selection/recycled_pairs:training_rows_are_not_contaminated",
        f"{COPY} ('both-both', 'gsm8k', 7)",
        {"recipe": "paper", "pair_id": "both", "candidate": "both", "evaluation": "gsm8k", "item_row": "7"},
    ),
    Violation(  # what is rewritten of a copy is one in other words
        "selection/recycled_pairs:training_rows_are_not_contaminated",
        f"{COPY} ('both', 'gsm8k', 8)",
        {"recipe": "paper", "pair_id": "both", "candidate": "both", "content_id": "both", "item_row": "8"},
    ),
]


def judge(key: str, lake: Held) -> dg.AssetCheckResult:
    return evaluate(CLAIMS[key], lake.recall)


def first_violations(result: dg.AssetCheckResult) -> list[dict[str, Any]]:
    shown: Any = result.metadata["first_violations"].value
    return list(shown)


@pytest.mark.parametrize("key", CLAIMS)
def test_a_sound_lake_passes(sound: Held, key: str) -> None:
    result = judge(key, sound)
    assert result.passed, result.metadata
    assert result.metadata["violations"].value == 0


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.check)
def test_a_violation_fails_and_is_named(sound: Held, violation: Violation) -> None:
    with sound.spoiled(violation.spoil):
        result = judge(violation.check, sound)
    assert not result.passed
    first = first_violations(result)
    assert any(violation.offender.items() <= row.items() for row in first), first


@pytest.mark.parametrize("key", UNIQUE)
def test_rows_that_agree_in_their_grain_fail(sound: Held, key: str) -> None:
    grain = GRAINS[TABLE.findall(CLAIMS[key].sql)[0]]
    row = dict.fromkeys(grain, "7") | dict.fromkeys(["recipe"] if CLAIMS[key].params else [], *CLAIMS[key].params)
    values = ", ".join(f"'{value}'" for value in row.values())
    with sound.spoiled(
        f"insert into {TABLE.findall(CLAIMS[key].sql)[0]} ({', '.join(row)}) select {values} from range(3)"
    ):
        result = judge(key, sound)
        others = [other for other in UNIQUE if other != key and not judge(other, sound).passed]
    assert first_violations(result) == [{column: row[column] for column in grain} | {"copies": "3"}]
    assert (result.passed, others) == (False, [])


def test_every_check_is_tested_failing() -> None:
    planted = {name for _, name, _ in PLANTED.values()} | {"statistics_did_not_shift"}  # in test_drift_checks.py
    elsewhere = {key for key in CLAIMS if key.partition(":")[2] in planted}
    assert {violation.check for violation in VIOLATIONS} | {*UNIQUE} | elsewhere == CLAIMS.keys()


def test_all_that_is_stored_is_checked() -> None:
    stored = {table for table, model in load_models().items() if model.materialized == "table"} | TABLES_BY_NAME.keys()
    assert {TABLE.findall(CLAIMS[key].sql)[0] for key in UNIQUE} == stored


def test_spoiling_left_nothing_behind(sound: Held) -> None:
    assert sound.recall("select count(*) from raw.raw_pairs").rows.item() == 5


def test_at_most_ten_offenders_are_shown(sound: Held) -> None:
    many = f"{PAIR} {', '.join(f'({i}, NULL, NULL, NULL, NULL, 0)' for i in range(12))}"
    with sound.spoiled(many):
        result = judge("raw/raw_pairs:raw_pairs_have_instructions", sound)
    assert (result.metadata["violations"].value, len(first_violations(result))) == (12, 10)


def test_an_empty_lake_violates_nothing(lake: Lake) -> None:
    with lake.connect() as connection:
        assert [key for key in CLAIMS if not judge(key, Held(connection)).passed] == []


@pytest.mark.parametrize(
    ("key", "blocking"),
    [
        ("raw/raw_pairs:rows_are_unique", True),
        ("scoring/chosen_scores:rows_are_unique", True),
        ("scoring/chosen_scores:scores_are_sound", True),
        ("training/paper/training_pairs:rows_are_unique", False),
        ("selection/pair_decisions:rows_are_unique", False),
        ("selection/response_choices:choices_conserve_pairs", True),
        ("selection/recycled_pairs:failed_scores_are_never_chosen", True),
        ("reflection/instruction_reflections:reflections_are_usable", False),
    ],
)
def test_checks_hang_on_their_assets(key: str, blocking: bool) -> None:
    specs = {
        f"{s.asset_key.to_user_string()}:{s.name}": s for check in asset_checks(RECIPES) for s in check.check_specs
    }
    assert specs.keys() == CLAIMS.keys()
    assert (specs[key].blocking, specs[key].description) == (blocking, CLAIMS[key].description)


def test_a_warning_is_a_warning(sound: Held) -> None:
    violation = _reflections("response")
    with sound.spoiled(violation.spoil):
        result = judge(violation.check, sound)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_the_claims_of_an_asset_share_a_step_and_the_grains_of_the_others_one() -> None:
    steps = {check.op.name: {key.name for key in check.check_keys} for check in asset_checks(RECIPES)}
    assert steps["check_scoring_chosen_scores"] == {"scores_are_sound", "rows_are_unique"}
    assert steps["check_grains"] == {"rows_are_unique"}
    assert len(steps) == len({claim.asset for claim in CLAIMS.values() if claim.name != "rows_are_unique"}) + 1


def test_a_blocking_violation_stops_the_run_and_leaves_its_result(lake: Lake) -> None:
    lake.append({"raw.raw_pairs": [{"pair_id": "a", "instruction": "x", "output": "y"}] * 2}, Commit("twice"))
    [step] = [check for check in asset_checks() if check.op.name == "check_raw_raw_pairs"]
    pairs = dg.AssetSpec(dg.AssetKey(["raw", "raw_pairs"]))
    definitions = dg.Definitions(
        [pairs],
        asset_checks=[step],
        resources={"lake": lake},
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())],
    )
    result = definitions.resolve_job_def("checks").execute_in_process(raise_on_error=False)
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()}["rows_are_unique"] is False
    assert not result.success


def test_a_check_that_cannot_be_computed_names_its_file(lake: Lake) -> None:
    claim = CLAIMS["raw/quarantined_rows:quarantine_share"]
    wrong = replace(claim, sql="select 1\nwhere 'x'::bigint = 1")
    with pytest.raises(UserError, match=r"^sql/checks/quarantine_share\.sql:2: Could not convert string 'x'"):
        evaluate_all([claim, wrong], lake)
