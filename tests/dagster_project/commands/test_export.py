"""`make export` on a lake of a few pairs: what is in the folder, and what is said where there is nothing to export."""

import json
import shutil

import pytest

from dagster_project.commands import export, export_content
from dagster_project.lakehouse.lake import Commit
from models_py.content import content_id
from models_py.sources.read import read_sources
from models_py.sources.spec import Source
from tests.dagster_project.commands.conftest import BEFORE, Told, story
from tests.sql.story import Story, Text, refresh


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_the_frozen_rows_are_exported_in_order(told: Told) -> None:
    said = told.export("paper")
    assert said.startswith("paper as messages: 2 rows\nboth: 1\nresponse: 1\n")
    first, second = told.rows()
    before = [{"role": "system", "content": "Be brief."}, user("Hi"), answer("Hello")]
    assert first["messages"] == [*before, user("x c"), answer("y'' c response")]
    assert second["messages"] == [user("x' a"), answer("y'' a both")]
    origin = ("rank", "pair_id", "candidate", "content_id", "source")
    assert [tuple(row[name] for name in origin) for row in (first, second)] == [
        (1, "c", "response", "c-response", "s"),
        (2, "a", "both", "a-both", "s"),
    ]
    assert (round(second["ifd"], 6), round(second["r_ifd"], 6)) == (0.7, 0.3)
    assert sorted(file.name for file in (told.profile.root / "out").iterdir()) == [
        *(".export.json", "README.md", "data", "dataset_info.json")
    ]


def test_the_card_tells_counts_lineage_and_licences(told: Told) -> None:
    told.export("raw", "--format", "alpaca", "--files", "jsonl")
    front, text = told.card()
    assert front["license"] == ["cc-by-4.0", "unknown"]
    assert "| s | 3 | CC BY 4.0 |" in text and "| t | 1 | not stated |" in text
    for line in ("rows | 4", "with a system text | 1", "with earlier turns | 1", "data version | v1"):
        assert f"| {line} |" in text
    assert "| recipe | raw: policy original, seed 1 |" in text
    assert "| teacher | gpt (recorded) |" in text and "| student fingerprint | fp-toy |" in text
    assert str(told.profile.root) not in text
    mark = json.loads((told.profile.root / "out" / ".export.json").read_text())
    assert (mark["recipe"], mark["format"], mark["lineage"]["data version"]) == ("raw", "alpaca", "v1")


def test_preferences_are_of_every_pair_with_a_winner(told: Told) -> None:
    said = told.export("paper", "--format", "preference")
    assert "\nrewrite_wins: 2\nrewrite_vetoed: 1\n" in said
    assert "pairs without a preference: " in said
    rows = told.rows()
    assert [(row["pair_id"], row["chosen_candidate"], row["reason"], row["kept"]) for row in rows] == [
        ("a", "both", "rewrite_wins", True),
        *sorted([("b", "original", "rewrite_vetoed", False), ("c", "response", "rewrite_wins", True)]),
    ]
    b = next(row for row in rows if row["pair_id"] == "b")
    assert b["prompt"] == [user("x b\nin b")]
    assert (b["chosen"], b["rejected"]) == ([answer("y b")], [answer("y'' b response")])
    assert [round(b[name], 6) for name in ("r_ifd_chosen", "r_ifd_rejected", "margin")] == [0.4, 0.6, 0.2]


def test_candidates_come_with_all_scores(told: Told) -> None:
    told.export("paper", "--candidates")
    texts = told.rows(name="candidates")
    assert [(row["pair_id"], row["candidate"], row["chosen"]) for row in texts] == [
        *(("a", "original", False), ("a", "instruction", False), ("a", "both", True)),
        *(("b", "original", False), ("b", "response", False)),
        *(("c", "original", False), ("c", "response", True), ("d", "original", False)),
    ]
    assert {row["system"] for row in texts if row["pair_id"] == "c"} == {"Be brief."}
    assert texts[-1]["r_ifd"] is None and texts[-1]["status"] == "ok"
    assert len(told.rows()) == 2


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        (
            "alpaca",
            {
                "prompt": "instruction",
                "query": "input",
                "response": "output",
                "system": "system",
                "history": "history",
            },
        ),
        ("sharegpt", {"messages": "conversations"}),
        ("messages", {"messages": "messages"}),
        ("preference", {"messages": "prompt", "chosen": "chosen_message", "rejected": "rejected_message"}),
    ],
)
def test_llama_factory_finds_file_and_columns(told: Told, format: str, expected: dict[str, str]) -> None:
    told.export("raw", "--format", format)
    info = json.loads((told.profile.root / "out" / "dataset_info.json").read_text())["raw"]
    assert (told.profile.root / "out" / info["file_name"]).is_file()
    assert info["columns"] == expected
    assert set(expected.values()) <= set(told.rows()[0])
    assert info.get("ranking", False) == (format == "preference")
    assert info.get("formatting", "alpaca") == ("alpaca" if format == "alpaca" else "sharegpt")


@pytest.mark.parametrize("files", ["parquet", "jsonl"])
@pytest.mark.parametrize("format", ["messages", "alpaca", "sharegpt"])
def test_an_export_read_as_a_source_gives_the_same_pairs(told: Told, format: str, files: str) -> None:
    told.export("raw", "--format", format, "--files", files)
    read = read_sources([Source("again", path=str(told.profile.root / "out"))])
    assert read.quarantined.is_empty()
    assert read.pairs["pair_id"].to_list() == [
        content_id("x a", "", "y a"),
        content_id("x b", "in b", "y b") if format == "alpaca" else content_id("x b\nin b", "", "y b"),
        content_id("x c", "", "y c", BEFORE),
        content_id("x d", "", "y d"),
    ]


def test_the_same_lake_gives_the_same_bytes(told: Told) -> None:
    for out in ("one", "two", "two"):
        told.export("paper", "--candidates", out=out)
    one, two = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (told.profile.root / "one", told.profile.root / "two")
    )
    assert one == two and len(one) == 5


@pytest.mark.parametrize("format", ["messages", "preference"])
def test_a_lake_that_is_read_in_parts_gives_the_same_bytes(
    told: Told, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("paper", "--format", format, "--files", "jsonl", "--candidates")
    told.export(*arguments)
    out = told.profile.root / "out"
    whole = {file.relative_to(out): file.read_bytes() for file in out.rglob("*.jsonl")}
    shutil.rmtree(out)
    monkeypatch.setattr(export_content, "_PAIRS_AT_ONCE", 1)
    told.export(*arguments)
    assert {file.relative_to(out): file.read_bytes() for file in out.rglob("*.jsonl")} == whole
    assert sum(len(data.splitlines()) for data in whole.values()) >= 10


def test_a_folder_with_anything_else_in_it_is_left_alone(told: Told) -> None:
    (told.profile.root / "out").mkdir()
    (told.profile.root / "out" / "notes.txt").write_text("mine")
    assert "holds what no export wrote: notes.txt" in told.export("paper", status=1)
    assert [file.name for file in (told.profile.root / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["papr"], "RECIPE: 'papr' is not a recipe of the profile (did you mean paper?); there are: paper, raw."),
        ([], "RECIPE says which training set: paper, raw."),
        (["paper", "--format", "message"], "FORMAT: 'message' is not a format (did you mean messages?)"),
        (["paper", "--files", "csv"], "FILES: 'csv' is not a kind of file; there are: parquet, jsonl."),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(told: Told, arguments: list[str], said: str) -> None:
    assert said in told.export(*arguments, status=1)
    assert not (told.profile.root / "out").exists()


def test_out_must_be_named(told: Told) -> None:
    assert export.main(["paper", "--profile", str(told.profile.file)]) == 1
    assert "OUT is missing: the folder to write, OUT=exports/paper" in told.capture.readouterr().err


def test_rows_that_are_not_frozen_are_not_exported(untold: Told) -> None:
    not_frozen = (
        "recipes.paper: the rows that it selects now are not frozen, for nothing was trained on them yet. `make"
    )
    assert not_frozen in untold.export("paper", status=1)
    story(untold.lake).tell()
    assert not_frozen in untold.export("paper", status=1)
    assert not (untold.profile.root / "out").exists()


def test_a_recipe_that_was_changed_is_run_first(told: Told) -> None:
    text = told.profile.file.read_text()
    told.profile.file.write_text(text.replace("policy: original", "policy: original\n    top_k: 2"))
    said = told.export("raw", status=1)
    assert "recipes.raw.top_k: is 2 now and was None at the last run; `make run` brings the rows up to date" in said


def test_a_lake_of_an_earlier_version_is_run_first(told: Told) -> None:
    told.lake.write(lambda connection: connection.execute("drop view selection.preference_pairs"), Commit("as it was"))
    before = told.lake.snapshot_id()
    said = told.export("paper", "--format", "preference", status=1)
    assert "was made by another version of this project" in said and "`make run` brings it up to date" in said
    assert told.lake.snapshot_id() == before


def test_without_a_lake_there_is_nothing(untold: Told) -> None:
    shutil.rmtree(untold.profile.warehouse)
    assert "There is no lake at" in untold.export("paper", status=1)
    assert not untold.profile.warehouse.exists()


def test_preferences_need_a_comparison(untold: Told) -> None:
    lonely = Story(untold.lake)
    lonely.recipe("paper", "paper")
    lonely.pair("a", Text(), "refused", response=Text())
    lonely.pair("b", Text(), "refused", response="refused")
    lonely.tell()
    said = untold.export("paper", "--format", "preference", status=1)
    assert "recipes.paper: no answer is preferred to another one (1 x no_rewrite, 1 x tie)." in said


def test_a_lake_that_has_moved_on_is_not_confused_with_what_was_frozen(told: Told) -> None:
    more = Story(told.lake)
    before = {name: len(rows) for name, rows in more.rows.items()}
    more.pair("e", Text(ifd=0.9, r_ifd=0.9), "refused", response=Text(ifd=0.95, r_ifd=0.1))
    new = {name: rows[before[name] :] for name, rows in more.rows.items()}
    told.lake.append({name: rows for name, rows in new.items() if rows}, Commit("more"))
    refresh(told.lake)
    assert "recipes.paper: the rows that it selects now are not frozen" in told.export("paper", status=1)
