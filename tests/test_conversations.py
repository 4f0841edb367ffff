"""Conversations from a ShareGPT file to a checkpoint: with systems, follow-ups and tools, every turn accounted for."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from safetensors import safe_open

from dagster_project.commands import export
from dagster_project.lakehouse.lake import Lake
from models_py.sources.read import read_sources
from models_py.sources.spec import Source
from models_py.teacher.ledger import Ledger
from tests.conftest import RunHere
from tests.support.profiles import write_profile
from tests.support.servers import ChatServer

pytestmark = pytest.mark.slow

SEAS = ("Baltic", "Adriatic", "Aral", "Coral", "Dead", "Irish", "Kara", "North", "Red", "Ross", "Sargasso", "Tasman")
SYSTEMS = ("", "You are a guide on a ship.", "Answer briefly.")


def conversation(number: int) -> list[dict[str, str]]:
    """One to four exchanges, a system text in two of three, a tool in one of twenty, an odd end in others."""
    chance = random.Random(number)
    said = [("system", SYSTEMS[number % 3])] if SYSTEMS[number % 3] else []
    for follow_up in range(1 + number % 4):
        sea = chance.choice(SEAS)
        said.append(("human", f"{'And the' if follow_up else 'How deep is the'} {sea} Sea, number {number}?"))
        said.append(("gpt", f"The {sea} Sea is {chance.randrange(20, 4000)} metres deep."))
    if number % 20 == 7:
        said.insert(-1, ("function_call", '{"name": "depth"}'))
    if number % 20 == 3:
        said.append(("human", "Thanks!"))
    if number % 20 == 5:
        said.insert(len(said) - 1, ("human", "I mean its deepest place."))
    return [{"from": role, "value": text} for role, text in said]


CONVERSATIONS = [conversation(number) for number in range(200)]
TURNS = sum(map(len, CONVERSATIONS))


def profile(folder: Path, server: ChatServer, turns: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "chats.json").write_text(json.dumps([{"id": n, "conversations": c} for n, c in enumerate(CONVERSATIONS)]))
    scratch = {"texts": ["chats.json"], "vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6}
    settings: dict[str, Any] = {
        "warehouse": "warehouse",
        "sources": [{"name": "chats", "path": "chats.json", "turns": turns}],
        "max_bad_fraction": 0.1,
        "teachers": {"gpt": {"engine": "openai", "model": "m", "base_url": server.url, "api_key_env": None}},
        "students": {"toy": {"scratch": {**scratch, "max_length": 1024}}},
        "recipes": {"new": {"policy": "reflect_instruction", "teacher": "gpt", "student": "toy"}},
        "training": {"epochs": 1, "max_length": 1024, "loss_on": "all_answers"},
    }
    return write_profile(folder, settings)


def test_two_hundred_conversations_end_in_a_checkpoint(tmp_path: Path, run_here: RunHere) -> None:
    with ChatServer() as server:
        file = profile(tmp_path / "flow", server, "each")
        status, shown = run_here(file)
        assert status == 0, shown
    lake = Lake(file.parent / "warehouse")
    [summary] = lake.read("from raw.source_summary").rows(named=True)
    assert summary["adds_up"] and summary["turn_count"] == TURNS
    assert (summary["row_count"], summary["quarantined_count"], summary["conversation_count"]) == (200, 10, 190)
    assert summary["turns_quarantined"] == sum(len(c) for n, c in enumerate(CONVERSATIONS) if n % 20 == 7)
    assert summary["turns_left_out"] == summary["turns_joined"] == 10
    [reason] = summary["quarantined_by_reason"]
    assert reason["rows"] == 10 and reason["reason"].startswith("field conversations[…]: a turn of a tool (…)")
    assert "10 turns are in no pair" in shown

    rows = lake.read("select system, history, instruction, output from raw.raw_pairs").rows()
    assert {system for system, *_ in rows} == set(SYSTEMS)
    assert {len(json.loads(history)) for _, history, *_ in rows} == {0, 2, 4, 6}
    # Only who ends a conversation is asked about as one, and in the words of its turns.
    with_context = sum(bool(system or history != "[]") for system, history, *_ in rows)
    with Ledger(file.parent / "warehouse" / "teacher.sqlite") as ledger:
        asked = [json.loads(row.payload) for row in ledger.all_since()]
    first = [one["messages"][-1]["content"] for one in asked if one["phase"] == "instruction_reflection"]
    assert len(first) == len(rows) and sum("<conversation>" in text for text in first) == with_context
    assert all(f"</{role}>" in "".join(first) for role in ("system", "user", "assistant"))

    statuses = dict(lake.read("select status, count(*) from scoring.instruction_scores group by all").rows())
    assert statuses.keys() == {"ok"} and statuses["ok"] >= len(rows)
    trained = lake.read(
        "select pairs.system = raw.system and pairs.history = raw.history as is_whole, count(*) as n "
        "from training.training_pairs as pairs inner join raw.raw_pairs as raw using (pair_id) group by all"
    )
    assert trained.rows() == [(True, summary["pair_count"])]
    [path] = lake.read("select path from training.current_checkpoints")["path"]
    folder = file.parent / "warehouse" / path
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"]["loss_on"] == "all_answers"
    answers = lake.read("select sum(len(output)) as letters from training.training_pairs").item()
    assert manifest["target_tokens"] > 0 and answers > 0
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert weights.keys()

    # What was trained on goes out as a data set, and comes back in as the same pairs.
    out = tmp_path / "out"
    assert export.main(["new", "--out", str(out)]) == 0
    again = read_sources([Source("again", path=str(out / "data" / "train.parquet"))]).pairs
    frozen = "select system, history, instruction, output from training.training_pairs order by rank"
    assert again.select("system", "history", "instruction", "output").rows() == lake.read(frozen).rows()
    exported = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert {turn["role"] for turn in exported[0]["messages"]} <= {"system", "user", "assistant"}
