"""Every claim of sql/checks passes on a sound lake and fails on one that violates it, naming the offenders."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction

from dagster_project.checks import asset_checks, evaluate
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_checks
from tests.sql.story import Story, Text
from tests.support.values import as_a

CHECKS = load_checks()


class Held:
    """A lake that stays attached while a module's tests ask it, inside a transaction where it was spoiled."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def recall(self, sql: str) -> pl.DataFrame:
        return self.connection.execute(sql).pl()

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
    story.add("profile.sources", source="s", paths=["s.jsonl"], max_bad_fraction=0.25)
    story.add("raw.quarantined_rows", source="s", file="s.jsonl", source_row=9, reason="no JSON", excerpt="{")
    story.recipe("paper", "paper")
    story.recipe("original", "original", mix=0.5)
    story.pair("both", Text(ifd=0.4), Text(ifd=0.5, r_ifd=0.9), both=Text(r_ifd=0.3))
    story.pair("vetoed", Text(ifd=0.5, r_ifd=0.3), Text(ifd=0.4), response=Text(r_ifd=0.9))
    story.pair("response", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.4), response=Text(r_ifd=0.3))
    story.pair("scored", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.4), response=Text(r_ifd=0.3))
    story.pair("failed", Text(ifd=None, r_ifd=None, status="not_finite"), "refused")
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
    table, sound = f"{phase}_scores", f"{phase}_scores_are_sound"
    again = f"insert into scoring.{table} select * from scoring.{table} where content_id = '{content_id}'"
    return [
        Violation(f"{phase}_scores_are_unique", again, {"content_id": content_id, "copies": "2"}),
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
    return Violation(f"{phase}_reflections_are_usable", spoil, {"teacher": "gpt", "usable": "0"})


PAIR = "insert into raw.raw_pairs (pair_id, source, instruction, input, output, duplicate_count) values"

VIOLATIONS = [
    Violation("raw_pairs_are_unique", f"{PAIR} ('both', 's', 'x', '', 'y', 0)", {"pair_id": "both", "copies": "2"}),
    Violation("raw_pairs_have_instructions", f"{PAIR} ('blank', 's', '  ', '', 'y', 0)", {"pair_id": "blank"}),
    Violation("raw_pairs_have_instructions", f"{PAIR} ('mute', 's', 'x', '', NULL, 0)", {"pair_id": "mute"}),
    Violation(
        "quarantine_share",
        "insert into raw.quarantined_rows (source, reason) values ('s', 'no JSON')",
        {"source": "s", "quarantined_rows": "2", "max_bad_fraction": "0.25"},
    ),
    Violation(
        "quarantine_share",
        "insert into profile.sources by name select 'empty' as source, 0.5 as max_bad_fraction; "
        "insert into raw.quarantined_rows (source, reason) values ('empty', 'all of it')",
        {"source": "empty", "share": "1.0"},
    ),
    _reflections("instruction"),
    _reflections("response"),
    *_scores("instruction"),
    *_scores("response"),
    *_scores("chosen", "both-both"),
    Violation(
        "choices_conserve_pairs",
        "delete from selection.response_choices where pair_id = 'both'",
        {"teacher": "gpt", "student": "toy", "pairs": "5", "choices": "4"},
    ),
    Violation(
        "choices_conserve_pairs",
        "insert into selection.response_choices select * from selection.response_choices where pair_id = 'both'",
        {"pairs": "5", "choices": "6"},
    ),
    Violation(
        "choices_conserve_pairs",
        "update selection.response_choices set reason = NULL where pair_id = 'failed'",
        {"unexplained": "1"},
    ),
    Violation("choices_conserve_pairs", "delete from selection.response_choices", {"choices": "0"}),
    Violation(
        "decisions_conserve_pairs",
        "insert into selection.pair_decisions select * from selection.pair_decisions "
        "where recipe = 'paper' and pair_id = 'both'",
        {"recipe": "paper", "pairs": "5", "kept": "4"},
    ),
    Violation(
        "recycled_pairs_trace_to_one_raw_pair",
        f"{PAIR} ('both', 's', 'x', '', 'y', 0)",
        {"pair_id": "both"},
    ),
    Violation(
        "failed_scores_are_never_chosen",
        "update selection.candidate_scores set status = 'not_finite' where pair_id = 'both' and candidate = 'both'",
        {"recipe": "paper", "pair_id": "both", "candidate": "both", "status": "not_finite"},
    ),
    Violation(
        "failed_scores_are_never_chosen",
        "update selection.pair_decisions set ifd = NULL where recipe = 'paper' and pair_id = 'response'",
        {"recipe": "paper", "pair_id": "response", "candidate": "response"},
    ),
]


def judge(name: str, lake: Held) -> dg.AssetCheckResult:
    return evaluate(CHECKS[name], lake, dg.AssetCheckSeverity.ERROR)  # type: ignore[arg-type]


def first_violations(result: dg.AssetCheckResult) -> list[dict[str, Any]]:
    shown: Any = result.metadata["first_violations"].value
    return list(shown)


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_lake_passes(sound: Held, name: str) -> None:
    result = judge(name, sound)
    assert result.passed, result.metadata
    assert result.metadata["violations"].value == 0


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.check)
def test_a_violation_fails_and_is_named(sound: Held, violation: Violation) -> None:
    with sound.spoiled(violation.spoil):
        result = judge(violation.check, sound)
    assert not result.passed
    first = first_violations(result)
    assert any(violation.offender.items() <= row.items() for row in first), first


def test_every_check_is_tested_failing() -> None:
    assert {violation.check for violation in VIOLATIONS} == CHECKS.keys()


def test_spoiling_left_nothing_behind(sound: Held) -> None:
    assert sound.recall("select count(*) from raw.raw_pairs").item() == 5


def test_at_most_ten_offenders_are_shown(sound: Held) -> None:
    many = f"{PAIR} {', '.join(f'({i}, NULL, NULL, NULL, NULL, 0)' for i in range(12))}"
    with sound.spoiled(many):
        result = judge("raw_pairs_have_instructions", sound)
    assert (result.metadata["violations"].value, len(first_violations(result))) == (12, 10)


def test_an_empty_lake_violates_nothing(lake: Lake) -> None:
    with lake.connect() as connection:
        assert [name for name in CHECKS if not judge(name, Held(connection)).passed] == []


@pytest.mark.parametrize(
    ("name", "asset", "blocking"),
    [
        ("raw_pairs_are_unique", "raw/raw_pairs", True),
        ("choices_conserve_pairs", "selection/response_choices", True),
        ("failed_scores_are_never_chosen", "selection/recycled_pairs", True),
        ("instruction_reflections_are_usable", "reflection/instruction_reflections", False),
    ],
)
def test_checks_hang_on_their_assets(name: str, asset: str, blocking: bool) -> None:
    [spec] = [spec for check in asset_checks() for spec in check.check_specs if spec.name == name]
    assert (spec.asset_key.to_user_string(), spec.blocking, spec.description) == (
        asset,
        blocking,
        CHECKS[name].description,
    )


def test_a_warning_is_a_warning(sound: Held) -> None:
    [check] = [c for c in asset_checks() if "response_reflections_are_usable" in {s.name for s in c.check_specs}]
    function = as_a(DecoratedOpFunction, check.op.compute_fn).decorated_fn
    with sound.spoiled(_reflections("response").spoil):
        result = function(lake=sound)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
