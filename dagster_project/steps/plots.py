"""Small plots for the pages of assets: a PNG inside Markdown, as the Dagster UI shows it.

Drawn on nothing, in a grey and a blue of middling brightness, so that they read on a light page and on a dark one.
"""

import base64
import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.lakehouse.lake import Lake
from models_py.content import file_sha256, fingerprint

_INK = "#808080"
_FILL = "#4a90d9"
_INCHES = (7.5, 2.4)
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
}
_BINS = 30
_PANELS, _TITLE_CHARS = 5, 18
_HIGHEST = 2.0  # ratio that is drawn
_NAMED_LINES = 8  # more names than that hide the lines


def remembered(lake: Lake, plot: Callable[..., bytes], whose: str, *shown: Any) -> dg.MarkdownMetadataValue:
    """What the function `plot` of this file draws of `shown`, anew only where that is not what it drew last of `whose`.

    It is the only Markdown that is given to the UI: nothing in it but base64 and a word of this file.
    """
    what = plot.__name__.removesuffix("_plot")
    state = fingerprint(_in_order(shown), file_sha256(Path(__file__)))
    png = lake.remember(f"{what} plot of {whose}", state, lambda: plot(*shown))
    return dg.MetadataValue.md(f"![{what}](data:image/png;base64,{base64.b64encode(png).decode()})")


def _in_order(value: Any) -> Any:
    """The same as lists: what comes first is drawn first, also of a mapping."""
    if isinstance(value, Mapping):
        return [[key, _in_order(inner)] for key, inner in value.items()]
    return [*map(_in_order, value)] if isinstance(value, (list, tuple)) else value


@contextmanager
def _drawn(png: io.BytesIO, inches: tuple[float, float] = _INCHES) -> Iterator[Any]:
    """A figure that is written to `png` at the end, without pyplot: nothing is left to close."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=inches, layout="constrained", facecolor="none")
        yield figure
        figure.savefig(png, format="png", dpi=100, transparent=True)


def loss_plot(curves: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """Loss (nats a target token) by optimizer step, a line a training; names where they are few: a PNG."""
    png = io.BytesIO()
    with _drawn(png) as figure:
        axes = figure.subplots()
        for name, curve in curves.items():
            steps, losses = zip(*curve, strict=True)
            axes.plot(steps, losses, label=name, linewidth=1.2, marker="o" if len(curve) == 1 else None)
        axes.set_title("training loss by step")
        if len(curves) <= _NAMED_LINES:
            axes.legend(frameon=False, fontsize=8)
    return png.getvalue()


def comparison_plot(metrics: Mapping[str, Sequence[tuple[str, float, float, float, Sequence[float]]]]) -> bytes:
    """A panel a metric, the first few: each subject's interval as a bar, a point a training seed: a PNG.

    Where values lie on both sides of 0, a line is drawn there. Metrics that find no room are counted in the picture.
    """
    shown = dict([*metrics.items()][:_PANELS])
    subjects = max(map(len, shown.values()))
    png = io.BytesIO()
    with _drawn(png, (_INCHES[0], 0.9 + 0.22 * subjects)) as figure:
        for axes, (metric, rows) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            names = [name for name, *_ in rows]
            for at, (_, value, low, high, seeds) in enumerate(rows):
                axes.plot([low, high], [at, at], color=_FILL, linewidth=5, alpha=0.45, solid_capstyle="butt")
                axes.plot([value], [at], color=_FILL, marker="|", markersize=10, markeredgewidth=2)
                axes.plot(seeds, [at] * len(seeds), color=_INK, linestyle="none", marker="o", markersize=3)
            axes.set_yticks(range(len(names)), names if axes.get_subplotspec().is_first_col() else [])
            axes.set_ylim(subjects - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=3)
            if any(low < 0 for _, _, low, _, _ in rows) and any(high > 0 for _, _, _, high, _ in rows):
                axes.axvline(0, color=_INK, linewidth=0.8, linestyle=":")
            axes.set_title("\n".join(textwrap.wrap(metric, _TITLE_CHARS)), fontsize=8)
        if left_out := len(metrics) - len(shown):
            figure.suptitle(f"{left_out} more metrics: in the table", fontsize=8)
    return png.getvalue()


def replies_plot(statuses: Mapping[str, int], latencies_s: Sequence[float]) -> bytes:
    """Replies by status as bars; beside them, where latencies are known, how long the replies took (seconds): a PNG."""
    png = io.BytesIO()
    with _drawn(png) as figure:
        left, *right = figure.subplots(1, 2 if latencies_s else 1, squeeze=False)[0]
        bars = left.barh(list(statuses), list(statuses.values()), color=_FILL)
        left.bar_label(bars, labels=[f"{count:,}" for count in statuses.values()], padding=3)
        left.margins(x=0.25)  # room for the counts, which stand for the scale
        left.set_xticks([])
        left.invert_yaxis()
        left.set_title("reflections by status")
        for axes in right:
            axes.hist(latencies_s, bins=_BINS, color=_FILL)
            axes.set_xlim(left=0)
            axes.set_title("replies by seconds")
    return png.getvalue()


def rates_plot(rates: Mapping[str, tuple[float, float, float]]) -> bytes:
    """Rates from 0 to 1 with their intervals, a line each, and where half is: a PNG."""
    png = io.BytesIO()
    with _drawn(png) as figure:
        figure.set_figheight(max(_INCHES[1], 0.25 * len(rates) + 0.8))
        axes = figure.subplots()
        for place, (rate, low, high) in enumerate(rates.values()):
            axes.plot([low, high], [place, place], color=_FILL, linewidth=1.5)
            axes.plot([rate], [place], color=_FILL, marker="o", markersize=5)
        axes.axvline(0.5, color=_INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(rates)), list(rates))
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
        axes.set_title("win rate, 95 % interval")
    return png.getvalue()


def histograms_plot(panels: Mapping[str, Mapping[str, Mapping[float, int]]], width: float) -> bytes:
    """A panel a statistic, a line a name: the share of its texts in each bin; the last bin holds all beyond: a PNG."""
    png = io.BytesIO()
    with _drawn(png) as figure:
        for axes, (title, of) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for name, bins in of.items():
                total, ends = sum(bins.values()), sorted(bins)
                edges = [ends[0] + width * place for place in range(round((ends[-1] - ends[0]) / width) + 2)]
                shares = [bins.get(round(edge, 2), 0) / total for edge in edges[:-1]]
                axes.stairs(shares, edges, label=name, linewidth=1.2)
            axes.axvline(1, color=_INK, linewidth=0.8, linestyle=":")
            axes.set_xlim(left=0)
            axes.set_yticks([])
            axes.set_title(f"{title}, share of texts; all beyond in the last bin")
            axes.legend(frameon=False, fontsize=8)
    return png.getvalue()


def scatter_plot(points: Sequence[tuple[float, float, bool]], words: tuple[str, str, str]) -> bytes:
    """A point a pair, before against after, and the line on which both are equal: a PNG. words: axes and what it says.

    Taken rewrites are blue, refused ones grey. What is beyond 2 is drawn at 2.
    """
    png = io.BytesIO()
    with _drawn(png, (_INCHES[0] / 2, _INCHES[0] / 2)) as figure:
        axes = figure.subplots()
        for is_taken, color in ((False, _INK), (True, _FILL)):
            drawn = [(min(x, _HIGHEST), min(y, _HIGHEST)) for x, y, taken in points if taken == is_taken]
            axes.scatter(*zip(*drawn, strict=True) if drawn else ([], []), s=8, color=color, alpha=0.6, linewidths=0)
        ends = (*axes.get_xlim(), *axes.get_ylim())
        low, high = max(0, min(ends)), max(ends)
        axes.plot([low, high], [low, high], color=_INK, linewidth=0.8)
        beyond = sum(max(x, y) > _HIGHEST for x, y, _ in points)
        told = f"{words[2]}\n{beyond:,} beyond {_HIGHEST:g} are drawn there" if beyond else words[2]
        axes.set(xlim=(low, high), ylim=(low, high), xlabel=words[0], ylabel=words[1], title=told)
    return png.getvalue()


def bars_plot(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> bytes:
    """A panel a title, a bar a line, its parts one after the other: a PNG."""
    lines = max(len(of) for of in panels.values())
    png = io.BytesIO()
    with _drawn(png, (_INCHES[0], max(_INCHES[1], 0.3 * lines + 1.0))) as figure:
        drawn = {title: of for title, of in panels.items() if of}
        for axes, (title, of) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
            names = [*dict.fromkeys(name for parts in of.values() for name in parts)]
            left = [0.0] * len(of)
            for name in names:
                sizes = [float(parts.get(name) or 0) for parts in of.values()]
                axes.barh(list(of), sizes, left=left, label=name, height=0.6)
                left = [at + size for at, size in zip(left, sizes, strict=True)]
            axes.invert_yaxis()
            axes.set_title(title)
            if len(names) > 1:
                axes.legend(frameon=False, fontsize=8, ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, -0.1))
            if not axes.get_subplotspec().is_first_col() and [*of] == [*next(iter(drawn.values()))]:
                axes.set_yticks([])
    return png.getvalue()
