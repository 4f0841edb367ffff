"""report.selection_report: the file in the warehouse, the same for the same rows, also of a lake that has none yet."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.report.selection_report import selection_report
from dagster_project.lakehouse.lake import Commit
from dagster_project.steps.report_content import REPORT, report_content
from tests.assets.conftest import Flow, version
from tests.sql.story import Story, Text, refresh


def values(made: dg.MaterializeResult[None]) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in (made.metadata or {}).items()}


def test_a_lake_without_rows_has_a_report(flow: Flow) -> None:
    made = values(flow.run(selection_report))
    file = flow.profile.warehouse / REPORT
    assert (made["path"], made["dagster/row_count"], made["bytes"]) == (str(file), 0, file.stat().st_size)


def test_the_report_changes_with_what_it_shows_and_with_nothing_else(flow: Flow) -> None:
    story = Story(flow.lake)
    story.recipe("paper", "paper")
    for pair in "abc":
        story.pair(pair, Text(ifd=0.5), Text(ifd=0.9, r_ifd=0.9), both=Text(r_ifd=0.3))
    story.tell()
    file = flow.profile.warehouse / REPORT
    first = flow.run(selection_report)
    page = file.read_bytes()
    assert (values(first)["dagster/row_count"], values(first)["pairs_with_texts"]) == (3, 3)
    again = flow.run(selection_report)
    assert version(again) == version(first)
    assert file.read_bytes() == page

    def category(value: str) -> None:
        change = f"update raw.raw_pairs set category = {value} where pair_id = 'a'"
        flow.lake.write(lambda connection: connection.execute(change), Commit("a category"))
        refresh(flow.lake)

    category("'poetry'")
    assert version(flow.run(selection_report)) != version(first)
    category("null")
    assert version(flow.run(selection_report)) == version(first)  # of another snapshot


@pytest.mark.parametrize("exists", [True, False])
def test_the_page_of_the_tables_is_linked_where_it_is(flow: Flow, exists: bool) -> None:
    docs = flow.profile.warehouse / "docs" / "index.html"
    without = version(flow.run(selection_report))
    if exists:
        docs.parent.mkdir()
        docs.touch()
    assert (version(flow.run(selection_report)) == without) is not exists


def test_rare_categories_are_counted_together(flow: Flow) -> None:
    story = Story(flow.lake)
    story.recipe("raw", "original")
    for n in range(43):
        story.pair(f"{n:02d}", Text())
        story.rows["raw.raw_pairs"][-1]["category"] = f"c{n:02d}"
    story.tell()
    with report_content(flow.lake, "mine") as content:
        rows = content.tables["categories"].rows()
    assert rows[:2] == [("raw", "c00", 1, 1), ("raw", "c01", 1, 1)]
    assert rows[40:] == [("raw", "(3 others)", 3, 3)]


def test_one_huge_answer_does_not_decide_the_lengths(flow: Flow) -> None:
    story = Story(flow.lake)
    story.recipe("raw", "original")
    for n, length in enumerate((10, 20, 300_000)):
        story.pair(str(n), Text())
        story.rows["raw.raw_pairs"][-1] |= {"instruction": "x" * 7, "output": "y" * length}
    story.tell()
    with report_content(flow.lake, "mine") as content:
        [row] = content.tables["lengths"].to_dicts()
    assert (row["instruction_before"], row["answer_before"], row["answer_after"]) == (7, 20, 20)


def test_a_long_curve_is_thinned_and_keeps_its_ends(flow: Flow) -> None:
    from tests.support.reported import tell

    tell(flow.lake)
    with report_content(flow.lake, "mine") as content:
        losses = content.tables["losses"]
    assert losses["step"].to_list() == [*range(1, 1000, 2), 1000]


def test_texts_are_read_in_the_snapshot_of_the_statistics(flow: Flow, tmp_path: Path) -> None:
    story = Story(flow.lake)
    story.recipe("raw", "original")
    story.pair("a", Text())
    story.tell()
    with report_content(flow.lake, "mine") as content:
        change = "update raw.raw_pairs set output = 'changed'"
        flow.copy(tmp_path / "unused")  # the other's lake is another file
        flow.lake.write(lambda connection: connection.execute(change), Commit("meanwhile"))
        [row], _ = content.texts(["a"])
    assert row["output"] == "y a"
