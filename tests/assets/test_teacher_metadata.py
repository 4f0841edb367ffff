"""What the pages of the reflection assets show of the teacher: counts, tokens, dollars, seconds, one plot."""

import pytest

from assets.profile.teachers import teachers
from assets.reflection.instruction_reflections import instruction_reflections
from tests.assets.conftest import Flow, Gpt, rewrite
from tests.support.servers import completion

PRICES = {"prices": {"small": {"input": 1.0, "output": 10.0}}}


def test_the_page_counts_what_the_replies_took(ready: Flow, gpt: Gpt) -> None:
    gpt.say = lambda _: completion("Nothing of use." if len(gpt.asked) == 1 else rewrite("Describe it.", "Small."))
    gpt.teaches(ready, PRICES, concurrency=1)
    shown = ready.run(instruction_reflections).metadata
    counts = ("status/ok", "replies", "second_tries", "prompt_tokens", "completion_tokens", "replies_of_unknown_cost")
    assert [shown[name] for name in counts] == [3, 4, 1, 400, 200, 0]
    assert shown["cost_usd"] == pytest.approx((400 * 1.0 + 200 * 10.0) / 1e6)
    assert 0 < shown["latency_p50_s"] <= shown["latency_p90_s"] <= shown["latency_p99_s"] < 60


def test_what_is_unknown_is_absent(ready: Flow) -> None:
    shown = ready.run(instruction_reflections).metadata
    assert (shown["replies"], shown["replies_of_unknown_cost"]) == (2, 2)
    assert {"cost_usd", "prompt_tokens", "completion_tokens", "latency_p50_s"} & set(shown) == set()


def test_the_page_has_a_plot(ready: Flow) -> None:
    assert ready.run(instruction_reflections).metadata["replies_plot"].value.startswith("![replies](data:image/png")


def test_another_teachers_replies_are_not_counted(ready: Flow, gpt: Gpt) -> None:
    ready.run(instruction_reflections)
    gpt.teaches(ready)
    assert ready.run(instruction_reflections).metadata["replies"] == 3


def test_the_profile_table_knows_model_and_price(ready: Flow, gpt: Gpt) -> None:
    columns = "select teacher, model, input_usd_per_million, output_usd_per_million from profile.teachers"
    assert ready.lake.read(columns).rows() == [("recorded", None, None, None)]
    gpt.teaches(ready, PRICES)
    assert ready.lake.read(columns).rows() == [("gpt", "small", 1.0, 10.0)]
    snapshot = ready.lake.snapshot_id()
    ready.run(teachers)
    assert ready.lake.snapshot_id() == snapshot
