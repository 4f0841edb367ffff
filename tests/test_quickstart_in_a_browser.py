"""The quickstart as somebody does it who never opens a terminal again: the graph, its job, one click, the asset pages.

The bundled profile with few of its pairs, a real browser, the real model.
"""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from matplotlib.image import imread

from dagster_project.lakehouse.lake import Lake
from tests.support.browser import browser
from tests.support.profiles import bundled_text, write_profile
from tests.support.ui import serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PAIRS = 6
RUN_ENDS_IN_MS = 900_000


class Opened:
    """A page on the UI, what its console complained of, and the lake below it."""

    def __init__(self, page: "Page", url: str, lake: Lake) -> None:
        self.page, self.url, self.lake = page, url, lake
        self.errors: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def asset(self, name: str, *says: str) -> str:
        """The page of an asset, all that it says once it says this: its parts come one after the other."""
        self.page.goto(f"{self.url}/assets/{name}?view=overview")
        for part in ("Row count", "snapshot_id", *says):
            self.page.wait_for_function("part => document.body.innerText.includes(part)", arg=part)
        return self.page.inner_text("body")

    def picture(self, name: str) -> tuple[int, ...]:
        """Height and width of a picture of the metadata, as it is drawn."""
        row = self.page.locator("tr").filter(has=self.page.get_by_text(name, exact=True))
        row.get_by_text("[Show Markdown]", exact=True).click()
        shown = self.page.locator("img[src^='data:image/png']")
        shown.wait_for()
        png = base64.b64decode(str(shown.get_attribute("src")).partition("base64,")[2])
        self.page.keyboard.press("Escape")
        shown.wait_for(state="detached")
        return imread(io.BytesIO(png)).shape[:2]


@pytest.fixture(scope="module")
def materialized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The main job started by a click on its page, seen to succeed there."""
    profile = yaml.safe_load(bundled_text("quickstart"))
    profile["sources"][0]["sample"]["rows"] = PAIRS
    profile["training"]["epochs"] = 1
    file = write_profile(tmp_path_factory.mktemp("clicked"), profile)
    with serving(file) as ui, browser() as window:
        opened = Opened(window.new_page(), ui.url, Lake(file.parent / "warehouse"))
        page = opened.page
        page.set_default_timeout(60_000)
        page.goto(ui.url)
        page.locator("a[href='/jobs']").click()
        page.locator("a[href$='/jobs/reflection_lake']").click()
        page.get_by_role("button", name="Materialize all").click()
        page.get_by_text("View", exact=True).click()
        # Its status, not the last event: of the log the page holds the lines in sight only.
        status = page.wait_for_selector("text=/^(Success|Failure|Canceled)$/", timeout=RUN_ENDS_IN_MS)
        assert status is not None and status.inner_text() == "Success"
        yield opened


def test_nothing_went_wrong_in_the_console(materialized: Opened) -> None:
    assert materialized.errors == []


def test_an_asset_page_has_rows_schema_and_preview(materialized: Opened) -> None:
    said = materialized.asset("raw/raw_pairs")
    assert re.search(rf"Row count\s+{PAIRS}\b", said)
    for column in ("pair_id", "content id: sha256 of instruction, input, output", "duplicate_count", "bigint"):
        assert column in said
    [instruction] = materialized.lake.read("select instruction from raw.raw_pairs limit 1")["instruction"]
    assert " ".join(instruction.split())[:250] in " ".join(said.split())


def test_the_page_of_a_view_shows_its_select_and_its_pictures(materialized: Opened) -> None:
    materialized.asset("selection/candidate_scores", "inner join selection.pairings as pairings")
    assert materialized.picture("histograms") == (240, 750)
    materialized.asset("selection/response_choices")
    assert materialized.picture("before_and_after") == (375, 375)


def test_the_checkpoints_page_leads_with_how_it_is_used(materialized: Opened) -> None:
    said = materialized.asset("training/paper/student_checkpoint")
    names = ["path", "base", "recipe", "loss_before", "loss_after", "loss_plot", "serve", "steps"]
    places = [said.index(f"\n{name}\n\t") for name in names]
    assert places == sorted(places)
    assert "make serve PROFILE=mine RECIPE=paper" in said
    [path] = materialized.lake.read("select path from training.current_checkpoints where recipe = 'paper'")["path"]
    assert Path(path).name in said


def test_the_report_of_the_run_opens(materialized: Opened) -> None:
    file = materialized.lake.warehouse / "report" / "selection_report.html"
    materialized.page.goto(file.as_uri())
    materialized.page.get_by_text(f"{PAIRS} pairs, read from snapshot").wait_for()
    kept = materialized.lake.scalar("select kept from selection.selection_summary where recipe = 'paper'")
    materialized.page.get_by_text(re.compile(rf"^{kept} of {PAIRS} pairs kept")).wait_for()
    assert materialized.errors == []
