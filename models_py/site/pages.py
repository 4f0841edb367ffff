"""A static site of a project's data, as `dbt docs` gives one: a page a table, and what leads to it.

    write_site(site, folder)

    index.html    what there is, what the checks say, the whole graph       checks.html, macros.html, seeds.html
    tables/selection.instruction_choices.html    description, rows, lineage, columns, SQL, checks, neighbours
    page.css, page.js, names.js                  how it looks, its search, what can be searched

It needs no network and no server, and no script but for the search. Addresses are names, so they can be guessed and
linked to; `#column` leads to a column. Every text is escaped by the templates. The same content gives the same bytes.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import SqlLexer

from models_py.site.content import OUTCOMES, Site, Table
from models_py.site.graph_svg import Picture, picture
from models_py.site.layered import reduced

_HERE = Path(__file__).parent
_STATIC = ("page.css", "page.js")
_COLOURS = ("profile", "raw", "reflection", "scoring", "selection", "training", "evaluation", "lineage", "report")
_AROUND = 26  # boxes of a table's picture, where it shows more than the direct neighbours
_EXCERPT = 160
_HASH, _HASH_CHARS = re.compile("[0-9a-f]{64}"), 12
_LONG_NUMBER = re.compile(r"-?\d+\.\d{5,}")


def write_site(site: Site, folder: Path) -> int:
    """Write all pages into an empty folder; how many."""
    pages: dict[str, tuple[str, dict[str, object]]] = {
        "index.html": ("index", {"graph": _whole(site), "outcomes": _outcomes(site)}),
        "checks.html": ("checks", {"outcomes": _outcomes(site)}),
        "macros.html": ("macros", {}),
        "seeds.html": ("seeds", {}),
        **{
            address(name): ("table", {"table": table, "graph": _around(site, table)})
            for name, table in site.tables.items()
        },
    }
    environment = _environment(site)
    (folder / "tables").mkdir()
    for place, (template, values) in pages.items():
        root = "../" if "/" in place else ""
        text = environment.get_template(f"{template}.html.jinja").render(root=root, place=place, **values)
        (folder / place).write_text(text, encoding="utf-8")
    for name in _STATIC:
        shutil.copyfile(_HERE / name, folder / name)
    names = json.dumps([*_names(site)], separators=(",", ":"))
    (folder / "names.js").write_text(f"const NAMES = {names};\n", encoding="utf-8")
    return len(pages)


def address(table: str) -> str:
    """Of a table's page, from the root of the site."""
    return f"tables/{table}.html"


def _environment(site: Site) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    formatter = HtmlFormatter(nowrap=True)
    environment.filters["sql"] = lambda text: highlight(text, SqlLexer(), formatter)
    environment.filters["excerpt"] = _excerpt
    environment.filters["cell"] = _cell
    environment.filters["colour"] = lambda schema: schema if schema in _COLOURS else "other"
    environment.globals |= {"site": site, "address": address}
    return environment


def _excerpt(text: str) -> str:
    """The first sentence, as far as it is a line."""
    first = text.split(". ", 1)[0].rstrip(".")
    return first if len(first) <= _EXCERPT else f"{first[: _EXCERPT - 1]}…"


def _cell(text: str) -> str:
    """A value of a row in few characters: of a hash its beginning, of a number four digits."""
    if _HASH.fullmatch(text):
        return f"{text[:_HASH_CHARS]}…"
    return f"{float(text):.4g}" if _LONG_NUMBER.fullmatch(text) else text


def _outcomes(site: Site) -> Mapping[str, int]:
    counted = Counter(check.outcome for _, check in site.checks)
    return {outcome: counted[outcome] for outcome in OUTCOMES}


def _whole(site: Site) -> Picture:
    return picture(reduced({name: table.reads for name, table in site.tables.items()}), site.tables, address)


def _around(site: Site, table: Table) -> Picture:
    """What a table reads on its left, what reads it on its right, and the next ones where that is no thicket.

    A column a step: arrows between others than neighbours are on the whole graph.
    """
    tables = site.tables
    reads = {table.name: [*table.reads], **{name: [table.name] for name in table.read_by}}
    reads |= {name: [] for name in table.reads}
    further = {name: [*read] for name, read in reads.items()}
    for name in table.reads:
        further[name] = [read for read in tables[name].reads if read not in reads]
        further |= {read: [] for read in further[name]}
    for name in table.read_by:
        for reader in (one for one in tables[name].read_by if one not in reads):
            further[reader] = [*further.get(reader, []), name]
    shown = further if len(further) <= _AROUND else reads
    return picture(shown, tables, lambda name: f"{name}.html", table.name)


def _names(site: Site) -> Iterator[list[str]]:
    """What can be searched: kind, name, where it belongs, address, text."""
    for name, table in site.tables.items():
        yield [table.kind, name, table.schema, address(name), table.description]
        for column in table.columns:
            yield ["column", column.name, name, f"{address(name)}#{column.name}", column.description]
        for check in {check.name: check for check in table.checks}.values():
            yield ["check", check.name, name, f"{address(name)}#checks", check.description]
    for macro in site.macros:
        yield ["macro", macro.name, macro.file, f"macros.html#{macro.name}", macro.description]
    for seed in site.seeds:
        yield ["bundled file", seed.file, "", f"seeds.html#{seed.file}", ", ".join(seed.fields)]
