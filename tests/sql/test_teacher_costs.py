"""What the teacher cost: sums of what is known, counts of what is not, and never a 0 for an unknown."""

from typing import Any

import polars as pl
import pytest

from dagster_project.lakehouse.lake import Commit, Lake

TABLE = "reflection.teacher_replies"
KNOWN = {"prompt_tokens": 100, "completion_tokens": 50, "cost_usd": 0.25, "latency_s": 1.0}
UNKNOWN: dict[str, Any] = dict.fromkeys(KNOWN)


def reply(
    status: str | None = "ok", *, phase: str = "instruction_reflection", again: int = 0, **values: Any
) -> dict[str, Any]:
    return {
        "teacher": "gpt",
        "phase": phase,
        "status": status,
        "parse_attempt": again,
        "attempts": 1,
        **KNOWN,
        **values,
    }


def costs(lake: Lake, *replies: dict[str, Any]) -> list[dict[str, Any]]:
    lake.append({TABLE: pl.DataFrame(replies, infer_schema_length=None)}, Commit("replies"))
    return lake.read("from reflection.teacher_costs order by teacher, phase, status").to_dicts()


def test_each_status_of_each_phase_of_each_teacher_is_one_row(lake: Lake) -> None:
    rows = costs(
        lake,
        reply(),
        reply(),
        reply("refused"),
        reply(phase="response_reflection"),
        reply(teacher="local"),
    )
    assert [(row["teacher"], row["phase"].split("_")[0], row["status"], row["replies"]) for row in rows] == [
        ("gpt", "instruction", "ok", 2),
        ("gpt", "instruction", "refused", 1),
        ("gpt", "response", "ok", 1),
        ("local", "instruction", "ok", 1),
    ]


def test_calls_tokens_and_dollars_add_up(lake: Lake) -> None:
    [row] = costs(lake, reply(attempts=3), reply(again=1, cost_usd=0.5), reply(again=2, prompt_tokens=1))
    assert (row["replies"], row["second_tries"], row["calls"]) == (3, 2, 5)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) == (201, 150, 1.0)
    assert row["replies_of_unknown_cost"] == 0


def test_a_cost_that_is_not_known_is_counted_and_not_a_zero(lake: Lake) -> None:
    [partly, nowhere] = costs(lake, reply(), reply(cost_usd=None), reply("refused", **UNKNOWN))
    assert (partly["cost_usd"], partly["replies_of_unknown_cost"]) == (0.25, 1)
    assert nowhere["replies_of_unknown_cost"] == 1
    assert {name for name, value in nowhere.items() if value is None} == {
        "prompt_tokens",
        "completion_tokens",
        "cost_usd",
        "latency_mean_s",
        "latency_p50_s",
        "latency_p95_s",
    }


def test_latencies_are_of_the_replies_that_have_one(lake: Lake) -> None:
    [row] = costs(lake, *(reply(latency_s=float(second)) for second in range(101)), reply(latency_s=None))
    assert (row["latency_mean_s"], row["latency_p50_s"], row["latency_p95_s"]) == pytest.approx((50.0, 50.0, 95.0))


def test_replies_mirrored_before_statuses_were_kept_are_a_row_of_their_own(lake: Lake) -> None:
    ok, unknown = costs(lake, reply(), reply(None, parse_attempt=None))
    assert (ok["status"], unknown["status"], unknown["replies"], unknown["second_tries"]) == ("ok", None, 1, 0)
