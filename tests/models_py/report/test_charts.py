"""What the pictures count, before a browser draws them."""

from dataclasses import replace
from itertools import product

import polars as pl
import pytest

from models_py.report.charts import charts, histogram
from tests.models_py.report.test_page import content

PAPERS = ("#ffffff", "#12161b")  # of page.css, by day and by night


def test_a_histogram_counts_every_known_value_once_and_shares_add_up() -> None:
    values = [None, *(n / 100 for n in range(100)), 50.0]  # the last one lies far out
    rows = pl.DataFrame({"candidate": ["original"] * 60 + ["both"] * 42, "ifd": values})
    counted = histogram(rows, "ifd")
    of = {name: [row for row in counted if row["candidate"] == name] for name in ("original", "both")}
    assert [row["candidate"] for row in counted] == ["original"] * 40 + ["both"] * 40
    assert {name: sum(row["texts"] for row in one) for name, one in of.items()} == {"original": 59, "both": 42}
    assert all(abs(sum(row["share"] for row in one) - 1) < 1e-4 for one in of.values())
    assert of["both"][-1]["to"] < 1.1  # and counts in the outermost range
    assert all(a["to"] == b["from"] for a, b in zip(of["both"], of["both"][1:], strict=False))


def test_values_that_are_all_the_same_and_none_at_all() -> None:
    same = histogram(pl.DataFrame({"candidate": ["both"] * 3, "ifd": [0.5] * 3}), "ifd")
    assert same[0] == {"candidate": "both", "from": 0.5, "to": 1.5, "texts": 3, "share": 1.0}
    assert (
        histogram(pl.DataFrame({"candidate": ["both"], "ifd": [None]}, schema_overrides={"ifd": pl.Float64}), "ifd")
        == []
    )


@pytest.fixture(scope="module")
def looks() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Colour and dashes of each of 40 training curves."""
    names = [f"recipe {n:02d}" for n in range(40)]
    losses = pl.DataFrame({"name": names, "step": [1] * 40, "loss": [2.0] * 40})
    [curves] = [
        one
        for one in charts(replace(content(), tables={**content().tables, "losses": losses}))
        if one.name == "Training loss"
    ]
    colors = curves.spec["encoding"]["color"]["scale"]
    dashes = curves.spec["layer"][0]["encoding"]["strokeDash"]["scale"]
    assert colors["domain"] == dashes["domain"] == names
    return dict(zip(names, zip(colors["range"], map(tuple, dashes["range"]), strict=True), strict=True))


def test_each_of_40_training_curves_looks_different(looks: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    assert len(set(looks.values())) == 40
    assert len({color for color, _ in [*looks.values()][:10]}) == 10


def test_every_curve_is_seen_on_light_and_on_dark_paper(looks: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for (color, _), paper in product(looks.values(), PAPERS):
        darker, lighter = sorted((luminance(color), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, (color, paper)  # WCAG 1.4.11


def test_no_two_reasons_have_one_colour() -> None:
    reasons = ["guard_not_scored", "rewrite_off_topic", "rewrite_too_hard", "rewrite_vetoed", "rewrite_wins", "tie"]
    many = content(len(reasons))
    choices = many.choices.with_columns(first_reason=pl.Series(reasons))
    [points] = [one for one in charts(replace(many, choices=choices)) if one.name == "IFD before and after"]
    assert len(set(points.spec["layer"][1]["encoding"]["color"]["scale"]["range"])) == len(reasons)
