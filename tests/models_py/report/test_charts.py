"""What the pictures count, before a browser draws them."""

import polars as pl

from models_py.report.charts import histogram


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
