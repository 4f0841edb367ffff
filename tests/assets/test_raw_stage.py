"""raw: good rows and bad rows, both kept; too many bad ones stop the run, but not before they can be seen."""

import io
import json

import pytest
from rich.console import Console

from assets.profile.sources import sources
from assets.raw.raw_pairs import raw_pairs
from dagster_project.commands.run_view import _print_left_out
from models_py.content import content_id
from models_py.errors import UserError
from tests.assets.conftest import CAT, DOG, OWL, Flow, version
from tests.support.values import as_a


def test_pairs_are_stored_once_with_their_origin(flow: Flow) -> None:
    flow.pairs(CAT, DOG, CAT)
    quarantined, counts, pairs = flow.run(raw_pairs)
    rows = flow.lake.read(
        "select pair_id, source, source_row, output, category, duplicate_count from raw.raw_pairs order by source_row"
    )
    assert rows.rows() == [
        (content_id(*CAT), "mine", 1, "Soft.", None, 1),
        (content_id(*DOG), "mine", 2, "Loyal.", None, 0),
    ]
    assert [table.metadata["dagster/row_count"] for table in (quarantined, counts)] == [0, 1]
    assert {
        name: pairs.metadata[name] for name in ("dagster/row_count", "rows_read", "duplicate_rows", "quarantined_rows")
    } == {
        "dagster/row_count": 2,
        "rows_read": 3,
        "duplicate_rows": 1,
        "quarantined_rows": 0,
    }


def test_a_bad_row_is_quarantined_beside_the_good_ones(flow: Flow) -> None:
    flow.pairs(CAT, DOG, OWL, broken=1)
    list(flow.run(raw_pairs))
    [(row, reason)] = flow.lake.read("select source_row, reason from raw.quarantined_rows").rows()
    assert (row, "JSON" in reason) == (4, True)
    assert flow.lake.scalar("select count(*) from raw.raw_pairs") == 3


def test_too_many_bad_rows_stop_the_run_but_are_stored(flow: Flow) -> None:
    flow.pairs(CAT, broken=2)
    with pytest.raises(UserError, match=r"sources\.mine: 2 of 3 rows cannot be used"):
        list(flow.run(raw_pairs))
    assert flow.lake.scalar("select count(*) from raw.quarantined_rows") == 2
    assert flow.lake.scalar("select count(*) from raw.raw_pairs") == 0


def test_the_same_files_are_the_same_version_and_no_snapshot(flow: Flow) -> None:
    flow.pairs(CAT, DOG, OWL, broken=1)
    first = [version(result) for result in flow.run(raw_pairs)]
    snapshot = flow.lake.snapshot_id()
    assert [version(result) for result in flow.run(raw_pairs)] == first
    assert flow.lake.snapshot_id() == snapshot


def test_a_pair_that_left_the_files_leaves_the_table(flow: Flow) -> None:
    list(flow.run(raw_pairs))
    flow.pairs(CAT)
    list(flow.run(raw_pairs))
    assert flow.lake.read("select pair_id from raw.raw_pairs")["pair_id"].to_list() == [content_id(*CAT)]


def test_what_conversations_lose_is_in_table_and_metadata(flow: Flow) -> None:
    turns = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "And?"), ("system", "Stop.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    (flow.folder / "pairs.jsonl").write_text(json.dumps({"messages": messages}))
    *_, pairs = flow.run(raw_pairs)
    assert pairs.metadata["told"].value == (
        "mine: 1 of 1 conversations are cut (turns: last): 1 turn and 1 system text are in no pair"
    )
    columns = "source, row_count, pair_count, cut_conversation_count, turns_left_out, system_texts_left_out"
    assert flow.lake.read(f"select {columns} from raw.source_counts").rows() == [("mine", 1, 1, 1, 1, 1)]
    console = Console(width=200, file=io.StringIO())
    _print_left_out(flow.lake, console)
    assert as_a(io.StringIO, console.file).getvalue() == (
        "Left out  1 turns and 1 system texts of 1 conversations of mine (raw.source_counts)\n"
    )


def test_a_limit_is_part_of_what_the_sources_are(flow: Flow) -> None:
    flow.pairs(CAT, DOG, OWL)
    before = version(flow.run(sources))
    path = str(flow.folder / "pairs.jsonl")
    flow.configure({"sources": [{"name": "mine", "path": path, "limit": 2}]})
    assert version(flow.run(sources)) != before
    *_, pairs = flow.run(raw_pairs)
    assert (pairs.metadata["dagster/row_count"], pairs.metadata["told"].value) == (
        2,
        "mine: only the first 2 rows are read (limit)",
    )
    flow.configure({"sources": [{"name": "mine", "path": path, "sample": {"rows": 2, "seed": 7}}]})
    *_, pairs = flow.run(raw_pairs)
    assert pairs.metadata["told"].value == "mine: only 2 of 3 rows are taken (sample)"
    flow.configure({"sources": [{"name": "mine", "path": path}]})
    assert version(flow.run(sources)) == before
