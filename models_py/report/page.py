"""The report as one HTML file that needs no network and is at most `LARGEST` bytes.

    publish_report(content, Path("selection_report.html"))

What draws it is in vendor/, what it does in page.js; a content security policy lets run these scripts, by their hashes,
and nothing be loaded. What the lake says is packed (pack.py) and reaches the page as text alone. The statistics of all
pairs are in it, and as many texts as fit: of the strongest disagreements first, then in the order in which pairs are
drawn. Where not even the statistics fit, it holds those of as many pairs as do. The page says what it leaves out.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from models_py.content import fingerprint
from models_py.errors import UserError
from models_py.publish import published_file
from models_py.report.charts import charts
from models_py.report.content import ID_CHARS, Content
from models_py.report.disagreements import disagreements
from models_py.report.pack import diversity, packed, statistics, text_blocks
from models_py.report.reasons import DROPPED, FIRST, SECOND

LARGEST = 10_000_000
_HERE = Path(__file__).parent
_SCRIPTS = (
    "vendor/vega.min.js",
    "vendor/vega-lite.min.js",
    "vendor/vega-embed.min.js",
    "vendor/diff.min.js",
    "vendor/tabulator.min.js",
    "page.js",
)
_STYLES = ("vendor/tabulator_simple.min.css", "page.css")
_TEMPLATE = "page.html.jinja"
PARTS = tuple(_HERE / name for name in (*_SCRIPTS, *_STYLES, _TEMPLATE))
_SHARE_OF_STATISTICS = 0.75  # at most, of the room that figures and texts have together
_MARKUP = 4_000  # bytes of the page between its parts, and more


@dataclass(frozen=True, slots=True)
class Written:
    """size: bytes. version: hash of all that the page shows but the number of the snapshot it was read from."""

    size: int
    all_pairs: int
    pairs: int
    pairs_with_texts: int
    version: str


def publish_report(content: Content, file: Path, docs: str | None = None) -> Written:
    """Write the page, whole or not at all. docs: address of what describes the tables, where there is such a page.

    Raises UserError where the file cannot be written.
    """
    page, written = _page(content, docs)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with published_file(file) as partial:
            partial.write_bytes(page)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror or error}); name another file") from error
    return written


def _page(content: Content, docs: str | None) -> tuple[bytes, Written]:
    from jinja2 import Environment, FileSystemLoader

    scripts, styles = ([_part(name) for name in names] for names in (_SCRIPTS, _STYLES))
    refused = [*disagreements(content)]
    tables = {name: content.tables[name].to_dicts() for name in content.tables if name not in ("recipes", "losses")}
    facts = {
        "all_pairs": content.all_pairs,
        "tables": tables,
        "disagreements": [
            {**asdict(one), "strongest": [(pair_id[:ID_CHARS], margin) for pair_id, margin in one.strongest]}
            for one in refused
        ],
        "diversity": diversity(content),
        "reasons": {"first": FIRST, "second": SECOND, "dropped": DROPPED},
        "docs": docs,
    }
    pictures = packed([asdict(one) for one in charts(content)])
    fixed = sum(len(part.encode()) for part in (*scripts, *styles, pictures, packed(facts)))
    room = max(0, LARGEST - _MARKUP - fixed)
    of_refused = dict.fromkeys(pair_id for one in refused for pair_id, _ in one.strongest)
    shown, stats = _fitting(_with_first(content, [*of_refused]), int(_SHARE_OF_STATISTICS * room))
    blocks = [*text_blocks(shown, room - len(stats))]
    with_texts = sum(pairs for pairs, _ in blocks)
    facts["pairs_with_texts"] = with_texts
    version = fingerprint(pictures, stats, json.loads(json.dumps(facts, default=str)), blocks, scripts, styles)
    facts |= {"profile": content.profile, "snapshot_id": content.snapshot_id}
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, keep_trailing_newline=True)
    page = environment.get_template(_TEMPLATE).render(
        profile=content.profile,
        policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        scripts=scripts,
        styles=styles,
        data={"facts": packed(facts), "statistics": stats, "charts": pictures},
        blocks=[block for _, block in blocks],
    )
    made = page.encode()
    return made, Written(len(made), content.all_pairs, shown.pairs.height, with_texts, version[:ID_CHARS])


def _with_first(content: Content, pair_ids: Sequence[str]) -> Content:
    """The same with these pairs before all others, in this order."""
    first = pl.DataFrame({"pair_id": pair_ids}, schema={"pair_id": pl.String})
    others = content.pairs.join(first, on="pair_id", how="anti", maintain_order="left")
    named = first.join(content.pairs, on="pair_id", maintain_order="left").select(content.pairs.columns)
    return replace(content, pairs=pl.concat([named, others]))


def _fitting(content: Content, room: int) -> tuple[Content, str]:
    """As many of the pairs, from the first, as have their packed statistics in `room` bytes; and these."""
    while True:
        stats = packed(statistics(content))
        if len(stats) <= room or content.pairs.is_empty():
            return content, stats
        content = replace(content, pairs=content.pairs.head(int(0.95 * content.pairs.height * room / len(stats))))


def _part(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
