"""Versions of training sets: which rows made a checkpoint, what changed between two sets and why, the rows again."""

import csv
import json
from pathlib import Path

import pytest

from assets.training.training_pairs import CurrentSet, current_set
from dagster_project.commands import compact, diff, reproduce, rows, versions
from dagster_project.commands.checkpoints import checkpoint_meant
from dagster_project.commands.compact import KEPT
from dagster_project.commands.diff import changes, sets_meant
from dagster_project.commands.reproduce import select_again
from dagster_project.lakehouse.lake import Commit, Lake
from models_py.errors import UserError
from models_py.training.rows_version import rows_version
from tests.support.frozen import change, freeze, tell, train
from tests.support.lakes import append
from tests.support.profiles import write_profile


@pytest.fixture
def told(lake: Lake) -> Lake:
    return tell(lake)


def differing(lake: Lake, before: str, after: str = "") -> list[tuple[str, str, str]]:
    return [(one.change, one.pair_id, one.why) for one in changes(lake, *sets_meant(lake, before, after, ""))]


# ---- diff


def test_equal_sets_differ_in_nothing(told: Lake) -> None:
    version = freeze(told)
    assert differing(told, version) == []
    before, after = sets_meant(told, version[:6], "", "paper")
    assert (before, after.rows, after.is_current) == (after, 3, True)


def test_a_row_that_left_the_sources_and_came_back(told: Lake) -> None:
    first = freeze(told)
    change(told, "create temp table kept as from raw.raw_pairs", "delete from raw.raw_pairs where pair_id = 'b'")
    second = freeze(told)
    assert second != first
    assert differing(told, first) == [("left", "b", "source: the pair is no longer in the sources")]
    assert differing(told, second, first) == [("entered", "b", "source: the pair is new in the sources")]
    [left] = changes(told, *sets_meant(told, first, second, ""))
    assert (left.file, left.source_row) == ("pairs.jsonl", 2)


def test_a_changed_cut_is_named(told: Lake) -> None:
    first = freeze(told)
    change(told, "update profile.recipes set top_k = 2")
    second = freeze(told)
    why = "cut: top_k {} → {}; there below_cut (IFD 0.6, r-IFD 0.3)"
    assert differing(told, first) == [("left", "c", why.format(None, 2))]
    assert differing(told, second, first) == [("entered", "c", why.format(2, None))]


def test_as_many_rows_as_another_recipe_are_told_in_numbers(told: Lake) -> None:
    change(
        told,
        "insert into profile.recipes select * replace ('two' as recipe, 2 as top_k) from profile.recipes",
        "update profile.recipes set rows_as = 'two' where recipe = 'paper'",
    )
    first = freeze(told)
    change(told, "update profile.recipes set top_k = 3 where recipe = 'two'")
    freeze(told)
    assert differing(told, first) == [("entered", "c", "cut: 2 rows → 3; there below_cut (IFD 0.6, r-IFD 0.3)")]


def test_another_score_is_told_with_its_figures(told: Lake) -> None:
    first = freeze(told)
    higher = "update scoring.response_scores set instruction_nll_given_answer = 9.0 where content_id = 'a-both'"
    change(told, higher)
    second = freeze(told)
    why = "score: r_ifd_reflected {} → {}; there policy (rewrite_vetoed)"
    assert differing(told, first) == [("left", "a", why.format(0.3, 54.6))]
    assert differing(told, second, first) == [("entered", "a", why.format(54.6, 0.3))]


def test_another_choice_is_told_with_both(told: Lake) -> None:
    first = freeze(told)
    change(told, "update profile.recipes set mix = 0.4")
    freeze(told)
    [(kind, _, why)] = differing(told, first)
    assert (kind, why) == ("choice", "cut: mix 0.0 → 0.4; both then, original now")


def test_another_prompt_and_another_student_are_named(told: Lake) -> None:
    first = freeze(told)
    again = "insert into reflection.instruction_reflections select * replace ('v2' as prompt_version, "
    change(
        told,
        "update profile.teachers set instruction_prompt_version = 'v2'",
        f"{again} if(pair_id = 'a', 'refused', status) as status, if(pair_id = 'a', null, content_id) as content_id) "
        "from reflection.instruction_reflections",
    )
    freeze(told)
    [(kind, pair, why)] = differing(told, first)
    assert (kind, pair) == ("left", "a")
    assert why.startswith("prompt or sampling: of the first reflection; status: first reflection ok → refused")
    change(told, "update profile.students set student_fingerprint = 'fp-new', scorer_fingerprint = 'fp-new'")
    scores = ("instruction_scores", "response_scores", "chosen_scores")
    change(
        told,
        *(
            f"insert into scoring.{name} select * replace ('fp-new' as student_fingerprint) from scoring.{name}"
            for name in scores
        ),
    )
    assert freeze(told) == sets_meant(told, first, "", "")[1].data_version  # the same choices by another student


def test_another_teacher_is_named_and_not_its_prompt(told: Lake) -> None:
    first = freeze(told)
    refused = "if(pair_id = 'a', 'refused', status) as status, if(pair_id = 'a', null, content_id) as content_id"
    change(
        told,
        "update profile.teachers set identity = 'other', instruction_prompt_version = 'v2'",
        f"insert into reflection.instruction_reflections select * replace ('v2' as prompt_version, {refused}) "
        "from reflection.instruction_reflections",
    )
    freeze(told)
    [(kind, pair, why)] = differing(told, first)
    assert (kind, pair) == ("left", "a")
    assert why.startswith("teacher: gpt → other; status: first reflection ok → refused")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "", "FROM is missing.*paper, 3 rows, selected now"),
        ("ffffffff", "", "FROM: 'ffffffff' is not a frozen training set or a checkpoint"),
    ],
)
def test_a_set_that_there_is_not_is_said_with_those_there_are(told: Lake, before: str, after: str, said: str) -> None:
    freeze(told)
    with pytest.raises(UserError, match=f"(?s){said}"):
        sets_meant(told, before, after, "")


# ---- reproduce, rows, compact


def test_a_checkpoint_of_ten_snapshots_ago_is_selected_again(told: Lake) -> None:
    version = freeze(told)
    train(told, version)
    for number in range(10):
        change(told, f"update profile.recipes set top_k = {1 + number % 2}")
    checkpoint = checkpoint_meant(told, "c0ff")
    assert told.snapshot_id() - checkpoint.snapshot_id >= 10
    assert rows_version([select_again(told, checkpoint)]) == version == checkpoint.data_version


def test_the_selection_is_computed_and_not_read(told: Lake) -> None:
    """What is stored of it at that snapshot has no say."""
    version = freeze(told)
    told.write(lambda connection: connection.execute("delete from selection.pair_decisions"), Commit("tampered with"))
    train(told, version)
    assert rows_version([select_again(told, checkpoint_meant(told, "c0ffee000001"))]) == version


def test_what_is_compacted_keeps_the_snapshots_of_checkpoints(told: Lake) -> None:
    version = freeze(told)
    train(told, version)
    named = checkpoint_meant(told, "c0ffee000001").snapshot_id
    before = told.read("from training.training_pairs order by rank")
    change(told, "delete from raw.raw_pairs where pair_id = 'b'")
    freeze(told)
    done = told.compact({named})
    assert (done.kept, done.removed) == (2, 0)
    assert done.expired > 5
    told.compact({named})
    told.check_sound()
    assert told.read("select snapshot_id from lineage.data_versions order by 1")["snapshot_id"].to_list() == [
        named,
        told.snapshot_id(),
    ]
    assert told.read("from training.training_pairs where data_version = ? order by rank", [version]).equals(before)
    assert rows_version([select_again(told, checkpoint_meant(told, "c0ffee000001"))]) == version
    assert differing(told, version) == [("left", "b", "unknown: the snapshot of the other set was expired")]


def test_a_set_knows_the_snapshot_that_selects_it_whatever_was_committed_since(told: Lake) -> None:
    """A training takes hours: meanwhile others select anew, and the lake is compacted."""
    version = freeze(told)
    frozen_at = told.snapshot_id()
    assert current_set(told, "paper") == CurrentSet("paper", version, frozen_at)
    change(told, "update raw.raw_pairs set category = 'x' where pair_id = 'd'")
    assert current_set(told, "paper").snapshot_id == frozen_at
    kept = {int(one) for one in told.read(KEPT)["snapshot_id"].drop_nulls()}
    assert kept == {frozen_at}
    later = told.snapshot_id()
    append(told, "e")
    assert told.compact(kept, until=later).kept == 3  # also what came after `kept` was asked for
    train(told, version, snapshot_id=frozen_at)
    assert rows_version([select_again(told, checkpoint_meant(told, "c0ffee"))]) == version

    told.write(lambda lake: lake.execute("delete from selection.pair_decisions"), Commit("tampered with"))
    with pytest.raises(UserError, match="the rows that it selects now are not frozen yet"):
        current_set(told, "paper")


def test_a_set_whose_snapshot_was_expired_is_that_of_now(told: Lake) -> None:
    version = freeze(told)
    change(told, "update raw.raw_pairs set category = 'x' where pair_id = 'd'")
    told.compact(set())
    assert current_set(told, "paper") == CurrentSet("paper", version, told.snapshot_id())


def test_an_expired_snapshot_is_named_as_such(told: Lake) -> None:
    train(told, freeze(told))
    change(told, "update profile.recipes set top_k = 1")
    told.compact(set())
    with pytest.raises(
        UserError, match=r"Snapshot \d+, which checkpoint c0ffee000001 names, .* it was expired.*make rows"
    ):
        select_again(told, checkpoint_meant(told, "c0ffee"))


# ---- which checkpoint


def test_a_checkpoint_is_meant_by_id_or_folder_and_no_other_lakes(told: Lake, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint yet"):
        checkpoint_meant(told, "paper")
    version = freeze(told)
    train(told, version)
    train(told, version, "c0ffee000002")
    assert checkpoint_meant(told, "c0ffee000002").checkpoint_id == "c0ffee000002"
    for wanted, said in (
        ("", "CHECKPOINT says which"),
        ("c0f", "CHECKPOINT=c0f is too short: give at least 4 characters of an id"),
        ("c0ffe3", "not a checkpoint of this lake"),
        ("c0ffee", "c0ffee000001, c0ffee000002: give more"),
        (str(tmp_path), r"folder without manifest\.json"),
    ):
        with pytest.raises(UserError, match=said):
            checkpoint_meant(told, wanted)
    folder = tmp_path / "c0ffee000001"
    folder.mkdir()
    manifest = dict(checkpoint_meant(told, "c0ffee000001").manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint_meant(told, str(folder)).checkpoint_id == "c0ffee000001"
    (folder / "manifest.json").write_text(json.dumps(manifest | {"data_version": "0" * 16}))
    with pytest.raises(UserError, match="was edited, or is another lake's"):
        checkpoint_meant(told, str(folder))
    elsewhere = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no checkpoint that the lake at .* has recorded"):
        checkpoint_meant(told, str(elsewhere))


# ---- the commands


@pytest.fixture
def profile(told: Lake) -> str:
    """A profile whose warehouse is that lake."""
    version = freeze(told)
    train(told, version)
    smallest = {
        "warehouse": str(told.warehouse),
        "sources": [{"name": "s", "path": "pairs.jsonl"}],
        "teachers": {"gpt": {"engine": "recorded", "replies": "replies.jsonl"}},
        "students": {"toy": {"scratch": {}}},
        "recipes": {"paper": {"policy": "paper", "teacher": "gpt", "student": "toy"}},
    }
    return str(write_profile(told.warehouse.parent / "profile", smallest))


def test_rows_of_a_checkpoint_as_a_file(profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows.main(["c0ffee", "--profile", profile, "--out", str(tmp_path / "rows.csv")]) == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        written = [(row["rank"], row["pair_id"], row["file"], row["source_row"]) for row in csv.DictReader(file)]
    assert written == [("1", "a", "pairs.jsonl", "1"), ("2", "b", "pairs.jsonl", "2"), ("3", "c", "pairs.jsonl", "3")]
    assert rows.main(["nothing", "--profile", profile]) == 1
    assert "CHECKPOINT: 'nothing' is not a checkpoint of this lake" in capsys.readouterr().err


def test_versions_reproduce_diff_and_compact_say_what_they_found(
    profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert versions.main(["training", "--profile", profile, "--format", "line"]) == 0
    assert "training/paper/training_pairs" in (shown := capsys.readouterr()).out and "expired" not in shown.err
    assert versions.main(["trainin", "--profile", profile]) == 1
    assert "'trainin' is not an asset that ever changed this lake" in capsys.readouterr().err
    assert reproduce.main(["c0ffee", "--profile", profile]) == 0
    assert "selects 3 rows" in capsys.readouterr().out
    assert diff.main(["--from", "c0ffee", "--profile", profile]) == 0
    assert "0 entered, 0 left" in capsys.readouterr().out
    assert compact.main(["--now", "--profile", profile]) == 0
    assert "2 are kept, 1 of them of frozen sets and checkpoints" in capsys.readouterr().out
    assert versions.main(["--profile", profile, "--format", "line"]) == 0
    assert " further snapshots of the lake are expired (make compact)\n" in capsys.readouterr().err
    assert reproduce.main(["c0ffee", "--profile", profile]) == 0
