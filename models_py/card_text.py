r"""README.md files for the hub: YAML front matter, then a Jinja template's Markdown.

    card_text({"license": "mit"}, Path("card.md.jinja"), title="paper")     # "---\nlicense: mit\n---\n\n# paper\n"

The same values give the same text. In a template `{{ value | cell }}` is a value as it may stand in a table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

FILE = "README.md"
TAG = "reflection-lake"


@dataclass(frozen=True, slots=True)
class SourceOfRows:
    """A source of the rows that a card tells of. license: as the profile states it."""

    name: str
    rows: int
    license: str | None


def card_text(
    front: Mapping[str, Any], template: Path, filters: Mapping[str, Callable[..., object]] | None = None, **values: Any
) -> str:
    """The text of a README.md."""
    matter = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    environment = _environment().overlay()
    environment.filters = {**environment.filters, **(filters or {})}
    return f"---\n{matter}---\n\n{environment.from_string(template.read_text('utf-8')).render(values)}\n"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = _cell
    return environment


def _cell(value: object) -> str:
    """On one line, its bars escaped."""
    return " ".join(str(value).split()).replace("|", "\\|")
