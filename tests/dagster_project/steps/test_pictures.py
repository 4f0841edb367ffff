"""What the pages of SQL assets show: pictures of what is stored, and figures that Dagster plots over time."""

import base64
import io

import pytest
from matplotlib.image import imread

from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import load_models
from dagster_project.steps import pictures
from dagster_project.steps.pictures import PICTURES, shown_of
from tests.sql.story import Story, Text

SHAPES = {"before_and_after": (375, 375), "spend": (240, 750), "outcomes": (240, 750), "histograms": (240, 750)}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    story = Story(Lake(tmp_path_factory.mktemp("pictures")))
    story.recipe("paper", "paper")
    story.recipe("raw", "original")
    story.pair("a", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.75, r_ifd=0.9), both=Text(ifd=0.625, r_ifd=0.3))
    story.pair("b", Text(ifd=0.5, r_ifd=0.9), Text(ifd=0.25), response=Text(ifd=0.875, r_ifd=0.5))
    story.pair("c", Text(ifd=None, r_ifd=None, status="not_finite"), "refused")
    reply = {"teacher": "gpt", "phase": "instruction_reflection", "status": "ok"}
    story.add("reflection.teacher_replies", request_id="1", cost_usd=0.5, **reply)
    story.add("reflection.teacher_replies", request_id="2", cost_usd=0.25, **reply)
    return story.tell()


def test_each_is_of_a_model_and_a_small_picture(told: Lake) -> None:
    drawn = {}
    for table in PICTURES:
        assert table in load_models()
        for name, value in shown_of(told, table).items():
            if name in SHAPES:
                markdown = str(value.value)
                assert markdown.startswith("![") and markdown.endswith(")")
                png = base64.b64decode(markdown.partition("base64,")[2][:-1])
                drawn[name] = imread(io.BytesIO(png)).shape[:2]
                assert len(markdown) < 100_000
    assert drawn == SHAPES


def test_figures_over_time_are_those_of_sql(told: Lake) -> None:
    figures = {name: value for name, value in shown_of(told, "selection.selection_summary").items() if "/" in name}
    assert figures == {
        "kept/paper": 2,
        "kept_share/paper": 0.6667,
        "instruction_vetoed/paper": 1,
        "response_vetoed/paper": 0,
        "mean_ifd/paper": pytest.approx(0.75),
        "mean_r_ifd/paper": pytest.approx(0.4),
        "kept/raw": 2,
        "kept_share/raw": 0.6667,
        "instruction_vetoed/raw": 1,
        "response_vetoed/raw": 0,
        "mean_ifd/raw": pytest.approx(0.5),
        "mean_r_ifd/raw": pytest.approx(0.9),
    }
    assert shown_of(told, "reflection.teacher_costs")["spent_usd"] == 0.75


def test_points_say_which_rewrites_were_taken(told: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[tuple[float, float, bool]]] = {}
    monkeypatch.setattr(
        pictures,
        "remembered",
        lambda lake, plot, whose, points, words: drawn.update({whose: sorted(points)}),
    )
    for table in ("selection.instruction_choices", "selection.response_choices"):
        shown_of(told, table)
    rounded = {
        whose: [(round(before, 6), round(after, 6), taken) for before, after, taken in points]
        for whose, points in drawn.items()
    }
    assert rounded == {
        "first choice": [(0.5, 0.25, False), (0.5, 0.75, True)],
        "second choice": [(0.9, 0.3, True), (0.9, 0.5, True)],
    }


def test_an_empty_lake_shows_nothing(lake: Lake) -> None:
    lake.prepare()
    assert {table: shown_of(lake, table) for table in PICTURES} == {table: {} for table in PICTURES}


def test_a_table_without_pictures_shows_nothing(told: Lake) -> None:
    assert shown_of(told, "selection.kept_pairs") == {}
