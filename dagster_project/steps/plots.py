"""Small plots for the pages of assets: a PNG inside Markdown, as the Dagster UI shows it.

Drawn on nothing, in a grey and a blue of middling brightness, so that they read on a light page and on a dark one.
"""

import base64
import io
from collections.abc import Mapping, Sequence
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


def remembered_replies_plot(
    lake: Lake, table: str, statuses: Mapping[str, int], latencies_s: Sequence[float]
) -> dg.MarkdownMetadataValue:
    """`replies_plot` of a table's replies, drawn only where it would show something else than the last one."""
    shown = fingerprint(list(statuses.items()), list(latencies_s), file_sha256(Path(__file__)))
    return _image(lake.remember(f"replies plot of {table}", shown, lambda: replies_plot(statuses, latencies_s)))


def _image(png: bytes) -> dg.MarkdownMetadataValue:
    """The only Markdown that is given to the UI: nothing in it but base64."""
    return dg.MetadataValue.md(f"![replies](data:image/png;base64,{base64.b64encode(png).decode()})")


def replies_plot(statuses: Mapping[str, int], latencies_s: Sequence[float]) -> bytes:
    """Replies by status as bars; beside them, where latencies are known, how long the replies took (seconds): a PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained", facecolor="none")  # without pyplot: nothing to close
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
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=100, transparent=True)
    return png.getvalue()
