"""raw: good rows and bad rows, both kept; too many bad ones stop the run, but not before they can be seen."""

import pytest

from assets.raw.raw_pairs import raw_pairs
from models_py.content import content_id
from models_py.errors import UserError
from tests.assets.conftest import CAT, DOG, OWL, Flow, version


def test_pairs_are_stored_once_with_their_origin(flow: Flow) -> None:
    flow.pairs(CAT, DOG, CAT)
    quarantined, pairs = flow.run(raw_pairs)
    rows = flow.lake.read(
        "select pair_id, source, source_row, output, category, duplicate_count from raw.raw_pairs order by source_row"
    )
    assert rows.rows() == [
        (content_id(*CAT), "mine", 1, "Soft.", None, 1),
        (content_id(*DOG), "mine", 2, "Loyal.", None, 0),
    ]
    assert quarantined.metadata["dagster/row_count"] == 0
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
