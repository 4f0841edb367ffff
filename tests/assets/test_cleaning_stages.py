"""Cleaning in the lake: computed where the profile asks, from whole conversations and rewrites, and only when new."""

import json
from typing import Any

import polars as pl
import pytest

from assets.profile.recipes import recipes
from assets.profile.sources import sources
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.raw import near_duplicates as near_duplicates_module
from assets.raw.near_duplicates import near_duplicates
from assets.raw.raw_pairs import raw_pairs
from assets.reflection.instruction_reflections import instruction_reflections
from assets.selection import contaminated_texts as contaminated_texts_module
from assets.selection.contaminated_texts import contaminated_texts
from dagster_project.lakehouse.lake import open_lake
from dagster_project.steps.results import TOLD_KEY
from models_py.content import content_id
from models_py.errors import UserError
from tests.assets.conftest import CAT, DOG, NEW_CAT, OWL, Flow, version
from tests.support.processes import first_line, python

WALK = (
    "Describe a walk along the river.",
    "",
    "It begins at the bridge, passes the old mill and the weir where herons stand, and ends in the village square.",
)
WALK_AGAIN = (WALK[0].upper(), "", WALK[2].replace("village square", "market square"))
QUESTION = "Describe a cat in five words."  # what the teacher makes of CAT
NEAR = {"near_duplicates": {"threshold": 0.7}}
EVALUATION = {"evaluation": {"contamination": [{"name": "exam", "path": "exam.jsonl"}]}}


def exam(flow: Flow, *questions: str) -> None:
    lines = [json.dumps({"question": question}) for question in questions]
    (flow.folder / "exam.jsonl").write_text("\n".join(lines), "utf-8")


def read(flow: Flow) -> None:
    """Sources and profile into the lake."""
    flow.run(sources)
    list(flow.run(raw_pairs))
    flow.run(recipes)


def repeated(flow: Flow) -> list[tuple[Any, ...]]:
    return flow.lake.read("select pair_id, representative_id from raw.near_duplicates order by all").rows()


def copies(flow: Flow) -> list[tuple[Any, ...]]:
    return flow.lake.read(
        "select content_id, field, evaluation, file, item_row from selection.contaminated_texts order by all"
    ).rows()


def test_nothing_is_looked_for_where_nobody_asks(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.pairs(WALK, WALK_AGAIN)
    read(flow)
    snapshot = flow.lake.snapshot_id()
    for module, name in ((near_duplicates_module, "_found"), (contaminated_texts_module, "_found")):
        monkeypatch.setattr(module, name, None)
    for asset in (near_duplicates, contaminated_texts):
        result = flow.run(asset)
        assert result.metadata["dagster/row_count"] == 0
        assert TOLD_KEY not in result.metadata
    assert flow.lake.snapshot_id() == snapshot


@pytest.mark.parametrize("asked", [{"parts": NEAR}, {"drop_near_duplicates": True}])
def test_near_duplicates_are_found_where_the_profile_or_a_recipe_asks(flow: Flow, asked: dict[str, Any]) -> None:
    walks = [(WALK[0], "", WALK[2]), (WALK[0], "", f"{WALK[2]} Well."), (WALK[0].upper(), "", WALK[2])]
    flow.pairs(CAT, walks[0], DOG, *walks[1:])
    flow.configure(**asked)
    read(flow)
    result = flow.run(near_duplicates)
    first, *others = (content_id(*walk) for walk in walks)
    assert repeated(flow) == sorted((other, first) for other in others)
    assert "2 pairs nearly repeat an earlier one (raw.near_duplicates)" in result.metadata[TOLD_KEY].value
    assert "drop_near_duplicates: true" in result.metadata[TOLD_KEY].value


def test_the_order_is_that_of_the_sources(flow: Flow) -> None:
    """However the ids sort: the first in the profile represents."""
    (flow.folder / "more.jsonl").write_text((flow.folder / "pairs.jsonl").read_text("utf-8"), "utf-8")
    flow.pairs(*((f"{WALK[0]} {n}", "", WALK[2] * 3) for n in range(9)))
    both = [{"name": "mine", "path": "pairs.jsonl"}, {"name": "early", "path": "more.jsonl"}]
    text = json.dumps({"instruction": f"{WALK[0]} x", "output": WALK[2] * 3})
    (flow.folder / "more.jsonl").write_text(text, "utf-8")
    for listed, first in ((both, f"{WALK[0]} 0"), (both[::-1], f"{WALK[0]} x")):
        flow.configure({"sources": listed, **NEAR})
        read(flow)
        flow.run(near_duplicates)
        assert {of for _, of in repeated(flow)} == {content_id(first, "", WALK[2] * 3)}
        assert len(repeated(flow)) == 9


def test_what_was_found_is_not_looked_for_again(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.pairs(WALK, WALK_AGAIN, CAT)
    exam(flow, WALK[2])
    flow.configure({**NEAR, **EVALUATION})
    read(flow)
    for asset in (teachers, students):
        flow.run(asset)
    before = [version(flow.run(asset)) for asset in (near_duplicates, contaminated_texts)]
    found = (repeated(flow), copies(flow))
    assert [len(rows) for rows in found] == [1, 2]
    snapshot = flow.lake.snapshot_id()

    with monkeypatch.context() as patched:
        for module in (near_duplicates_module, contaminated_texts_module):
            patched.setattr(module, "_found", None)  # would fail
        assert [version(flow.run(asset)) for asset in (near_duplicates, contaminated_texts)] == before
    assert flow.lake.snapshot_id() == snapshot

    flow.pairs(WALK, CAT)  # other pairs, other settings, another exam: looked for again
    read(flow)
    flow.run(near_duplicates)
    assert repeated(flow) == []
    flow.pairs(WALK, WALK_AGAIN, CAT)
    flow.configure({"near_duplicates": {"threshold": 1}, **EVALUATION})
    read(flow)
    flow.run(near_duplicates)
    assert repeated(flow) == []
    exam(flow, "Something else that nobody ever wrote down anywhere in this little lake of ours.")
    flow.run(contaminated_texts)
    assert copies(flow) == []
    exam(flow, WALK[2])
    assert version(flow.run(contaminated_texts)) == before[1]
    flow.configure()
    for asset in (near_duplicates, contaminated_texts):
        assert flow.run(asset).metadata["dagster/row_count"] == 0


def test_rewrites_are_looked_at_too(ready: Flow) -> None:
    exam(ready, QUESTION, "What is the capital of Australia?")
    ready.configure(EVALUATION)
    ready.run(recipes)
    ready.run(contaminated_texts)
    assert copies(ready) == []
    ready.run(instruction_reflections)
    ready.run(contaminated_texts)
    assert copies(ready) == [(content_id(*NEW_CAT), "instruction", "exam", "exam.jsonl", 1)]


def test_what_is_too_short_is_told(ready: Flow) -> None:
    exam(ready, "yes", OWL[0] * 9)
    ready.configure(EVALUATION)
    result = ready.run(contaminated_texts)
    assert "exam: 1 of 2 rows ask in too few words" in result.metadata[TOLD_KEY].value


def test_an_evaluation_file_that_cannot_be_read_fails_the_step_and_nothing_else(ready: Flow) -> None:
    (ready.folder / "exam.jsonl").write_text('{"question": ', "utf-8")
    ready.configure(EVALUATION)
    with pytest.raises(UserError, match=r"evaluation\.contamination\.exam\.path: .*exam\.jsonl, row 1: not valid JSON"):
        ready.run(contaminated_texts)


def test_a_conversation_is_compared_as_a_whole(flow: Flow) -> None:
    """The same last exchange after other turns is another conversation; the same turns in other JSON are not."""
    turns = [{"role": "user", "content": WALK[2]}, {"role": "assistant", "content": "I see the herons every day."}]
    last = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "There is no more to tell."}]
    other = [{"role": "user", "content": "Tell of the sea and of all the ships that lie in its harbours."}, turns[1]]
    system = [
        {
            "role": "system",
            "content": "You guide whoever comes by, you know every stone, and you tell of all in a poet’s words.",
        }
    ]
    rows: list[list[dict[str, str]]] = [turns + last, other + last, system + turns + last]
    rows.append([{**turn, "content": turn["content"].upper()} for turn in rows[0]])
    lines = "\n".join(json.dumps({"messages": row}) for row in rows)
    (flow.folder / "pairs.jsonl").write_text(lines, "utf-8")
    flow.configure(NEAR)
    read(flow)
    flow.run(near_duplicates)
    places = dict(flow.lake.read("select pair_id, source_row from raw.raw_pairs").iter_rows())
    found = flow.lake.read("select pair_id, representative_id, similarity from raw.near_duplicates")
    assert found.with_columns(pl.col("pair_id", "representative_id").replace_strict(places)).rows() == [(4, 1, 1.0)]


SLOW = """
import sys, time, warnings
import dagster as dg
from assets.raw.near_duplicates import near_duplicates
from assets.selection.contaminated_texts import contaminated_texts
from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.load import load_profile
from models_py.cleaning import contamination, near_duplicates as cleaning

def stay(*_):
    print("under way", flush=True)
    time.sleep(100)

cleaning._rows = contamination._without_repeated = stay
profile = load_profile(sys.argv[1])
asset = {"near_duplicates": near_duplicates, "contaminated_texts": contaminated_texts}[sys.argv[2]]
asset(dg.build_asset_context(), lake=open_lake(profile), profile=profile)
"""


@pytest.mark.slow
@pytest.mark.kill
def test_killed_and_run_again_it_finds_the_same(flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> None:
    flow.pairs(WALK, WALK_AGAIN, CAT)
    exam(flow, WALK[2])
    flow.configure({**NEAR, **EVALUATION})
    read(flow)
    for asset in (teachers, students):
        flow.run(asset)
    copy = flow.copy(tmp_path_factory.mktemp("undisturbed"))
    copy.configure({**NEAR, **EVALUATION})
    before = flow.lake.snapshot_id()
    for name, asset in (("near_duplicates", near_duplicates), ("contaminated_texts", contaminated_texts)):
        with python(SLOW, flow.profile.file, name) as process:
            assert first_line(process) == "under way"
            process.kill()
        assert flow.lake.snapshot_id() == before
        left = [path.name for path in flow.profile.warehouse.glob("spill-*/*.duckdb")]
        assert left == (["work.duckdb"] if name == "near_duplicates" else [])
        open_lake(flow.profile).prepare()  # as the next process does first
        assert not [*flow.profile.warehouse.glob("spill-*")]
        assert version(flow.run(asset)) == version(copy.run(asset))
        before = flow.lake.snapshot_id()
    assert (repeated(flow), copies(flow)) == (repeated(copy), copies(copy))
    assert (len(repeated(flow)), len(copies(flow))) == (1, 2)
    assert not [*flow.profile.warehouse.glob("spill-*")]
