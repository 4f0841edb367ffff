"""Plots are small PNGs that read on a light page and on a dark one."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from dagster_project.lakehouse.lake import Lake
from dagster_project.steps.plots import comparison_plot, loss_plot, remembered, replies_plot
from tests.support.values import known

STATUSES = {"ok": 98_765, "missing_tag": 432, "truncated": 21, "refused": 20, "placeholder": 3, "failed": 1}
LATENCIES = sorted(0.2 + (number * 7919 % 10_007) / 500 for number in range(10_000))


def pixels(png: bytes) -> np.ndarray:
    """Height x width x RGBA, 0 to 1."""
    return imread(io.BytesIO(png))


@pytest.mark.parametrize("latencies", [LATENCIES, LATENCIES[:1], []], ids=["many", "one", "none"])
def test_a_plot_is_a_small_picture(latencies: list[float]) -> None:
    png = replies_plot(STATUSES, latencies)
    assert len(png) < 30_000
    assert pixels(png).shape == (240, 750, 4)


@pytest.mark.parametrize("trainings", [1, 3, 30])
@pytest.mark.parametrize("steps", [1, 2_000])
def test_loss_curves_are_one_small_picture(trainings: int, steps: int) -> None:
    curve = [(step, 3.0 - step / 1000) for step in range(1, steps + 1)]
    png = loss_plot({f"recipe {number}": curve for number in range(trainings)})
    assert len(png) < 60_000
    assert pixels(png).shape == (240, 750, 4)
    assert pixels(png)[..., 3].max() > 0.9


@pytest.mark.parametrize(("metrics", "subjects"), [(1, 1), (3, 12), (9, 25)])
def test_compared_recipes_are_one_small_picture(metrics: int, subjects: int) -> None:
    rows = [(f"recipe {at}", 2.0 - at / 50, 1.8 - at / 50, 2.2 - at / 50, [1.9, 2.0, 2.1]) for at in range(subjects)]
    png = comparison_plot({f"loss on set {number}": rows for number in range(metrics)})
    assert len(png) < 70_000
    assert pixels(png).shape == (round(100 * (0.9 + 0.22 * subjects)), 750, 4)


def test_a_plot_is_neither_dark_nor_light_on_no_ground_of_its_own() -> None:
    drawn = pixels(replies_plot(STATUSES, LATENCIES))
    assert drawn[0, 0, 3] == 0
    brightness = drawn[drawn[..., 3] > 0.99][:, :3].mean(axis=1)
    assert brightness.size > 1000
    assert brightness.min() > 0.25
    assert brightness.max() < 0.75


def test_a_plot_is_drawn_again_when_it_would_show_something_else_and_only_then(
    shared_lake: Lake,
) -> None:
    drawn: list[int] = []

    def replies_plot(statuses: dict[str, int], latencies_s: list[float]) -> bytes:
        drawn.append(statuses["ok"])
        return f"{statuses['ok']} of {len(latencies_s)}](http://attacker.example)".encode()

    def shown(ok: int, *latencies: float) -> bytes:
        markdown = remembered(shared_lake, replies_plot, "told", {"ok": ok}, latencies).value or ""
        # Whatever the warehouse remembers, it comes as base64: nothing in it is Markdown.
        found = re.fullmatch(r"!\[replies\]\(data:image/png;base64,([A-Za-z0-9+/]+=*)\)", markdown)
        return base64.b64decode(known(found)[1]).partition(b"]")[0]

    assert [shown(1), shown(1), shown(2), shown(2, 0.5)] == [b"1 of 0", b"1 of 0", b"2 of 0", b"2 of 1"]
    assert drawn == [1, 2, 2]
