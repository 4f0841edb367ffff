"""The whole flow under what machines do to it: killed, beside others, on a disk that fills up.

Real everything: processes, signals, a disk, DuckLake, Dagster's records, a student that is trained, and a teacher
behind a real server, which knows what it was paid for. Whatever happened, in the end the tables are those of a run that
nothing disturbed, and no reply that was kept is asked for again. docs/reliability.md has figures of the long forms.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.jobs import PROFILE_TAG
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.profile.load import load_profile
from models_py.errors import UserError
from models_py.teacher.ledger import Ledger
from tests.support.disks import fill, small_disk
from tests.support.processes import run_command
from tests.support.profiles import SEEDS, write_profile
from tests.support.servers import ChatServer, body_id
from tests.support.soak import long_form, tell

pytestmark = [pytest.mark.slow, pytest.mark.kill]

WORKERS = 4
TABLES = {
    "raw.raw_pairs": "*",
    "reflection.instruction_reflections": "* exclude (created_at)",
    "reflection.response_reflections": "* exclude (created_at)",
    "reflection.teacher_replies": "* exclude (created_at, latency_s, attempts)",
    "scoring.instruction_scores": "* exclude (created_at)",
    "scoring.response_scores": "* exclude (created_at)",
    "scoring.chosen_scores": "* exclude (created_at)",
    "selection.recycled_pairs": "*",
    "selection.selection_summary": "*",
    "training.training_pairs": "* exclude (created_at)",
    "training.student_checkpoints": "recipe, checkpoint_id, data_version, student_fingerprint",
}
Process = subprocess.Popen[str]


def small_profile(folder: Path, server: ChatServer, warehouse: str = "warehouse") -> Path:
    """Thirty pairs, a toy, two recipes, a teacher behind the server."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = (SEEDS / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "pairs.jsonl").write_text("\n".join(seeds[:30]) + "\n", encoding="utf-8")
    scratch = {"texts": ["pairs.jsonl"], "vocab_size": 600, "hidden_size": 32, "layers": 1, "steps": 6}
    teacher = {"engine": "openai", "model": "m", "base_url": server.url, "api_key_env": None, "concurrency": WORKERS}
    recipe = {"teacher": "gpt", "student": "toy"}
    profile: dict[str, Any] = {
        "warehouse": warehouse,
        "sources": [{"name": "mine", "path": "pairs.jsonl"}],
        "teachers": {"gpt": teacher},
        "students": {"toy": {"scratch": {**scratch, "max_length": 1024}}},
        "recipes": {"all": {**recipe, "policy": "original"}, "chosen": {**recipe, "policy": "paper"}},
        "training": {"epochs": 1, "max_length": 1024},
    }
    return write_profile(folder, profile)


def start(profile: Path) -> Process:
    """`make run` in a session of its own, Dagster's records where they are by default."""
    arguments, environment = run_command(profile)
    del environment["DAGSTER_HOME"]
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process: Process) -> str:
    """What a run that succeeded has shown."""
    shown, _ = process.communicate(timeout=900)
    assert process.returncode == 0, shown
    return shown


def tables(profile: Path) -> dict[str, pl.DataFrame]:
    lake = Lake(profile.parent / "warehouse")
    return {table: lake.read(f"select {columns} from {table} order by all") for table, columns in TABLES.items()}


def kept(profile: Path) -> set[str]:
    """The body ids of what the ledger holds replies to."""
    path = profile.parent / "warehouse" / "teacher.sqlite"
    if not path.exists():
        return set()
    with Ledger(path) as ledger:
        payloads = [(row.identity, json.loads(row.payload)) for row in ledger.all_since() if row.reply.error is None]
    return {body_id({"model": who, "messages": what["messages"], **what["sampling"]}) for who, what in payloads}


def dagster_runs(warehouse: Path) -> Sequence[dg.DagsterRun]:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(warehouse / ".dagster"))) as instance:
        return instance.get_runs()


def statuses(profile: Path) -> Counter[str]:
    return Counter(run.status.value for run in dagster_runs(profile.parent / "warehouse"))


def equal(profile: Path, undisturbed: dict[str, pl.DataFrame]) -> None:
    for name, frame in tables(profile).items():
        assert frame.equals(undisturbed[name]), name
    assert not list((profile.parent / "warehouse").rglob(".*partial*"))


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer(latency_s=(0.01, 0.1)) as server:
        yield server


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbs."""

    profile: Path
    tables: dict[str, pl.DataFrame]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    profile = small_profile(tmp_path_factory.mktemp("undisturbed"), server)
    began = time.monotonic()
    ended(start(profile))
    found = tables(profile)
    assert all(frame.height for frame in found.values()), {name: frame.height for name, frame in found.items()}
    return Undisturbed(profile, found, time.monotonic() - began)


@pytest.mark.parametrize("kills", [3, long_form(25)])
def test_killed_again_and_again_it_ends_the_same(kills: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Random moments of one run after another; a run that ends before its moment is followed by one of a new lake."""
    expected, seconds = undisturbed.tables, undisturbed.seconds
    chance, number, killed, asked_again, lakes = random.Random(kills), 0, 0, 0, 0
    while True:
        with ChatServer(latency_s=(0.01, 0.1)) as server:
            lakes += 1
            profile = small_profile(tmp_path / str(lakes), server)
            known: set[str] = set()
            while True:
                calls = len(server.calls)
                process = start(profile)
                if killed < kills:
                    try:
                        process.wait(chance.uniform(0.1, 0.8) * seconds)
                    except subprocess.TimeoutExpired:
                        os.killpg(process.pid, signal.SIGKILL)
                        killed += 1
                shown, _ = process.communicate()
                assert not known & {call.body_id for call in server.calls[calls:]}
                known = kept(profile)
                number += 1
                if process.returncode == 0:
                    break
                assert process.returncode == -signal.SIGKILL, shown
            equal(profile, expected)
            # One may have been killed while it summed up.
            assert set(statuses(profile)) <= {"SUCCESS", "FAILURE"}, statuses(profile)
            asked_again += len(server.calls) - len({call.body_id for call in server.calls})
        if killed == kills:
            break
    # What was under way at a kill, and no more, is paid for again.
    assert asked_again <= kills * 2 * WORKERS
    tell(kills=kills, runs=number, lakes=lakes, paid_again=asked_again, undisturbed_s=round(seconds, 1))


@pytest.mark.parametrize(("ours", "theirs"), [(2, 1), long_form(3, 2)])
def test_runs_at_once_share_the_work_and_do_not_meet_another_profiles(
    ours: int, theirs: int, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The first ones of two profiles, all at once."""
    with ChatServer(latency_s=(0.01, 0.1)) as server:
        profiles = {small_profile(tmp_path / name, server): runs for name, runs in (("one", ours), ("other", theirs))}
        for process in [start(profile) for profile, runs in profiles.items() for _ in range(runs)]:
            ended(process)
        for profile, runs in profiles.items():
            equal(profile, undisturbed.tables)
            assert statuses(profile) == {"SUCCESS": runs}
        assert set(Counter(call.body_id for call in server.calls).values()) == {2}  # once for each of the two lakes


FILLED = [
    "✓ profile/sources",  # while the student is made
    "✓ profile/students",  # while replies come
    "✓ selection/instruction_candidates",  # while it is scored
    "✓ training/all/training_pairs",  # while a checkpoint is made
]


@pytest.mark.parametrize("moments", [FILLED, *(long_form([moment]) for moment in FILLED)], ids=lambda seen: seen[-1])
def test_a_disk_that_fills_up_again_and_again_loses_nothing(
    moments: list[str], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The warehouse's disk, with Dagster's records on it: full soon after each moment of one run after another."""
    with small_disk(tmp_path / "warehouse", 96) as disk, ChatServer(latency_s=(0.01, 0.1)) as server:
        profile = small_profile(tmp_path, server)
        for seen in moments:
            process = start(profile)
            assert process.stdout is not None
            shown = ""
            for line in process.stdout:
                shown += line
                if seen in line:
                    break
            time.sleep(0.5)
            fill(disk)
            shown += process.communicate(timeout=300)[0]
            (disk / "filler").unlink()
            assert process.returncode == 1, shown
            assert "full" in shown or "No space left" in shown, shown
            assert len(kept(profile)) == len(server.calls)
        ended(start(profile))
        equal(profile, undisturbed.tables)
        assert set(Counter(call.body_id for call in server.calls).values()) == {1}
        assert statuses(profile) == {"SUCCESS": 1, "FAILURE": len(moments)}


def test_a_warehouse_is_of_one_profile_holds_its_records_and_may_be_moved(
    undisturbed: Undisturbed, server: ChatServer, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed.profile.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "warehouse").rename(tmp_path / "moved")
    (profile,) = tmp_path.glob("*.yaml")
    profile.write_text(profile.read_text().replace("warehouse: warehouse", "warehouse: moved"))
    other = profile.with_name("other.yaml")
    other.write_text(profile.read_text())
    with pytest.raises(UserError, match=r"that of profile mine.*`warehouse:`"):
        open_lake(load_profile(other)).prepare()
    calls = len(server.calls)
    shown = ended(start(profile))
    assert "ETA" not in shown and "moved/checkpoints/chosen/" in shown and len(server.calls) == calls
    assert [run.tags[PROFILE_TAG] for run in dagster_runs(tmp_path / "moved")] == ["mine", "mine"]
    assert not (tmp_path / ".dagster").exists() and not (tmp_path / "warehouse").exists()
    paths = Lake(tmp_path / "moved").read("select path from training.current_checkpoints order by 1")["path"]
    assert [path.split("/")[:2] for path in paths] == [["checkpoints", "all"], ["checkpoints", "chosen"]]
    assert all((tmp_path / "moved" / path / "model.safetensors").is_file() for path in paths)
