"""The whole flow as a user starts it: once, again, killed in the middle, and with things that are wrong.

Real everything: subprocesses, DuckLake, Dagster's event log, a toy student trained and fine-tuned, only smaller.
"""

import importlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dagster_project.commands import sql
from dagster_project.commands.docs_content import site_of
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.profile.load import load_profile
from tests.conftest import PROJECT, RunHere
from tests.support.documents import commands, cookbook
from tests.support.makefile import Make
from tests.support.processes import run, run_command
from tests.support.profiles import small_toy
from tests.support.ray_clusters import raylets, workers
from tests.support.soak import long_form
from tests.support.values import known
from tests.test_documents import NOT_IN_A_SHORT_RUN

pytestmark = pytest.mark.slow

TABLES = {
    "raw.raw_pairs": "*",
    "raw.quarantined_rows": "*",
    "reflection.instruction_reflections": "* exclude (created_at)",
    "reflection.response_reflections": "* exclude (created_at)",
    "reflection.teacher_replies": "* exclude (created_at)",
    "scoring.instruction_scores": "* exclude (created_at)",
    "scoring.response_scores": "* exclude (created_at)",
    "scoring.chosen_scores": "* exclude (created_at)",
    "selection.recycled_pairs": "*",
    "selection.selection_summary": "*",
    "training.training_pairs": "* exclude (created_at)",
    "training.student_checkpoints": "recipe, checkpoint_id, data_version, student_fingerprint",
}


def tables(profile: Path) -> dict[str, pl.DataFrame]:
    return tables_of(Lake(profile.parent / "warehouse"))


def tables_of(lake: Lake) -> dict[str, pl.DataFrame]:
    return {table: lake.read(f"select {columns} from {table} order by all") for table, columns in TABLES.items()}


def run_statuses(profile: Path) -> list[str]:
    """Of Dagster's runs, the latest first."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(profile.parent / "dagster"))) as instance:
        return [run.status.value for run in instance.get_runs()]


def data_versions(profile: Path) -> dict[str, str]:
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(profile.parent / "dagster"))) as instance:
        events = {key: instance.get_latest_materialization_event(key) for key in instance.all_asset_keys()}
    made = {key: known(known(event).asset_materialization) for key, event in events.items()}
    return {key.to_user_string(): known(one.tags)["dagster/data_version"] for key, one in made.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A profile that was run once without disturbance, and what the terminal showed."""
    profile = small_toy(tmp_path_factory.mktemp("quickstart"))
    result = run(profile)
    assert result.returncode == 0, result.stdout + result.stderr
    return profile, result.stdout


def test_the_terminal_tells_the_story(finished: tuple[Path, str]) -> None:
    _, shown = finished
    assert "✓ raw/raw_pairs" in shown
    assert "quarantined 3  →  raw pairs 60  →  instructions reflected 54" in shown
    assert "! recorded: 3 missing_tag: the tagged texts are absent, unclosed or ambiguous" in shown
    assert "What toy chose of recorded's rewrites" in shown
    assert re.search(r"Rescued by toy  .*seeds/pairs.jsonl, row \d+\n  was ", shown)
    assert re.search(r"Vetoed by toy  .*\n  not .*\n +→ .*\n  but ", shown)
    assert re.search(r"  IFD   \d\.\d\d → \d\.\d\d  rewrite (taken|refused)  \(higher wins\)", shown)
    assert "checkpoints/paper/" in shown
    assert len(re.findall("make sql.* Q=", shown)) == 2
    assert "DEBUG" not in shown


def test_every_kind_of_bad_reply_shows_as_its_status(finished: tuple[Path, str]) -> None:
    lake = Lake(finished[0].parent / "warehouse")
    statuses = lake.read("select status, count(*) as n from selection.current_instruction_reflections group by 1")
    assert dict(statuses.rows()) == {"ok": 54, "missing_tag": 3, "refused": 2, "placeholder": 1}


def test_the_student_vetoes_its_teacher_in_both_phases(finished: tuple[Path, str]) -> None:
    lake = Lake(finished[0].parent / "warehouse")
    summary = lake.read("select * from selection.selection_summary order by recipe").to_dicts()
    assert {row["recipe"] for row in summary} == {"original", "paper"}
    assert all(row["instruction_vetoed"] >= 1 and row["response_vetoed"] >= 1 for row in summary)
    assert len({(row["kept_original"], row["kept_response"], row["kept_both"]) for row in summary}) == 2


def test_the_manifest_names_what_made_the_model(finished: tuple[Path, str]) -> None:
    lake = Lake(finished[0].parent / "warehouse")
    row = lake.read("select * from training.student_checkpoints where recipe = 'paper'").to_dicts()[0]
    manifest = json.loads((lake.warehouse / row["path"] / "manifest.json").read_text())
    assert manifest["data_version"] == row["data_version"]
    assert manifest["student"]["fingerprint"] == row["student_fingerprint"]
    rows = lake.read(
        "select count(*) as n from training.training_pairs where data_version = ?",
        [manifest["data_version"]],
        as_of=manifest["snapshot_id"],
    )
    assert rows["n"].item() == manifest["rows"] + len(manifest["dropped"])


README_QUERIES = (PROJECT / "README.md").read_text(encoding="utf-8").split("```sql\n")[1].split("```")[0].splitlines()


@pytest.mark.parametrize("query", README_QUERIES)
def test_what_the_readme_asks_is_answered_by_a_table_that_fits_a_terminal(
    finished: tuple[Path, str], query: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status = sql.main([query, "--profile", str(finished[0])])
    said = capsys.readouterr()
    assert status == 0, said.err
    assert said.out.startswith("┌")
    assert max(map(len, said.out.splitlines())) <= 100


# ── what the documents show, on a lake that was really run ─────────────────────────────────────────────────────────


def test_the_cookbook_is_answered_with_rows(finished: tuple[Path, str]) -> None:
    with Lake(finished[0].parent / "warehouse").locked() as connection:
        for entry in cookbook():
            answer = connection.execute(entry.text)
            assert [name for name, *_ in answer.description or []] == entry.columns, entry.question
            assert bool(answer.fetchone()) != (entry.number in NOT_IN_A_SHORT_RUN), entry.question


# Where prose names the target alone, it means the command and not this call of it.
NEEDS_ONE = {"sql", "trace", "rows", "diff", "reproduce", "export", "prompt", "export-replies"}
RUN_HERE = {"sql", "trace", "rows", "versions", "diff", "reproduce", "export", "estimate", "prompt", "export-replies"}


def test_every_command_of_the_documents_that_reads_does_it(
    finished: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As make hands it to the program, which runs in this process."""
    profile, _ = finished
    lake = Lake(profile.parent / "warehouse")
    [(version, pair)] = lake.read(
        "select data_version, pair_id from training.training_pairs where recipe = 'paper' and rank = 1"
    ).rows()
    own = {"RECIPE": "paper", "TEACHER": "recorded", "PAIR": pair, "FROM": version, "TO": version, "AS_OF": "20"}
    (tmp_path / "programs").mkdir()
    make = Make(tmp_path / "programs", os.environ)
    monkeypatch.setenv("REFLECTION_PROFILE", str(profile))
    done: set[tuple[str, tuple[str, ...]]] = set()
    for command in (one for one in commands() if one.target in RUN_HERE and "..." not in one.text):
        said = {**command.variables, **{name: own[name] for name in own.keys() & command.variables.keys()}}
        said.pop("PROFILE", None)
        for name in ("OUT", "FILE"):
            if name in said and not said[name].startswith("seeds/"):
                said[name] = str(tmp_path / f"{len(done)}-{Path(said[name]).name}")
        words = tuple(f"{name}={value}" for name, value in said.items())
        if (command.target, words) in done or (command.target in NEEDS_ONE and not words):
            continue
        done.add((command.target, words))
        module, *arguments = make(command.target, *words)[0]
        status = importlib.import_module(module).main(arguments)
        told = capsys.readouterr()
        assert status == 0, f"{command}: {' '.join(words)}\n{told.out}{told.err}"
    assert {target for target, _ in done} == RUN_HERE


def test_the_site_of_the_data_tells_what_the_run_left(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, _ = finished
    monkeypatch.setenv("DAGSTER_HOME", str(profile.parent / "dagster"))
    site = site_of(load_profile(profile))
    made = {one.asset: one.data_version for table in site.tables.values() for one in table.made if one.at}
    assert made == data_versions(profile)
    with Lake(profile.parent / "warehouse").connect() as connection:
        for name, table in site.tables.items():
            if table.rows is not None and name != "lineage.data_versions":  # which has one more with each of them
                assert connection.execute(f"select count(*) from {name}").fetchone() == (table.rows,), name
    ran = [check for table, check in site.checks if table.schema != "evaluation"]
    assert {check.outcome for check in ran} <= {"passed", "warned"}
    assert len(ran) > 30


def test_a_second_run_finds_everything_current(finished: tuple[Path, str]) -> None:
    profile, _ = finished
    lake = Lake(profile.parent / "warehouse")
    before = (data_versions(profile), lake.snapshot_id(), checkpoint_times(profile))
    result = run(profile, PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0, result.stdout + result.stderr
    # What takes seconds to load and has nothing to do stays where it is.
    assert not {"torch", "transformers", "trl", "matplotlib"} & set(re.findall(r"\| +(\w+)$", result.stderr, re.M))
    assert "polars" in result.stderr
    # The same snapshot: no reply, no score, no training row, no checkpoint was written.
    assert (data_versions(profile), lake.snapshot_id(), checkpoint_times(profile)) == before
    assert "ETA" not in result.stdout


def checkpoint_times(profile: Path) -> dict[str, int]:
    files = (profile.parent / "warehouse" / "checkpoints").rglob("*.safetensors")
    return {str(file): file.stat().st_mtime_ns for file in files}


KILLED = [
    ("✓ profile/teachers", 0.3),  # while sources are read
    ("✓ selection/instruction_candidates", 2.5),  # while it is scored
    ("✓ training/paper/training_pairs", 4.0),  # while a checkpoint is made
]


@pytest.mark.kill
@pytest.mark.parametrize("moments", [KILLED, *(long_form([moment]) for moment in KILLED)], ids=lambda one: one[-1][0])
def test_killed_again_and_again_it_ends_the_same(
    finished: tuple[Path, str], tmp_path: Path, moments: list[tuple[str, float]]
) -> None:
    profile = small_toy(tmp_path)
    arguments, environment = run_command(profile)
    for seen, wait_s in moments:
        with subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if seen in line:
                    break
            time.sleep(wait_s)
            os.killpg(process.pid, signal.SIGKILL)
    result = run(profile)
    assert result.returncode == 0, result.stdout + result.stderr
    undisturbed = tables(finished[0])
    for name, frame in tables(profile).items():
        assert frame.equals(undisturbed[name]), name
    assert not list((tmp_path / "warehouse").rglob(".*partial*"))
    assert "was killed and is marked as failed" in result.stdout
    assert run_statuses(profile) == ["SUCCESS", *["FAILURE"] * len(moments)]


@pytest.mark.soak
def test_each_step_in_a_process_of_its_own_it_ends_the_same(finished: tuple[Path, str], tmp_path: Path) -> None:
    profile = small_toy(tmp_path, executor="multiprocess")
    result = run(profile)
    assert result.returncode == 0, result.stdout + result.stderr
    undisturbed = tables(finished[0])
    for name, frame in tables(profile).items():
        assert frame.equals(undisturbed[name]), name


@pytest.mark.ray
@pytest.mark.kill
def test_on_machines_of_which_one_is_lost_it_ends_the_same(finished: tuple[Path, str], tmp_path: Path) -> None:
    """Two raylets, each a machine; one is killed once both score. Scorers differ by the rounding of their batches."""
    ended = threading.Event()

    def lose_one() -> None:
        while not ended.wait(0.2):
            if len(workers("_Actor")) > 1:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                return

    with raylets(2, jobs=True) as cluster:
        profile = small_toy(tmp_path, executor="ray", ray={"address": cluster.address})
        arguments, environment = run_command(profile)
        loses = threading.Thread(target=lose_one)
        loses.start()
        ran = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        ended.set()
        loses.join()
        assert ran.returncode == 0, ran.stdout
        assert not cluster.worker_nodes
    undisturbed = tables(finished[0])
    for name, frame in tables(profile).items():
        assert_frame_equal(frame, undisturbed[name], rel_tol=1e-5)


def one_recipe(folder: Path, policy: str) -> Path:
    return small_toy(folder, recipes={"r": {"policy": policy, "teacher": "recorded", "student": "toy"}})


def broken_lake(folder: Path) -> Path:
    profile = small_toy(folder)
    lake = Lake(folder / "warehouse")
    lake.prepare()
    with lake.connect(read_only=False) as connection:
        connection.execute("update main.lake_contract set contract = 99")
    return profile


def empty_model(folder: Path) -> Path:
    (folder / "model").mkdir(parents=True)
    return small_toy(folder, students={"toy": {"model": str(folder / "model")}})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda f: small_toy(f, warehous="x"), ["warehous", "did you mean warehouse"]),
        (
            lambda f: one_recipe(f, "papr"),
            ["recipes.r.policy", "did you mean paper"],
        ),
        (
            lambda f: one_recipe(f, "ifd_only"),
            ["recipes.r.policy", "response_reflection: all"],
        ),
        (
            lambda f: small_toy(f, sources=[{"name": "mine", "path": str(f / "none.jsonl")}]),
            ["sources.mine.path", "none.jsonl", "not found"],
        ),
        (empty_model, ["students.toy.model", "config.json"]),
        (broken_lake, ["table contract 99", "another `warehouse`"]),
    ],
    ids=["wrong key", "unknown policy", "policy needs all", "missing file", "model folder", "other lake"],
)
def test_what_is_wrong_is_said_in_one_message(
    tmp_path: Path, make: Callable[[Path], Path], expected: list[str], run_here: RunHere
) -> None:
    status, said = run_here(make(tmp_path / "case"))
    assert status == 1
    for part in expected:
        assert part in said
    assert "Traceback" not in said


def test_too_many_bad_rows_stop_before_the_teacher_and_are_kept(tmp_path: Path, run_here: RunHere) -> None:
    (tmp_path / "bad.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": 3}\nnot json\n')
    profile = small_toy(tmp_path, sources=[{"name": "mine", "path": str(tmp_path / "bad.jsonl")}])
    status, said = run_here(profile)
    assert status == 1
    for part in ("bad.jsonl", "row 2", "row 3", "max_bad_fraction"):
        assert part in said
    lake = Lake(profile.parent / "warehouse")
    assert lake.read("select source_row from raw.quarantined_rows order by 1")["source_row"].to_list() == [2, 3]
    assert lake.scalar("select count(*) from reflection.teacher_replies") == 0
    assert not (profile.parent / "warehouse" / "teacher.sqlite").exists()


@pytest.mark.postgres
def test_two_machines_that_share_a_lake_end_as_one_does(
    finished: tuple[Path, str], tmp_path: Path, postgres: str, s3: str
) -> None:
    """Started at once, each with a warehouse of its own; catalog, ledger, locks and records in one PostgreSQL."""
    lake = {"catalog": postgres, "data_path": f"{s3}/data/", "checkpoints": f"{s3}/checkpoints/"}
    profiles = [small_toy(tmp_path / name, lake=lake) for name in ("first", "second")]
    started = []
    for profile in profiles:
        arguments, environment = run_command(profile)
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(arguments, env=environment, **streams))
    for process in started:
        shown, _ = process.communicate(timeout=900)
        assert process.returncode == 0, shown
    undisturbed = tables(finished[0])
    shared = open_lake(load_profile(profiles[0]))
    for name, frame in tables_of(shared).items():
        assert frame.equals(undisturbed[name]), name
    paid = shared.read("select count(*) as n, count(distinct request_id) as requests from reflection.teacher_replies")
    assert paid["n"].item() == paid["requests"].item() > 0
    made = [
        sorted(folder.glob("warehouse/checkpoints/*/*/model.safetensors"))
        for folder in (tmp_path / "first", tmp_path / "second")
    ]
    assert [len(files) for files in made] == [2, 2]
    assert [file.read_bytes() for file in made[0]] == [file.read_bytes() for file in made[1]]
