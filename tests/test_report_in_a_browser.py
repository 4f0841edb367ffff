"""The report as a person has it: in a real browser, from a file, without a network.

The figures that it shows are compared with SQL; the texts of its lake attack whoever shows them as HTML.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dagster_project.lakehouse.lake import Lake
from dagster_project.steps.report_content import report_content
from models_py.report.page import publish_report
from tests.support.browser import browser
from tests.support.reported import HOSTILE, LONG, MARK, tell

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PAGES = ("overview", "pictures", "pairs", "disagreements", "effects", "evaluation")
WITH_PICTURES = ("overview", "pictures", "effects", "evaluation")
# Every control that has no name that a screen reader could say.
UNNAMED = """
[...document.querySelectorAll('button, input, select, a, summary, dialog, table')].filter((one) => {
  const by = one.getAttribute('aria-labelledby');
  const name = one.getAttribute('aria-label') || (by && document.getElementById(by)?.textContent)
    || [...(one.labels ?? [])].map((label) => label.textContent).join('')
    || (one.tagName === 'TABLE' ? one.caption?.textContent : one.tagName !== 'INPUT' && one.textContent);
  return !name?.trim() && one.checkVisibility() && !one.closest('#vg-tooltip-element');
}).map((one) => one.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def lake(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return tell(Lake(shutil.copytree(empty_warehouse, tmp_path_factory.mktemp("reported") / "warehouse")))


@pytest.fixture(scope="module")
def window() -> Iterator["BrowserContext"]:
    with browser() as context:
        yield context


class Report:
    """The open report; what its page said and asked for."""

    def __init__(self, page: "Page", file: Path) -> None:
        self.page, self.file = page, file
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda one: self.said.append(one.text))
        page.on("pageerror", lambda one: self.said.append(str(one)))
        page.on("dialog", lambda one: self.said.append(one.message))
        page.on("request", lambda one: self.asked.append(one.url))
        page.goto(file.as_uri())
        page.wait_for_selector("body[data-state=open]")

    def show(self, name: str) -> None:
        self.page.click(f"#nav a[href='#{name}']")
        drawn = "[data-pictures=drawn]" if name in WITH_PICTURES else ""
        self.page.wait_for_selector(f"#page-{name}[data-state=made]{drawn}")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def find(self, wanted: int) -> set[str]:
        """The pairs of the table, once it says that there are so many."""
        self.page.locator("#found", has_text=re.compile(rf"^{wanted} of \d+ pairs$")).wait_for()
        return set(self.shown("pair_id"))

    def shown(self, field: str) -> list[str]:
        return [str(row[field]) for row in self.rows()]

    def rows(self) -> list[dict[str, object]]:
        """What the table shows, in its order."""
        found: list[dict[str, object]] = self.page.evaluate(
            "Tabulator.findTable('#table')[0].getData().map((row) => ({ ...row }))"
        )
        return found

    def clear(self) -> None:
        self.page.click("#clear")
        self.find(30)


@pytest.fixture(scope="module")
def opened(lake: Lake, window: "BrowserContext") -> Report:
    file = lake.warehouse / "report.html"
    with report_content(lake, "mine") as content:
        publish_report(content, file, docs="../docs/index.html")
    return Report(window.new_page(), file)


@pytest.fixture
def report(opened: Report) -> Iterator[Report]:
    """The same for each test: nothing is asked of anybody, nothing is said in the console, whatever is done."""
    yield opened
    opened.page.keyboard.press("Escape")
    assert opened.said == []
    assert opened.asked == [opened.file.as_uri()]


@pytest.fixture
def pairs(report: Report) -> Report:
    report.show("pairs")
    report.page.select_option("#table .tabulator-page-size", "100")
    report.clear()
    return report


def sql(lake: Lake, query: str) -> list[str]:
    return [str(value) for value in lake.read(query).to_series()]


def test_every_headline_figure_is_what_sql_says(lake: Lake, report: Report) -> None:
    report.show("overview")
    summary = lake.read("from selection.selection_summary order by recipe").to_dicts()
    assert len(summary) == 3
    for row in summary:
        recipe = row["recipe"]
        card = report.text(f".card[data-recipe='{recipe}']")
        means = lake.read(
            f"select avg(ifd), avg(r_ifd) from selection.pair_decisions where kept and recipe = '{recipe}'"
        ).row(0)
        assert f"{row['kept']} of {row['pairs']} pairs kept, {100 * row['kept_share']:.1f}%" in card
        lines = [line for line in card.splitlines() if line][3:]
        figures = dict(zip(lines[::2], lines[1::2], strict=True))
        assert not any("vetoed" in name for name in figures)  # that is the pairing's, whatever the recipe keeps
        assert [figures["mean IFD"], figures["mean reversed IFD"]] == [f"{mean:.4f}" for mean in means]
        medians = lake.read(
            "select median(length(raw_pairs.instruction) + length(raw_pairs.input)), median(length(raw_pairs.output)), "
            "median(length(kept.instruction) + length(kept.input)), median(length(kept.output)) "
            "from selection.recycled_pairs as kept inner join raw.raw_pairs as raw_pairs using (pair_id) "
            f"where recipe = '{recipe}'"
        ).row(0)
        for at, name in enumerate(("instructions", "answers")):
            assert figures[f"median characters, {name}"] == f"{medians[at]:,g} → {medians[at + 2]:,g}"
    vetoes = report.page.locator("[aria-label^='Rewrites that were vetoed'] tbody tr").all_inner_texts()
    assert vetoes == [f"gpt\ttoy\t{summary[0]['instruction_vetoed']}\t{summary[0]['response_vetoed']}"]
    assert "training loss\n3.500 → 2.250" in report.text(".card[data-recipe='paper']")
    for stage, count in lake.read("select stage, row_count from selection.stage_counts").iter_rows():
        assert f"{stage}\t{count}" in report.text("[aria-label='Rows at each stage']")
    bars = report.page.locator("#page-overview .picture text").all_text_contents()
    for outcome, count in lake.read("select outcome, pairs from selection.choice_outcomes").iter_rows():
        assert {outcome, str(count)} <= set(bars)


def test_every_picture_is_drawn_and_told(report: Report) -> None:
    report.show("pictures")
    names = report.page.locator("#page-pictures figure h3").all_inner_texts()
    assert names == [
        "IFD by candidate",
        "Reversed IFD by candidate",
        "IFD before and after",
        "Reversed IFD before and after",
        "Instructions before and after",
        "Answers before and after",
        "Statuses of reflections",
        "Spend",
        "Training loss",
    ]
    for name in names:
        assert report.page.locator(f"figure svg[aria-label^='{name}. ']").count() == 1


# Letters of pictures that end right of their picture, where nothing of them is seen.
CUT = """
[...document.querySelectorAll('section:not([hidden]) .picture svg')].flatMap((svg) => [...svg.querySelectorAll('text')]
  .filter((text) => text.getBoundingClientRect().right > svg.getBoundingClientRect().right)
  .map((text) => text.textContent))
"""


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_no_letter_of_a_picture_is_cut_at_its_right(report: Report, name: str) -> None:
    report.show(name)
    assert report.page.locator(f"#page-{name} .picture text").count()
    assert report.page.evaluate(CUT) == []


def test_a_point_of_a_picture_opens_its_pair(report: Report) -> None:
    report.show("pictures")
    report.page.locator("figure", has_text="Click a point").first.locator(
        "svg .mark-symbol.role-mark path"
    ).last.click()
    report.page.wait_for_selector("dialog[open]")
    assert re.match(r"Pair \w+$", report.text("#pair-title"))


@pytest.mark.parametrize("words", ["zanzibar", "subject 7", "TOO vague", "hello onerror", "script", "4,5", "nowhere"])
def test_search_finds_what_sql_finds(lake: Lake, pairs: Report, words: str) -> None:
    holds = " and ".join(f"contains(lower(text), '{word.lower()}')" for word in words.split())
    found = sql(
        lake,
        f"""
        with critiques as (
            select pair_id, string_agg(critique, ' ') as critique from (
                select pair_id, critique from reflection.instruction_reflections
                union all select pair_id, critique from reflection.response_reflections
            ) group by all
        ),

        texts as (
            select raw_pairs.pair_id, concat_ws(' ', raw_pairs.pair_id, source, category, any_value(raw_pairs.system),
                any_value(raw_pairs.history), string_agg(concat_ws(' ', candidates.instruction, candidates.input,
                candidates.output), ' '), any_value(critique)) as text
            from raw.raw_pairs as raw_pairs
            left join selection.candidates as candidates using (pair_id)
            left join critiques using (pair_id)
            group by raw_pairs.pair_id, source, category
        )

        select pair_id from texts where {holds}
        """,
    )
    pairs.page.fill("#search", words)
    assert pairs.find(len(found)) == set(found)


FILTERS = {
    "source": ("web", "raw_pairs.source = 'web'"),
    "category": ("", "raw_pairs.category is null"),
    "outcome": ("both", "second_choices.choice = 'both'"),
    "decision": ("kept", "decisions.kept"),
    "first_reason": ("rewrite_off_topic", "first_choices.reason = 'rewrite_off_topic'"),
    "second_reason": ("rewrite_vetoed", "second_choices.reason = 'rewrite_vetoed'"),
    "first_status": ("refused", "first_choices.reflection_status = 'refused'"),
    "second_status": ("truncated", "second_choices.reflection_status = 'truncated'"),
}
JOINED = """
from selection.pair_decisions as decisions
inner join raw.raw_pairs as raw_pairs using (pair_id)
inner join selection.instruction_choices as first_choices using (pair_id)
inner join selection.response_choices as second_choices using (pair_id)
left join selection.candidate_scores as scores
    on scores.pair_id = decisions.pair_id and scores.candidate = decisions.candidate
where recipe = 'half'
"""


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_keeps_what_sql_keeps(lake: Lake, pairs: Report, name: str) -> None:
    value, holds = FILTERS[name]
    found = sql(lake, f"select decisions.pair_id {JOINED} and {holds}")
    assert found
    pairs.page.select_option(f"#filter-{name}", f"={value}")
    assert pairs.find(len(found)) == set(found)


RANGES = {
    "rank": "decisions.rank",
    "ifd": "decisions.ifd",
    "r_ifd": "decisions.r_ifd",
    "ifd_original": "first_choices.ifd_original",
    "r_ifd_instruction": "first_choices.r_ifd_instruction",
    "r_ifd_base": "second_choices.r_ifd_base",
    "ppl_answer": "scores.ppl_answer",
    "ifd_loss": "scores.ifd_loss",
    "answer_tokens": "scores.answer_tokens",
    "original_answer_chars": "length(raw_pairs.output)",
}


def test_each_range_keeps_what_sql_keeps(lake: Lake, pairs: Report) -> None:
    pairs.page.evaluate("document.querySelector('#page-pairs details').open = true")
    for name, value in RANGES.items():
        low, high = lake.read(
            f"select quantile_disc({value}, 0.25), quantile_disc({value}, 0.8) {JOINED} and {value} is not null"
        ).row(0)
        low, high = low - 0.0002 * low, high + 0.0002 * high  # the page has rounded them
        found = sql(lake, f"select decisions.pair_id {JOINED} and {value} between {low} and {high}")
        pairs.page.fill(f"#least-{name}", str(low))
        pairs.page.fill(f"#most-{name}", str(high))
        assert pairs.find(len(found)) == set(found), name
        pairs.clear()


def test_filters_join_and_clear_shows_all_again(lake: Lake, pairs: Report) -> None:
    found = sql(
        lake, f"select decisions.pair_id {JOINED} and raw_pairs.source = 'web' and second_choices.choice = 'both'"
    )
    pairs.page.select_option("#filter-source", "=web")
    pairs.page.select_option("#filter-outcome", "=both")
    assert pairs.find(len(found)) == set(found) != set()
    pairs.page.fill("#search", "zanzibar")
    pairs.find(0)
    pairs.page.click("#clear")
    assert len(pairs.find(30)) == 30
    assert pairs.page.evaluate("document.activeElement.id") == "search"


@pytest.mark.parametrize(
    ("name", "value"), [("ifd_original", "round(ifd_original, 4)"), ("source", "raw_pairs.source"), ("rank", "rank")]
)
def test_a_column_sorts_by_the_control_and_by_its_head(lake: Lake, pairs: Report, name: str, value: str) -> None:
    def ordered(direction: str) -> list[str]:
        return sql(lake, f"select {value} {JOINED} order by 1 {direction} nulls last")

    for direction in ("desc", "asc"):
        pairs.page.select_option("#sort", name)
        pairs.page.select_option("#direction", direction)
        numbers = [row[name] for row in pairs.rows()]
        expected = ordered(direction)
        assert [str(one) for one in numbers] == expected
    pairs.page.locator(f".tabulator-col[tabulator-field='{name}'] .tabulator-col-title").click()
    assert pairs.page.input_value("#sort") == name


def test_another_recipe_is_another_table(lake: Lake, pairs: Report) -> None:
    assert pairs.page.input_value("#recipe") == "half"  # the first that keeps a rewrite
    pairs.page.select_option("#recipe", "raw")
    pairs.page.select_option("#filter-decision", "=kept")
    kept = sql(lake, "select pair_id from selection.pair_decisions where recipe = 'raw' and kept")
    assert pairs.find(len(kept)) == set(kept)
    pairs.page.select_option("#recipe", "half")


def open_pair(pairs: Report, pair: str) -> None:
    pairs.page.fill("#search", pair)
    pairs.page.locator(f"#table button[aria-label='Open pair {pair}']").click()
    pairs.page.wait_for_selector("dialog[open]")


def test_a_pair_shows_its_texts_what_changed_and_why(lake: Lake, pairs: Report) -> None:
    open_pair(pairs, "06")
    text = pairs.text("#pair")
    assert "pairs.jsonl, row 7 · source web" in text
    ifd, r_ifd = (
        lake.read("select ifd_original, ifd_instruction from selection.instruction_choices where pair_id = '06'").row(
            0
        ),
        lake.read("select r_ifd_base, r_ifd_reflected from selection.response_choices where pair_id = '06'").row(0),
    )
    assert pairs.text("#why").splitlines() == [
        f"The rewritten instruction wins: its IFD {ifd[1]:.4f} is higher than the original's {ifd[0]:.4f}.",
        f"The better answer wins: its r-IFD {r_ifd[1]:.4f} is lower than {r_ifd[0]:.4f}.",
        "Recipe half keeps the pair as both, rank 2.",
    ]
    assert pairs.page.locator("#pair ins").all_inner_texts() == [" Do it in two lines.", " and why"]
    assert pairs.page.locator("#pair del").all_inner_texts() == []
    assert text.count("Too vague: Tell me about subject 6.") == 2  # both critiques
    pairs.page.click("#pair .choose button:has-text('instruction')")
    assert pairs.page.locator("#pair section h3").all_inner_texts() == ["original", "instruction"]


def test_a_pair_shows_all_statistics_of_every_candidate(lake: Lake, pairs: Report) -> None:
    open_pair(pairs, "01")
    scores = lake.read(
        "from selection.candidate_scores where pair_id = '01' order by selection.candidate_order(candidate)"
    )
    rows = pairs.page.locator("#pair table tbody tr").all()
    assert len(rows) == scores.height == 3
    for row, known in zip(rows, scores.to_dicts(), strict=True):
        candidate, status, ifd, r_ifd, ifd_loss, *ppl, tokens, chars = row.locator("td").all_inner_texts()
        assert (candidate, status, tokens) == (known["candidate"], known["status"], str(known["answer_tokens"] or ""))
        for shown, name in ((ifd, "ifd"), (r_ifd, "r_ifd"), (ifd_loss, "ifd_loss")):
            assert shown == ("" if known[name] is None else f"{known[name]:.4f}")
        for shown, name in zip(ppl, [name for name in known if name.startswith("ppl_")], strict=True):
            assert float(shown.replace(",", "") or 0) == pytest.approx(known[name] or 0, rel=1e-4)
        assert chars.isdigit()


def test_a_conversation_shows_what_stands_before_the_pair(pairs: Report) -> None:
    open_pair(pairs, "04")
    text = pairs.text("#pair")
    assert "System\nBe brief." in text
    assert f"user\n\nHi there\n\nassistant\n\nHello {HOSTILE[1]}" in text


def test_hostile_texts_stay_text(pairs: Report) -> None:
    for number in range(len(HOSTILE)):
        open_pair(pairs, f"h{number}")
        shown = pairs.page.locator("#pair section[aria-label=original] .text").all_text_contents()
        assert shown == [f"{HOSTILE[number]} asked", HOSTILE[number], HOSTILE[number]]
        assert pairs.page.locator("#pair script, #pair img").count() == 0
        pairs.page.keyboard.press("Escape")
    assert pairs.page.locator("img").count() == 0
    html = pairs.file.read_text(encoding="utf-8")
    assert MARK not in html


def test_a_text_of_100_000_characters_is_compared(pairs: Report) -> None:
    open_pair(pairs, "long")
    assert pairs.page.locator("#pair section[aria-label=original] .text").last.text_content() == LONG
    assert "and why" in (pairs.page.locator("#pair section .text").last.text_content() or "")


def test_all_can_be_done_with_the_keyboard(pairs: Report) -> None:
    page = pairs.page
    page.locator("#nav a[href='#pairs']").focus()
    page.keyboard.press("/")
    page.keyboard.type("subject")
    page.keyboard.press("Tab")
    page.keyboard.type("web")  # the source
    assert page.evaluate("document.activeElement.id") == "filter-source"
    pairs.find(8)
    page.locator("#table button.open").first.focus()
    first, second = (page.locator("#table button.open").nth(n).get_attribute("aria-label") for n in (0, 1))
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == second
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.activeElement.id") == "pair-title"
    page.keyboard.press("ArrowLeft")
    page.locator("#pair-title", has_text=str(first).removeprefix("Open ").capitalize()).wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == second  # back where it was opened


def focused(pairs: Report) -> str | None:
    named: str | None = pairs.page.evaluate("document.activeElement.getAttribute('aria-label')")
    return named


def opener(pairs: Report, place: int) -> str | None:
    return pairs.page.locator("#table button.open").nth(place).get_attribute("aria-label")


def test_arrows_go_through_the_rows_from_the_page_as_it_opens(pairs: Report) -> None:
    page = pairs.page
    page.locator("#nav a[href='#pairs']").focus()  # as it is after a click there
    for key, row in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert focused(pairs) == opener(pairs, row)
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("ArrowDown")  # scrolls the pair
    page.keyboard.press("Escape")
    assert focused(pairs) == opener(pairs, 0)


def test_arrows_go_from_the_search_to_what_it_finds(pairs: Report) -> None:
    page = pairs.page
    page.locator("#nav a[href='#pairs']").focus()
    page.keyboard.press("/")
    page.keyboard.type("zanzibar")
    page.keyboard.press("ArrowDown")  # before the table has followed
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert pairs.text("#pair-title") == "Pair failed"
    page.keyboard.press("Escape")
    assert pairs.find(1) == {"failed"}
    page.fill("#search", "subject 7")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    assert focused(pairs) == opener(pairs, 0)
    page.fill("#search", "nowhere")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    pairs.find(0)
    assert page.evaluate("document.activeElement.id") == "search"


def test_arrows_go_on_to_the_next_page_of_rows_and_back(pairs: Report) -> None:
    page = pairs.page
    page.select_option("#table .tabulator-page-size", "25")
    page.locator("#table button.open").nth(24).focus()
    last = focused(pairs)
    page.keyboard.press("ArrowDown")
    page.locator("#table button.open:focus").wait_for()
    assert focused(pairs) == opener(pairs, 0) != last
    assert page.locator("#table button.open").count() == 5
    page.keyboard.press("ArrowUp")
    page.locator("#table button.open:focus").wait_for()
    assert focused(pairs) == last == opener(pairs, 24)


def test_arrows_keep_their_meaning_in_other_controls(pairs: Report) -> None:
    page = pairs.page
    page.locator("#direction").focus()
    page.keyboard.press("ArrowDown")
    assert (page.evaluate("document.activeElement.id"), page.input_value("#direction")) == ("direction", "desc")
    page.keyboard.press("ArrowUp")
    page.evaluate("document.querySelector('#page-pairs details').open = true")
    page.fill("#least-rank", "1")
    page.keyboard.press("ArrowUp")
    assert (page.evaluate("document.activeElement.id"), page.input_value("#least-rank")) == ("least-rank", "2")


def test_a_click_on_a_row_opens_its_pair(pairs: Report) -> None:
    page = pairs.page
    page.locator("#table .tabulator-row").nth(3).locator("[tabulator-field=source]").click()
    page.wait_for_selector("dialog[open]")
    assert f"Open {pairs.text('#pair-title')}".replace("Pair", "pair") == opener(pairs, 3)
    page.keyboard.press("Escape")
    assert focused(pairs) == opener(pairs, 3)  # from where arrows go on


def test_text_of_a_row_can_be_selected(pairs: Report) -> None:
    page = pairs.page
    box = page.locator("#table .tabulator-row").nth(3).locator("[tabulator-field=at]").bounding_box()
    assert box
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert page.evaluate("getSelection().toString()") in pairs.text("#table .tabulator-row:nth-child(4)")
    assert page.evaluate("getSelection().toString().length") > 3
    assert page.locator("dialog[open]").count() == 0


def test_disagreements_are_those_of_the_largest_margin(lake: Lake, report: Report) -> None:
    report.show("disagreements")
    heads = report.page.locator("#page-disagreements h3").all_inner_texts()
    assert heads == [
        "Instructions that the student vetoed: 5",
        "Instructions that the guard found too hard: 4",
        "Instructions that the guard found off topic: 4",
        "Answers that the student vetoed: 4",
    ]
    first = report.page.locator("#page-disagreements ul").first.locator("li").all_inner_texts()
    margins = lake.read(
        "select ifd_original - ifd_instruction as margin from selection.instruction_choices "
        "where reason = 'rewrite_vetoed' order by margin desc"
    )["margin"]
    assert [one.split()[1] for one in first] == [f"{margin:.4f}" for margin in margins]
    assert "Tell me about subject" in first[0] and "Teacher: Too vague" in first[0]


def test_what_selection_did_is_what_sql_says(lake: Lake, report: Report) -> None:
    report.show("effects")
    text = report.text("#page-effects")
    assert "Policy paper; cuts: top_fraction: 0.5." in text
    drops = lake.read(
        "select recipe, coalesce(drop_reason, 'kept'), count(*) from selection.pair_decisions group by all"
    )
    for _, outcome, count in drops.iter_rows():
        assert f"{outcome}\t{count}" in text
    for category, before, after in lake.read(
        "select coalesce(category, '(none)'), count(*), count(*) filter (kept) from selection.pair_decisions "
        "inner join raw.raw_pairs using (pair_id) where recipe = 'paper' group by all"
    ).iter_rows():
        assert category in HOSTILE or f"{category}\t{before}\t{after}\t{100 * after / before:.1f}%" in text
    assert "well, here is\t" in text  # an opening that repeats


def test_evaluation_is_shown_where_there_is_any(report: Report) -> None:
    report.show("evaluation")
    text = report.text("#page-evaluation")
    assert "loss on held\tpaper\tcheckpoint\tfalse\t2.5000\t2.4000\t2.6000\t40\t1" in text
    assert "paper\ttoy (base)\tgpt\tset\t6\t2\t2\t0.7000\t0.5500\t0.8500" in text
    assert report.page.locator("#page-evaluation svg[aria-label^='Win rates. ']").count() == 1


def test_every_control_has_a_name_and_tables_are_linked(report: Report) -> None:
    for name in PAGES:
        report.show(name)
        assert report.page.evaluate(UNNAMED) == []
    report.show("pairs")
    report.page.locator("#table button.open").first.click()
    assert report.page.evaluate(UNNAMED) == []
    assert report.page.get_attribute("#nav a:has-text('Tables')", "href") == "../docs/index.html"


def test_a_phone_shows_it_without_sideways_scrolling(opened: Report, window: "BrowserContext") -> None:
    page = window.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    phone = Report(page, opened.file)
    for name in PAGES:
        phone.show(name)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name
        assert page.evaluate(CUT) == []
    phone.show("pairs")
    open_pair(phone, "06")
    assert page.evaluate("document.getElementById('pair').scrollWidth <= 390")
    page.close()


def test_dark_is_dark(opened: Report, window: "BrowserContext") -> None:
    page = window.new_page()
    page.emulate_media(color_scheme="dark")
    dark = Report(page, opened.file)
    dark.show("pairs")
    for selector in ("body", "header", "#table .tabulator-row", "#search"):
        color = page.locator(selector).first.evaluate("(one) => getComputedStyle(one).backgroundColor")
        assert max(map(int, re.findall(r"\d+", color)[:3])) < 64, (selector, color)
    dark.show("pictures")
    fill = page.locator("#page-pictures .picture text").first.evaluate("(one) => getComputedStyle(one).fill")
    assert min(map(int, re.findall(r"\d+", fill)[:3])) > 192
    page.close()
