"""The pictures of the report, as Vega-Lite specifications (https://vega.github.io/vega-lite/docs/).

A chart knows its page, its heading, what it shows in a sentence (which screen readers read, too) and its specification.
Histograms are counted here and not in the page; of a scatter with many pairs some are drawn, which its sentence says.
Colours of lines and letters are the page's, by its style sheet: a specification says only which mark is which.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import polars as pl
import polars.selectors as cs

from models_py.report.content import CANDIDATES, ID_CHARS, Content

Spec = dict[str, Any]

_MOST_POINTS = 2000  # of a scatter
_FEW_POINTS = 100  # of lines, that each are seen
_BINS = 40
_HEIGHT = 240
_LETTER = 7  # pixels, at most, of a digit beside a bar
_DECIMALS = 4
_OUTCOMES = {
    "original": "#8b95a1",
    "instruction": "#3f8ae0",
    "response": "#e69f00",
    "both": "#16a37f",
    "dropped": "#d1605e",
}
_SIDES = {"before": "#8b95a1", "after": "#16a37f"}
_REASONS = {"rewrite_wins": "#16a37f", "rewrite_vetoed": "#d1605e", "tie": "#8b95a1"}
# Seen on light and on dark paper; where they do not suffice, they come again with the next dashes.
_SERIES = [
    "#3f8ae0",
    "#d07a00",
    "#16a37f",
    "#d1605e",
    "#9b6fd0",
    "#7f8a96",
    "#9a6b3c",
    "#1f9bb3",
    "#d65aa6",
    "#7d8c1f",
]
_LEGEND: Spec = {"orient": "bottom", "columns": 3, "labelLimit": 220}
_DASHES = [[1, 0], [7, 3], [2, 2], [8, 3, 2, 3]]


@dataclass(frozen=True, slots=True)
class Chart:
    """page: where it stands. spec: Vega-Lite, of any width."""

    page: str
    name: str
    told: str
    spec: Spec


def charts(content: Content) -> list[Chart]:
    """Those for which there are rows."""
    return [*_by_pairing(content), *_of_recipes(content), *_of_teachers(content), *_of_students(content)]


def _by_pairing(content: Content) -> Iterator[Chart]:
    """Statistics are compared within a pairing: another student's are others."""
    pairings = content.pairings()
    for teacher, student in pairings:
        of = f", {teacher} → {student}" if len(pairings) > 1 else ""
        outcomes = content.tables["outcomes"].filter(teacher=teacher, student=student)
        if outcomes["pairs"].sum():
            yield Chart(
                "overview",
                f"What the student chose{of}",
                f"How many pairs end with which of their four texts when {student} decides on {teacher}'s rewrites.",
                _bars(outcomes.select("outcome", "pairs", "share"), "outcome", "pairs", ",", _OUTCOMES),
            )
        candidates = content.candidates.filter(teacher=teacher, student=student)
        for column, name, told in (
            ("ifd", "IFD", "how little its instruction helps the student with its answer"),
            ("r_ifd", "Reversed IFD", "how well its answer gives its instruction away"),
        ):
            counted = histogram(candidates, column)
            if counted:
                yield Chart(
                    "pictures",
                    f"{name} by candidate{of}",
                    f"Of every candidate text, {told}: the share of texts in each of {_BINS} ranges. Values beyond the "
                    "1st and the 99th of 100 count in the outermost.",
                    _histogram(counted, name),
                )
        choices = content.choices.filter(teacher=teacher, student=student)
        for before, after, reason, name, rule in (
            ("ifd_original", "ifd_instruction", "first_reason", "IFD before and after", "above it the rewrite wins"),
            ("r_ifd_base", "r_ifd_reflected", "second_reason", "Reversed IFD before and after", "below it it wins"),
        ):
            both = choices.select(
                pl.col("pair_id").str.head(ID_CHARS).alias("pair"), before, after, pl.col(reason).alias("reason")
            ).drop_nulls()
            if not both.is_empty():
                part = f" {_MOST_POINTS:,} of {both.height:,} pairs are drawn." if both.height > _MOST_POINTS else ""
                yield Chart(
                    "pictures",
                    f"{name}{of}",
                    f"A point a pair: the base across, its rewrite up. The dashed line is the veto: {rule}.{part} "
                    "Click a point to open its pair; hold Shift to zoom with the wheel and to drag.",
                    {
                        **_scatter(both.head(_MOST_POINTS), before, after),
                        "usermeta": {"teacher": teacher, "student": student},
                    },
                )


def _of_recipes(content: Content) -> Iterator[Chart]:
    for text, name in (("instruction", "Instructions"), ("answer", "Answers")):
        lengths = [
            {"recipe": row["recipe"], "side": side, "characters": row[f"{text}_{side}"]}
            for row in content.tables["lengths"].iter_rows(named=True)
            for side in _SIDES
        ]
        if lengths:
            yield Chart(
                "pictures",
                f"{name} before and after",
                f"Median characters of the kept pairs' {name.lower()} in each recipe, as they came and as they are "
                "trained on.",
                _bars(pl.DataFrame(lengths), "recipe", "characters", ",.1f", _SIDES, within="side"),
            )
    categories = content.tables["categories"]
    shares = categories.with_columns(share=pl.col("after") / pl.col("before"))
    if categories["category"].n_unique() > 1:
        yield Chart(
            "effects",
            "What is kept of each category",
            "The share of each category's pairs that a recipe keeps, the frequent categories first.",
            _shares(shares),
        )


def _of_teachers(content: Content) -> Iterator[Chart]:
    statuses, spend = content.tables["statuses"], content.tables["spend"].drop_nulls("cost_usd")
    if not statuses.is_empty():
        yield Chart(
            "pictures",
            "Statuses of reflections",
            "What came of the teachers' replies: ok, or why a reply cannot be used.",
            _bars(
                statuses.group_by("status", "phase", maintain_order=True).agg(pl.col("replies").sum()),
                "status",
                "replies",
                ",",
                dict(zip(("instruction", "answer"), _SERIES, strict=False)),
                within="phase",
            ),
        )
    if spend["cost_usd"].sum():
        yield Chart(
            "pictures",
            "Spend",
            "US dollars by teacher and phase, of the replies whose cost is known.",
            _bars(
                spend.group_by("teacher", "phase", maintain_order=True).agg(pl.col("cost_usd").sum()),
                "phase",
                "cost_usd",
                "$,.4f",
                _palette(spend["teacher"]),
                within="teacher",
            ),
        )


def _of_students(content: Content) -> Iterator[Chart]:
    losses = content.tables["losses"]
    if not losses.is_empty():
        yield Chart(
            "pictures",
            "Training loss",
            "Mean nats a target token at the optimizer's steps, a line a checkpoint; of a long one every n-th step. "
            "Click a name in the legend to see its line alone.",
            _lines(losses, "step", "loss", "name"),
        )
    rates = content.tables["win_rates"].drop_nulls("win_rate")
    if not rates.is_empty():
        against = (pl.col("model_name"), pl.lit(" against "), pl.col("opponent_name"), pl.lit(", "), pl.col("judge"))
        named = rates.select(
            pl.concat_str(*against, pl.lit(", "), pl.col("instruction_set")).alias("who"),
            pl.col("win_rate").alias("value"),
            pl.col("win_rate_low").alias("low"),
            pl.col("win_rate_high").alias("high"),
        )
        yield Chart(
            "evaluation",
            "Win rates",
            "Mean preference of a judge with its 95 % interval; the dashed line is par.",
            _intervals(named, par=0.5, domain=[0, 1]),
        )
    compared = content.tables["comparison"]
    for (metric,), rows in compared.group_by("metric", maintain_order=True):
        better = "higher" if rows["higher_is_better"][0] else "lower"
        yield Chart(
            "evaluation",
            str(metric),
            f"Each recipe and base student with its 95 % interval over the {rows['n'][0]:,} rows asked; {better} is "
            "better.",
            _intervals(rows.select(pl.col("subject").alias("who"), "value", "low", "high")),
        )


def histogram(rows: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """Counted values of each candidate: from, to, texts, share; those beyond the 1st and 99th of 100 outermost."""
    known = rows.drop_nulls(column)
    if known.is_empty():
        return []
    low, high = (float(known[column].quantile(at) or 0.0) for at in (0.01, 0.99))
    width = (high - low) / _BINS or 1.0
    place = ((pl.col(column).clip(low, high) - low) / width).floor().cast(pl.Int64).clip(0, _BINS - 1).alias("place")
    texts = dict(known.group_by("candidate").len().iter_rows())
    counted = {(name, at): n for name, at, n in known.group_by("candidate", place).len().iter_rows()}
    return [
        {
            "candidate": name,
            "from": round(low + at * width, 6),
            "to": round(low + (at + 1) * width, 6),
            "texts": counted.get((name, at), 0),
            "share": round(counted.get((name, at), 0) / texts[name], 6),
        }
        for name in CANDIDATES
        if name in texts
        for at in range(_BINS)
    ]


# ── shapes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _histogram(counted: list[dict[str, Any]], title: str) -> Spec:
    """A stepped line a candidate, closed at its end; whoever points at a range is told the texts of all candidates."""
    names = [name for name in CANDIDATES if any(row["candidate"] == name for row in counted)]
    ends = [{**row, "from": row["to"], "share": 0} for row in counted[_BINS - 1 :: _BINS]]
    ranges: dict[float, dict[str, Any]] = {}
    for row in counted:
        ranges.setdefault(row["from"], {"from": row["from"], "to": row["to"]})[row["candidate"]] = row["texts"]
    x = {**_number("from", title), "scale": {"zero": False}, "axis": {"tickCount": 7}}
    return {
        "height": _HEIGHT,
        "layer": [
            {
                **_data([*counted, *ends]),
                "params": [_pick("candidate")],
                "mark": {
                    "type": "area",
                    "interpolate": "step-after",
                    "line": {"strokeWidth": 1.5},
                    "fillOpacity": 0.14,
                },
                "encoding": {
                    "x": x,
                    "y": {**_number("share", "share of texts"), "stack": None, "axis": {"format": "%", "tickCount": 5}},
                    "color": _color("candidate", {name: _OUTCOMES[name] for name in names}),
                    "opacity": _picked(),
                },
            },
            {
                **_data([*ranges.values()]),
                "mark": {"type": "bar", "fillOpacity": 0},
                "encoding": {
                    "x": x,
                    "x2": {"field": "to"},
                    "y": {"value": 0},
                    "y2": {"value": _HEIGHT},
                    "tooltip": _tooltip("from", "to", *names),
                },
            },
        ],
    }


def _scatter(points: pl.DataFrame, before: str, after: str) -> Spec:
    values = [*points[before], *points[after]]
    ends = [{"at": min(values)}, {"at": max(values)}]
    around = {"type": "quantitative", "scale": {"zero": False}, "axis": {"tickCount": 6}}
    zoom = {
        "type": "interval",
        "zoom": "wheel![event.shiftKey]",
        "translate": "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
    }
    return {
        "height": _HEIGHT,
        "layer": [
            {
                **_data(ends),
                "mark": {"type": "line", "strokeDash": [5, 4], "color": "#8b95a1", "clip": True},
                "encoding": {"x": {"field": "at", **around}, "y": {"field": "at", **around}},
            },
            {
                **_data(points),
                "params": [{"name": "zoom", "select": zoom, "bind": "scales"}, _pick("reason")],
                "mark": {"type": "circle", "size": 34, "cursor": "pointer", "clip": True},
                "encoding": {
                    "x": {"field": before, "title": "before", **around},
                    "y": {"field": after, "title": "after", **around},
                    "color": _color("reason", _palette(points["reason"], _REASONS)),
                    "opacity": _picked(shown=0.6),
                    "tooltip": _tooltip("pair", before, after, "reason"),
                },
            },
        ],
    }


def _bars(
    rows: pl.DataFrame, name: str, value: str, format: str, colors: dict[str, str], *, within: str | None = None
) -> Spec:
    """A bar a name, its value at the end; where `within` names a column, a bar each of its values, side by side.

    Bars end left of the room that the longest value needs: Vega makes room for letters at another width than it draws.
    """
    order = [*dict.fromkeys(rows[name])]
    room = _LETTER * max(len(f"{one:{format.lstrip('$')}}") for one in rows[value]) + 2 * _LETTER
    color = _color(within or name, colors)
    return {
        **_data(rows),
        "height": len(order) * (20 * len(colors) + 8 if within else 34),
        "encoding": {
            "x": {
                **_number(value, value.replace("_", " ")),
                "scale": {"range": [0, {"expr": f"width - {room}"}]},
                "axis": {"tickCount": 5},
            },
            "y": {"field": name, "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 200}},
            **({"yOffset": {"field": within, "sort": [*colors]}} if within else {}),
        },
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 2},
                "encoding": {
                    "color": color if within else {**color, "legend": None},
                    "tooltip": _tooltip(*rows.columns),
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4},
                "encoding": {"text": {"field": value, "type": "quantitative", "format": format}},
            },
        ],
    }


def _shares(shares: pl.DataFrame) -> Spec:
    frequent_first = {"field": "before", "op": "max", "order": "descending"}
    return {
        **_data(shares),
        "height": 22 * shares["category"].n_unique(),
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": {"field": "recipe", "type": "nominal", "title": None, "axis": {"orient": "top", "labelAngle": -30}},
            "y": {"field": "category", "type": "nominal", "title": None, "sort": frequent_first},
            "color": {
                **_number("share", "kept"),
                "scale": {"domain": [0, 0.5, 1], "range": ["#d1605e", "#c9ced4", "#16a37f"], "interpolate": "rgb"},
                "legend": {"format": ".0%", "orient": "bottom"},
            },
            "tooltip": _tooltip("recipe", "category", "before", "after", "share"),
        },
    }


def _lines(rows: pl.DataFrame, x: str, y: str, name: str) -> Spec:
    colors = _palette(rows[name])
    dashes = {one: _DASHES[at // len(_SERIES) % len(_DASHES)] for at, one in enumerate(colors)}
    legend = {**_LEGEND, "symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2}
    color = {**_color(name, colors), "legend": legend}
    seen = _picked() if rows.height <= _FEW_POINTS else {"value": 0}
    return {
        **_data(rows),
        "height": _HEIGHT,
        "encoding": {
            "x": {**_number(x, x), "axis": {"tickCount": 7, "tickMinStep": 1}},
            "y": {**_number(y, y), "scale": {"zero": False}},
            "color": color,
        },
        "layer": [
            {
                "params": [_pick(name)],
                "mark": {"type": "line", "strokeWidth": 1.8},
                "encoding": {"strokeDash": {**color, **_scale(dashes)}, "opacity": _picked()},
            },
            {"mark": {"type": "circle", "size": 36}, "encoding": {"opacity": seen, "tooltip": _tooltip(name, x, y)}},
        ],
    }


def _intervals(rows: pl.DataFrame, *, par: float | None = None, domain: Sequence[float] | None = None) -> Spec:
    scale = {"domain": domain} if domain else {"zero": False}
    y = {"field": "who", "type": "nominal", "sort": [*rows["who"]], "title": None, "axis": {"labelLimit": 260}}
    x = {"field": "low", "type": "quantitative", "scale": scale, "title": None, "axis": {"tickCount": 6}}
    tooltip = _tooltip("who", "value", "low", "high")
    line = {"mark": {"type": "rule", "strokeDash": [5, 4], "color": "#8b95a1"}, "encoding": {"x": {"datum": par}}}
    return {
        **_data(rows),
        "height": 28 * rows.height,
        "layer": [
            *([line] if par is not None else []),
            {
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.45, "color": _SERIES[0]},
                "encoding": {"x": x, "x2": {"field": "high"}, "y": y, "tooltip": tooltip},
            },
            {
                "mark": {"type": "circle", "size": 70, "opacity": 1, "color": _SERIES[0]},
                "encoding": {"x": {**x, "field": "value"}, "y": y, "tooltip": tooltip},
            },
        ],
    }


def _data(rows: pl.DataFrame | list[dict[str, Any]]) -> Spec:
    """Rows of a picture, with as many decimals as are shown."""
    values = rows.with_columns(cs.float().round(_DECIMALS)).to_dicts() if isinstance(rows, pl.DataFrame) else rows
    return {"data": {"values": values}}


def _number(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title}


def _palette(values: pl.Series, known: dict[str, str] | None = None) -> dict[str, str]:
    """A colour a value: the known ones, and for the others one after the other."""
    known = known or {}
    names = values.unique().sort().to_list()
    others = cycle([color for color in _SERIES if color not in known.values()])
    return {name: known.get(name) or next(others) for name in names}


def _color(field: str, colors: dict[str, str]) -> Spec:
    return {"field": field, "type": "nominal", "title": None, **_scale(colors), "legend": _LEGEND}


def _scale(looks: Mapping[str, str | list[int]]) -> Spec:
    """A colour, or dashes, a value."""
    return {"scale": {"domain": [*looks], "range": [*looks.values()]}}


def _pick(field: str) -> Spec:
    """A click on an entry of the legend picks its marks out."""
    return {"name": "picked", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def _picked(shown: float = 1) -> Spec:
    return {"condition": {"param": "picked", "value": shown}, "value": 0.08}


def _tooltip(*fields: str) -> list[Spec]:
    return [{"field": field, "title": field.replace("_", " ")} for field in fields]
