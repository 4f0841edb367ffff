"""The pages of a small site: what they say, where they link to, and that a text stays a text."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from models_py.site.content import Check, Column, Macro, Made, Seed, Site, Table
from models_py.site.pages import address, write_site
from tests.support.html_pages import Page, pages_of

HOSTILE = (
    """</script><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }} `a<b` [x](javascript:alert(3))"""
)
NEVER = Check(name="never", asset="raw/pairs", description="Runs one day.", blocking=True, sql="select 1 where 1 > 2")
BAD = Check(
    name="bad",
    asset="raw/pairs",
    description=HOSTILE,
    blocking=False,
    outcome="warned",
    at="2026-01-31 12:00 UTC",
    told={"violations": "2"},
    offenders=[{"pair": HOSTILE, "n": "1"}, {"pair": "0a" * 32, "n": "1.01898030785"}],
)
PAIRS = Table(
    name="raw.pairs",
    kind="table",
    description=HOSTILE,
    grain=["pair"],
    columns=[Column("pair", "VARCHAR", HOSTILE), Column("n", "BIGINT", "number")],
    read_by=["selection.chosen"],
    checks=[BAD, NEVER],
    made=[Made("raw/pairs", "2026-01-31 12:00 UTC", 1234, "0123456789abcdef", "7", "run-1")],
)
CHOSEN = Table(
    name="selection.chosen",
    kind="view",
    description="Those with the lower `n`.",
    grain=["pair"],
    columns=[Column("pair", "VARCHAR", "pair", [("raw.pairs", "pair")])],
    file="sql/chosen.sql",
    sql="select pair -- <b>bold</b>\nfrom raw.pairs where selection.lower_wins(n, 3)",
    macros=["lower_wins"],
    reads=["raw.pairs"],
    made=[Made("selection/chosen")],
)
LOWER = Macro("lower_wins", "sql/macros/lower_wins.sql", "The lower wins.", "create macro x(a) as a", [CHOSEN.name])
SITE = Site(
    "toy", " PROFILE=toy", {PAIRS.name: PAIRS, CHOSEN.name: CHOSEN}, [LOWER], [Seed("seeds/a.jsonl", 9, 2, ["x"], [])]
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert write_site(SITE, tmp_path) == 6
    return tmp_path


def test_every_link_leads_to_a_page_and_its_place(made: Path) -> None:
    pages = pages_of(made)
    names = json.loads((made / "names.js").read_text().removeprefix("const NAMES = ").rstrip(";\n"))
    for _, _, _, where, _ in names:
        path, _, place = where.partition("#")
        assert not place or place in pages[made / path].ids, where


def test_a_text_is_shown_and_does_nothing(made: Path) -> None:
    page = Page(made / address("raw.pairs"))
    assert page.text.count("<script>alert(1)</script>") >= 3  # description, column, offender
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert "{{ 7 * 7 }}" in page.text
    assert not [link for link in page.links if link.startswith(("http", "javascript", "//"))]
    assert "<b>bold</b>" in Page(made / address("selection.chosen")).text
    script = (made / "names.js").read_text()
    assert script.isascii() and script.count("\n") == 1


def test_a_page_says_what_is_known(made: Path) -> None:
    text = " ".join(Page(made / address("raw.pairs")).text.split())
    for said in ("one row a pair", "1,234", "0123456789ab", "2026-01-31 12:00 UTC", "violations 2", "not run yet"):
        assert said in text
    page = (made / address("raw.pairs")).read_text()
    assert f'<td title="{"0a" * 32}">0a0a0a0a0a0a…</td><td title="1.01898030785">1.019</td>' in page
    chosen = (made / address("selection.chosen")).read_text()
    assert "not materialized yet" in chosen
    assert '<span class="k">select</span>' in chosen
    assert "<code>n</code>" in chosen
    assert '<a href="raw.pairs.html#pair">pair</a>' in chosen
    assert "What the checks object to" in Page(made / "index.html").text


def test_the_picture_holds_the_neighbours_and_marks_the_table(made: Path) -> None:
    svg = re.search(r"<svg.*</svg>", (made / address("selection.chosen")).read_text(), re.DOTALL)
    assert svg is not None
    assert re.findall(r'<a href="([^"]+)"', svg[0]) == ["raw.pairs.html", "selection.chosen.html"]
    assert svg[0].count('class="arrow near"') == 1
    assert svg[0].count("box focus") == 1


def test_before_anything_was_made_the_site_says_how(tmp_path: Path) -> None:
    untouched = replace(PAIRS, made=[Made("raw/pairs")], checks=[NEVER])
    write_site(replace(SITE, tables={PAIRS.name: untouched, CHOSEN.name: CHOSEN}), tmp_path)
    text = Page(tmp_path / "index.html").text
    assert "Nothing has been materialized yet: make run PROFILE=toy" in text
    assert "object to" not in text


def test_the_same_content_gives_the_same_bytes(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = tmp_path_factory.mktemp("again")
    write_site(SITE, again)
    files = sorted(file.relative_to(made) for file in made.rglob("*") if file.is_file())
    assert [(made / file).read_bytes() for file in files] == [(again / file).read_bytes() for file in files]
    assert {*files} == {file.relative_to(again) for file in again.rglob("*") if file.is_file()}
