"""`make docs`: every asset has its page, with the lake's own columns and what Dagster's records say of it."""

import html
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.commands import docs
from dagster_project.commands.docs_content import site_of
from dagster_project.commands.home import HOME_VARIABLE
from dagster_project.definitions import build_definitions
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import load_macros, load_models
from dagster_project.lakehouse.tables import SHARED_BY_RECIPES
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.steps.results import asset_keys, key
from models_py.site.content import Check, Site
from models_py.site.pages import write_site
from tests.support.browser import browser
from tests.support.html_pages import pages_of
from tests.support.profiles import SMALLEST, write_profile

pytestmark = pytest.mark.slow

HOSTILE = '<img src="http://attacker.example/x" onerror="alert(1)">'
CHECKED = key("raw", "quarantined_rows")


@dataclass
class Made:
    profile: Profile
    folder: Path
    site: Site

    def check(self, table: str, name: str) -> Check:
        [found] = [one for one in self.site.tables[table].checks if one.name == name]
        return found


def record(instance: dg.DagsterInstance) -> None:
    """What runs leave: materializations, and checks that passed, warned and failed; one twice."""
    for made, table, rows, version in (
        ("raw/raw_pairs", "raw.raw_pairs", 12, "v1"),
        ("training/first/training_pairs", "training.training_pairs", 5, "v2"),
        ("training/first/student_checkpoint", "", 5, "v3"),  # trained on so many
    ):
        tags = {"dagster/data_version": version}
        figures: dict[str, int | str] = {"dagster/row_count": rows, "snapshot_id": 7, "dagster/table_name": table}
        instance.report_runless_asset_event(dg.AssetMaterialization(key(*made.split("/")), metadata=figures, tags=tags))
    offender = {"first_violations": dg.MetadataValue.json([{"source": HOSTILE, "share": "0.5"}]), "violations": 1}
    results: Sequence[tuple[str, str, bool, dg.AssetCheckSeverity, Mapping[str, Any]]] = (
        ("raw/raw_pairs", "rows_are_unique", False, dg.AssetCheckSeverity.ERROR, {"violations": 3}),
        ("raw/raw_pairs", "rows_are_unique", True, dg.AssetCheckSeverity.ERROR, {"violations": 0}),
        ("raw/quarantined_rows", "quarantine_share", False, dg.AssetCheckSeverity.ERROR, offender),
        ("reflection/instruction_reflections", "reflections_are_usable", False, dg.AssetCheckSeverity.WARN, {}),
    )
    for asset, name, passed, severity, metadata in results:
        found = dg.AssetCheckEvaluation(
            asset_key=key(*asset.split("/")), check_name=name, passed=passed, severity=severity, metadata=metadata
        )
        instance.report_runless_asset_event(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_warehouse: Path) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("docs")
    profile = load_profile(write_profile(folder, SMALLEST))
    shutil.copytree(empty_warehouse, profile.warehouse)
    home = folder / "dagster"
    home.mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        record(instance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        site, written = site_of(profile), folder / "site"
        written.mkdir()
        write_site(site, written)
        yield Made(profile, written, site)


def test_every_asset_of_the_definitions_has_a_page(made: Made) -> None:
    graph = build_definitions(made.profile).resolve_asset_graph()
    shared = {asset: table for table in SHARED_BY_RECIPES for asset in asset_keys(table, ["first"])}
    for asset in graph.get_all_asset_keys():
        page = made.folder / "tables" / f"{shared.get(asset, '.'.join(asset.path))}.html"
        assert f"<code>{asset.to_user_string()}</code>" in page.read_text(), asset
    pages = {file.stem for file in (made.folder / "tables").iterdir()}
    assert pages == made.site.tables.keys()
    for table, one in made.site.tables.items():
        parents = {
            shared.get(parent, ".".join(parent.path))
            for of in one.made
            for parent in graph.get(dg.AssetKey(of.asset.split("/"))).parent_keys
        }
        assert {*one.reads} == parents - {table}
        assert all(table in made.site.tables[read].read_by for read in one.reads)
    assert [macro.name for macro in made.site.macros] == sorted(load_macros())


def test_all_links_lead_somewhere(made: Made) -> None:
    assert len(pages_of(made.folder)) == len(made.site.tables) + 4


def test_columns_are_the_lakes_own(made: Made) -> None:
    with open_lake(made.profile).connect() as connection:
        for table, one in made.site.tables.items():
            if one.kind == "asset":
                continue
            described = connection.execute(f"describe {table}").fetchall()
            assert {(column.name, column.type) for column in one.columns} == {(row[0], row[1]) for row in described}
            assert all(column.description for column in one.columns), table


def test_sql_is_shown_as_it_is_written(made: Made) -> None:
    for table, model in load_models().items():
        page = (made.folder / "tables" / f"{table}.html").read_text()
        (block,) = re.findall(r'<h2 id="sql">.*?<pre[^>]*><code>(.*?)</code></pre>', page, re.DOTALL)
        assert html.unescape(re.sub(r"<[^>]+>", "", block)).strip() == model.file.sql


def test_results_are_the_last_of_the_instance(made: Made) -> None:
    pairs = made.site.tables["raw.raw_pairs"]
    (last,) = pairs.made
    assert (last.rows, last.data_version, last.snapshot, pairs.is_made) == (12, "v1", "7", True)
    assert made.site.tables["training.training_pairs"].rows == 5
    assert made.site.tables["training.student_checkpoints"].rows is None
    assert made.check("raw.raw_pairs", "rows_are_unique").outcome == "passed"
    assert made.check("raw.raw_pairs", "rows_are_unique").told == {"violations": "0"}
    assert made.check("reflection.instruction_reflections", "reflections_are_usable").outcome == "warned"
    failed = made.check("raw.quarantined_rows", "quarantine_share")
    assert (failed.outcome, failed.offenders) == ("failed", [{"source": HOSTILE, "share": "0.5"}])
    others = [check.outcome for _, check in made.site.checks if check.at is None]
    assert {*others} == {"not run yet"} and len(others) == len(made.site.checks) - 3
    page = (made.folder / "tables" / "raw.quarantined_rows.html").read_text()
    assert html.escape(HOSTILE, quote=False) in page.replace("&#34;", '"')
    assert "<img" not in page


def test_made_again_it_is_the_same_and_takes_the_place_of_the_old(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in made.folder.rglob("*") if file.is_file()}
    (made.folder / "old.html").write_text("of an earlier version")
    assert docs.main(["--profile", str(made.profile.file), "--out", str(made.folder)]) == 0
    assert {file: file.read_bytes() for file in made.folder.rglob("*") if file.is_file()} == before
    assert capsys.readouterr().out.endswith(f"index.html  {len(made.site.tables) + 4} pages\n")


def test_a_folder_of_somebody_elses_is_left_alone(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert docs.main(["--profile", str(made.profile.file), "--out", str(tmp_path)]) == 1
    assert "holds something else than an earlier site" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_before_any_run_it_is_whole_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    profile = load_profile(write_profile(tmp_path, SMALLEST))
    assert docs.main(["--profile", str(profile.file)]) == 0
    assert [file.name for file in profile.warehouse.iterdir()] == ["docs"]  # no lake and no records are made
    assert "Nothing has been materialized yet" in (profile.warehouse / "docs" / "index.html").read_text()
    assert (
        '<td class="type">double</td>'
        in (profile.warehouse / "docs/tables/selection.candidate_scores.html").read_text()
    )
    assert HOME_VARIABLE not in os.environ


@pytest.mark.browser
def test_it_opens_from_the_disk_asks_nobody_and_finds_names(made: Made) -> None:
    with browser() as window:
        page = window.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        for place in ("index.html", "checks.html", "macros.html", "seeds.html", "tables/raw.quarantined_rows.html"):
            page.goto(f"file://{made.folder}/{place}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        assert HOSTILE in page.inner_text("main")
        page.keyboard.press("/")
        page.keyboard.type("r_ifd_reflected response_choices")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tables/selection.response_choices.html#r_ifd_reflected")
        assert page.locator("tr:target").inner_text().startswith("r_ifd_reflected")
        page.locator(".graph a", has_text="candidate_scores").click()
        page.wait_for_url("**/tables/selection.candidate_scores.html")
        page.set_viewport_size({"width": 390, "height": 844})
        for place in ("index.html", "tables/selection.response_choices.html", "checks.html"):
            page.goto(f"file://{made.folder}/{place}")
            assert page.evaluate("document.documentElement.scrollWidth") == 390, place
        assert said == []
        assert [url for url in asked if not url.startswith("file://")] == []
        names = json.loads((made.folder / "names.js").read_text().removeprefix("const NAMES = ").rstrip(";\n"))
        assert len(names) > 500
