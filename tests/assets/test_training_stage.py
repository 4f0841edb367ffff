"""training: rows are frozen once a content, a checkpoint is trained once a (rows, student, settings)."""

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.profile.base_students import base_students
from assets.profile.recipes import recipes
from assets.profile.students import students
from assets.profile.teachers import teachers
from assets.profile.training_settings import training_settings
from assets.raw.raw_pairs import raw_pairs
from assets.training.loss_curves import loss_curves
from assets.training.student_checkpoint import _written, student_checkpoint
from assets.training.training_pairs import training_pairs
from dagster_project.definitions import build_definitions
from dagster_project.lakehouse.lake import Commit
from dagster_project.steps.project_version import project_version
from models_py.content import FileHashes, content_id
from models_py.errors import UserError
from models_py.student.resolve import find_student
from models_py.training import fine_tune
from models_py.training.loss_log import LOSS_LOG
from models_py.training.manifest import damage, read_manifest, sealed, write_manifest
from models_py.training.settings import TrainingRow
from tests.assets.conftest import CAT, DOG, OWL, Flow, version
from tests.sql.story import refresh

ROWS, CHECKPOINT = training_pairs("original"), student_checkpoint("original")


@pytest.fixture(scope="module")
def start(new_flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Three pairs scored, of which recipe `original` keeps all, CAT first."""
    flow = new_flow.copy(tmp_path_factory.mktemp("start"))
    list(flow.run(raw_pairs))
    for asset in (recipes, students, teachers, training_settings):
        flow.run(asset)
    score(flow)
    return flow


def score(flow: Flow) -> None:
    """Scores of the three pairs by who scores for `toy` now."""
    fingerprint = flow.lake.scalar("select scorer_fingerprint from profile.students where student = 'toy'")
    scores = ", ".join(
        f"('toy', '{fingerprint}', '{content_id(*pair)}', 2.0, {given}, 1, 'ok')"
        for pair, given in ((CAT, 1.9), (DOG, 1.8), (OWL, 1.7))
    )
    columns = (
        "student, student_fingerprint, content_id, answer_nll, answer_nll_given_instruction, answer_tokens, status"
    )
    sql = f"insert into scoring.instruction_scores ({columns}) values {scores}"
    flow.lake.write(lambda connection: connection.execute(sql), Commit("scores"))
    refresh(flow.lake)


@pytest.fixture
def ready(start: Flow, tmp_path: Path) -> Flow:
    return start.copy(tmp_path)


def freeze(flow: Flow) -> str:
    return version(flow.run(ROWS))


def select(flow: Flow, **cuts: object) -> None:
    """Cut recipe `original` otherwise, up to its training set."""
    recipe = {"policy": "original", "teacher": "recorded", "student": "toy"}
    flow.configure({"recipes": {"original": {**recipe, **cuts}, "best": {**recipe, "top_k": 1}}})
    flow.run(recipes)
    flow.run(training_settings)
    refresh(flow.lake)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each training was given; the fake publishes a manifest as the real one does."""
    calls: list[dict[str, Any]] = []

    def fake(
        rows: list[TrainingRow],
        *,
        student: Any,
        settings: Any,
        out_dir: Path,
        manifest: dict[str, Any],
        model: str,
        on_progress: Any,
        finish: Any,
        cluster: Any,
    ) -> Any:
        calls.append({"outputs": [row.output for row in rows], "model": model, **manifest})
        out_dir.mkdir(parents=True)
        (out_dir / "model.safetensors").write_text("weights")
        (out_dir / LOSS_LOG).write_text(f'{{"step": 1, "loss": {5 + settings.seed}}}\n{{"step": 2, "loss": 4.0}}\n')
        stored = {
            **manifest,
            "student": {"name": student.name, "fingerprint": student.fingerprint},
            "loss_before": 5.0,
            "loss_after": 3.0,
            "steps": 1,
            "rows": len(rows),
            "dropped": [["p9", "no target"]],
            "truncated_rows": 2,
            "seconds": 0.1 * len(calls),
            "settings": settings.hashed,
            "target_tokens": 12,
            "loss_rows": len(rows),
            "device": "cpu",
            "dtype": {"computed": "float32", "stored": "float32"},
            "versions": {"torch": "2.13.0"},
        }
        stored["student"] |= {"model": model, "revision": None}
        finish(out_dir, stored)
        write_manifest(out_dir, sealed(out_dir, stored))
        return read_manifest(out_dir)

    monkeypatch.setattr(fine_tune, "fine_tune", fake)
    return calls


def test_the_frozen_rows_are_those_of_the_recipe_in_order(ready: Flow) -> None:
    result = ready.run(ROWS)
    rows = ready.lake.read(
        "select rank, instruction, output, candidate, data_version from training.training_pairs order by rank"
    )
    assert rows.rows() == [
        (rank, pair[0], pair[2], "original", version(result)) for rank, pair in enumerate((CAT, DOG, OWL), start=1)
    ]
    assert result.metadata["dagster/row_count"] == 3


def test_rows_student_and_settings_have_the_ids_of_the_first_release(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    """Where one of these changes, everybody trains again: mend the code, not the literal."""
    assert freeze(ready) == "988cd32ec07d53ea"
    assert version(ready.run(CHECKPOINT)) == "11e21aa42abe"
    fingerprint = ready.lake.scalar("select student_fingerprint from profile.students")
    assert fingerprint == "ae4f74555eb4dec1cbb68747995e5b73a5f112486613186012d5c1999596ef63"


def test_where_each_row_comes_from_is_frozen_with_it_and_stays_when_the_source_changes(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    ifds = "round(ifd_original, 6), round(ifd, 6)"
    columns = f"rank, source, source_row, teacher, first_choice, first_reason, {ifds}, is_current"
    frozen = freeze(ready)
    rows = [
        (rank, "mine", line, "recorded", None, "awaiting_reflection", ifd, ifd, True)
        for rank, line, ifd in ((1, 1, 0.904837), (2, 2, 0.818731), (3, 3, 0.740818))
    ]
    lineage = f"select {columns} from lineage.row_lineage order by data_version <> '{frozen}', rank"
    assert ready.lake.read(lineage).rows() == rows
    gone = "delete from raw.raw_pairs where source_row = 2"
    ready.lake.write(lambda connection: connection.execute(gone), Commit("an edited source"))
    refresh(ready.lake)
    made = version(ready.run(CHECKPOINT)) if freeze(ready) != frozen else ""
    assert ready.lake.read(lineage).rows() == [
        *((*row[:-1], False) for row in rows),
        (1, *rows[0][1:]),
        (2, *rows[2][1:]),
    ]
    seen = "select checkpoints from lineage.row_lineage where is_current"
    assert ready.lake.read(seen)["checkpoints"].to_list() == [[made], [made]]


def test_the_same_rows_are_frozen_once(ready: Flow) -> None:
    first = version(ready.run(ROWS))
    snapshot = ready.lake.snapshot_id()
    assert version(ready.run(ROWS)) == first
    assert ready.lake.snapshot_id() == snapshot


def test_the_manifest_names_the_model_as_it_is_wherever_the_warehouse_is_moved_to(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    freeze(ready)
    ready.run(CHECKPOINT)
    assert trained[0]["model"] == "student"  # beside the profile
    student, folder = find_student(ready.profile.students["toy"], ready.profile.students_dir), ready.folder
    for model, revision, written in (
        (f"{ready.lake.warehouse}/students/scratch-1", None, "students/scratch-1"),
        (f"{folder}/models/a b", None, "models/a b"),
        ("/elsewhere/model", None, "/elsewhere/model"),
        ("org/model", "c0ffee", "org/model"),
    ):
        assert _written(replace(student, model=model, revision=revision), ready.lake, ready.profile) == written


def test_two_runs_at_once_freeze_once(ready: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    both_looked = threading.Barrier(2, timeout=0.5)

    def late_append(*arguments: Any) -> int:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait()
        return type(ready.lake).append(ready.lake, *arguments)

    monkeypatch.setattr(ready.lake, "append", late_append)
    runs = [threading.Thread(target=ready.run, args=(ROWS,)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert ready.lake.scalar("select count(*) from training.training_pairs") == 3


@pytest.mark.slow
def test_other_rows_are_another_version_beside_the_old(ready: Flow) -> None:
    first = version(ready.run(ROWS))
    ready.pairs(CAT, DOG)
    list(ready.run(raw_pairs))
    refresh(ready.lake)
    second = ready.run(ROWS)
    assert version(second) != first
    assert second.metadata["dagster/row_count"] == 2
    counts = ready.lake.read("select data_version, count(*) from training.training_pairs group by all").rows()
    assert dict(counts) == {first: 3, version(second): 2}


def test_a_recipe_that_keeps_nothing_says_how_to_see_why(ready: Flow) -> None:
    with pytest.raises(
        UserError, match=r"recipes\.paper keeps no pair.*selection\.pair_decisions where recipe = 'paper'.*loosen"
    ):
        ready.run(training_pairs("paper"))


def test_a_checkpoint_is_trained_once_on_the_frozen_rows(ready: Flow, trained: list[dict[str, Any]]) -> None:
    data_version = freeze(ready)
    first = ready.run(CHECKPOINT)
    snapshot = ready.lake.snapshot_id()
    second = ready.run(CHECKPOINT)
    assert [call["outputs"] for call in trained] == [["Soft.", "Loyal.", "Wise."]]
    assert (trained[0]["recipe"], trained[0]["data_version"]) == ("original", data_version)
    assert version(first) == version(second)
    assert (first.metadata["loss_before"], first.metadata["loss_after"], first.metadata["dagster/row_count"]) == (
        5.0,
        3.0,
        3,
    )
    leads = ["path", "base", "recipe", "dagster/row_count", "loss_before", "loss_after"]
    assert [*first.metadata][:8] == [*leads, "loss_plot", "serve"]
    assert first.metadata["serve"] == "make serve PROFILE=mine RECIPE=original"
    assert first.metadata["told"] == (
        "original: 2 of 3 rows are trained on without their end (training.max_length)\n"
        f"original: 1 rows cannot be trained on; make rows CHECKPOINT={version(first)} says why"
    )
    assert ready.lake.snapshot_id() == snapshot
    [(path, manifest)] = ready.lake.read("select path, manifest from training.student_checkpoints").rows()
    assert path == f"checkpoints/original/{version(first)}"
    assert json.loads((ready.profile.warehouse / path / "manifest.json").read_text()) == json.loads(manifest)
    rows = "select count(*) from training.training_pairs where data_version = ?"
    assert ready.lake.read(rows, [data_version], as_of=trained[0]["snapshot_id"]).item() == 3


@pytest.mark.kill
def test_a_checkpoint_published_before_a_kill_gets_its_row(ready: Flow, trained: list[dict[str, Any]]) -> None:
    freeze(ready)
    ready.run(CHECKPOINT)
    ready.lake.write(
        lambda connection: connection.execute("delete from training.student_checkpoints"), Commit("killed")
    )
    ready.run(CHECKPOINT)
    assert (len(trained), ready.lake.scalar("select count(*) from training.student_checkpoints")) == (1, 1)


def change_weights(flow: Flow, text: str) -> None:
    flow.sound_student(text)


def without_a_trace(flow: Flow, text: str) -> None:
    """Change the weights within one tick of the file system's clock: what is remembered of them still fits."""
    change_weights(flow, text)
    memory, path = flow.profile.students_dir / "file_hashes.json", flow.folder / "student" / "model.safetensors"
    known = json.loads(memory.read_text())
    known[str(path)][:-1] = FileHashes.seen(path.stat())
    memory.write_text(json.dumps(known))


@pytest.mark.parametrize("change", [change_weights, without_a_trace])
def test_what_was_scored_is_what_is_trained(
    ready: Flow, trained: list[dict[str, Any]], change: Callable[[Flow, str], None]
) -> None:
    ready.sound_student()
    base_students_found = ready.run(base_students)
    ready.run(students)
    score(ready)
    freeze(ready)
    change(ready, "[]")
    with pytest.raises(UserError, match=r"students\.toy: its weights.* have changed since profile/students found them"):
        ready.run(CHECKPOINT)
    assert trained == []
    assert version(ready.run(base_students)) != version(base_students_found)  # the next run scores the new ones
    change_weights(ready, "{}")
    ready.run(CHECKPOINT)
    assert len(trained) == 1


@pytest.mark.parametrize("change", [change_weights, without_a_trace])
def test_a_student_that_another_scores_for_is_trained_as_it_is(
    ready: Flow, trained: list[dict[str, Any]], change: Callable[[Flow, str], None]
) -> None:
    ready.sound_student()
    shutil.copytree(ready.folder / "student", ready.folder / "small")
    toy, small = ({"model": str(ready.folder / name), "max_length": 64} for name in ("student", "small"))
    ready.configure({"students": {"toy": {**toy, "scored_by": "small"}, "small": small}})
    ready.run(base_students)
    ready.run(students)
    score(ready)
    freeze(ready)
    change(ready, "[]")
    with contextlib.suppress(UserError):  # it asks for another run where a hash was taken too soon
        ready.run(CHECKPOINT)
    found = version(ready.run(CHECKPOINT))
    assert len(trained) == 1
    change_weights(ready, "{}")
    assert version(ready.run(CHECKPOINT)) != found and len(trained) == 2


def test_without_frozen_rows_nothing_is_trained(ready: Flow, trained: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"recipes\.original: .*; materialize training/original/training_pairs"):
        ready.run(CHECKPOINT)
    assert trained == []


def test_a_selection_that_changed_must_be_frozen_first(ready: Flow, trained: list[dict[str, Any]]) -> None:
    freeze(ready)
    select(ready, top_k=2)
    with pytest.raises(UserError, match="materialize training/original/training_pairs"):
        ready.run(CHECKPOINT)
    freeze(ready)
    ready.run(CHECKPOINT)
    assert [call["outputs"] for call in trained] == [["Soft.", "Loyal."]]


@pytest.mark.slow
def test_a_selection_that_went_back_is_trained_on_its_old_rows(ready: Flow, trained: list[dict[str, Any]]) -> None:
    first = freeze(ready)
    select(ready, top_k=2)
    assert freeze(ready) != first  # later by every clock
    select(ready)
    ready.run(CHECKPOINT)
    assert [(call["data_version"], len(call["outputs"])) for call in trained] == [(first, 3)]


@pytest.mark.slow
def test_each_recipe_is_trained_on_its_own_rows(ready: Flow, trained: list[dict[str, Any]]) -> None:
    select(ready)
    freeze(ready)
    ready.run(training_pairs("best"))
    for recipe in ("original", "best"):
        ready.run(student_checkpoint(recipe))
    assert [(call["recipe"], call["outputs"]) for call in trained] == [
        ("original", ["Soft.", "Loyal.", "Wise."]),
        ("best", ["Soft."]),
    ]


def test_a_copied_lake_finds_its_rows_and_checkpoints_without_dagsters_records(
    ready: Flow, trained: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    freeze(ready)
    copied = ready.copy(tmp_path_factory.mktemp("rows"))
    before = version(copied.run(CHECKPOINT))
    assert [call["outputs"] for call in trained] == [["Soft.", "Loyal.", "Wise."]]
    again = copied.copy(tmp_path_factory.mktemp("checkpoint"))
    assert version(again.run(CHECKPOINT)) == before
    assert len(trained) == 1


def test_one_recipe_alone_is_trained_by_a_dagster_that_has_seen_nothing(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    freeze(ready)
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([CHECKPOINT], resources={"lake": ready.lake, "profile": ready.profile}, instance=instance)
    assert len(trained) == 1


# ── what lies in the warehouse ─────────────────────────────────────────────────────────────────────────────────────


def current(flow: Flow) -> list[tuple[Any, ...]]:
    columns = "recipe, checkpoint_id, path, loss_after"
    return flow.lake.read(f"select {columns} from training.current_checkpoints order by recipe").rows()


def test_the_current_checkpoint_is_that_of_rows_student_and_settings_not_the_newest(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    def settings(**training: object) -> None:
        recipe = {"policy": "original", "teacher": "recorded", "student": "toy"}
        ready.configure({"recipes": {"original": recipe}, "training": training})
        ready.run(training_settings)

    settings()
    freeze(ready)
    assert current(ready) == []
    first = version(ready.run(CHECKPOINT))
    settings(seed=7)
    assert current(ready) == []
    second = version(ready.run(CHECKPOINT))
    assert current(ready) == [("original", second, f"checkpoints/original/{second}", 3.0)]
    settings()
    assert current(ready) == [("original", first, f"checkpoints/original/{first}", 3.0)]
    own = {"policy": "original", "teacher": "recorded", "student": "toy", "training": {"seed": 7}}
    ready.configure({"recipes": {"original": own}, "training": {}})
    ready.run(training_settings)
    assert current(ready) == [("original", second, f"checkpoints/original/{second}", 3.0)]
    assert version(ready.run(CHECKPOINT)) == second
    settings()
    select(ready, top_k=2)
    assert current(ready) == []
    freeze(ready)
    assert current(ready) == []
    select(ready)
    assert [row[1] for row in current(ready)] == [first]
    (ready.folder / "student" / "model.safetensors").write_text("other weights")
    ready.run(students)
    assert current(ready) == []
    assert len(trained) == 2


def test_every_training_seed_has_a_checkpoint_and_a_further_one_trains_no_other(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    def seeds(*seeds: int) -> list[str]:
        recipe = {"policy": "original", "teacher": "recorded", "student": "toy", "seed": 5}
        ready.configure({"recipes": {"original": recipe}, "training_seeds": [*seeds]})
        ready.run(training_settings)
        return version(ready.run(CHECKPOINT)).split(",")

    freeze(ready)
    first, second = seeds(0, 1)
    assert len(trained) == 2
    current = "select training_seed, name, checkpoint_id from training.current_checkpoints order by training_seed"
    assert ready.lake.read(current).rows() == [
        (0, "original/0", first),
        (1, "original/1", second),
    ]
    assert seeds(1, 2, 0)[::2] == [second, first]
    assert len(trained) == 3
    [alone] = seeds(0)
    assert (alone, len(trained)) == (first, 3)
    assert ready.lake.read("select name, checkpoint_id from training.current_checkpoints").rows() == [
        ("original", first)
    ]


def test_a_checkpoint_says_where_it_comes_from_to_programs_and_to_people(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    select(ready, top_k=2, seed=4)
    frozen = freeze(ready)
    made = version(ready.run(CHECKPOINT))
    folder = ready.profile.checkpoints_dir / "original" / made
    manifest = json.loads((folder / "manifest.json").read_text())
    teacher = ready.lake.read("from profile.teachers").to_dicts()[0]
    student = ready.lake.read("from profile.students").to_dicts()[0]
    assert (manifest["data_version"], manifest["catalog"]) == (frozen, "catalog.sqlite")
    assert manifest["selection"] == {
        "policy": "original",
        "top_k": 2,
        "seed": 4,
        "first_choice": "ifd",
        "response_reflection": "selected",
    }
    assert manifest["rows_by_candidate"] == {"original": 2}
    assert manifest["teacher"] == {"name": "recorded", **{k: teacher[k] for k in ("engine", "identity", "model")}}
    assert manifest["prompt_versions"] == {
        "instruction_reflection": teacher["instruction_prompt_version"],
        "response_reflection": teacher["response_prompt_version"],
    }
    assert manifest["scorer"] == {"name": "toy", "fingerprint": student["scorer_fingerprint"]}
    assert manifest["project"] == project_version()
    assert datetime.fromisoformat(manifest["created_at"]).tzinfo is not None
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["library_name"]) == ("unknown", "transformers")
    for line in (
        "| rows | 2 |",
        "| of which original | 2 |",
        "| loss before | 5.0000 nats a token |",
        "| policy | original |",
        "| top_k | 2 |",
        "| learning_rate | 2e-05 |",
        f"| data version of the rows | {frozen} |",
        "make serve PROFILE=mine RECIPE=original",
    ):
        assert line in card
    assert str(ready.folder) not in card + json.dumps(manifest)
    assert damage(folder) is None
    (folder / "README.md").write_text("mine")
    assert damage(folder) == "README.md is not what was published: cut or edited"


def test_the_curve_of_every_training_is_a_table_and_a_plot(ready: Flow, trained: list[dict[str, Any]]) -> None:
    def curves() -> list[tuple[Any, ...]]:
        return ready.lake.read(
            "select checkpoint_id, step, loss, tokens from training.loss_curves order by 1, 2"
        ).rows()

    freeze(ready)
    assert "loss_plot" not in ready.run(loss_curves).metadata
    made = version(ready.run(CHECKPOINT))
    result = ready.run(loss_curves)
    assert curves() == [(made, 1, 5.0, None), (made, 2, 4.0, None)]
    assert result.metadata["loss_plot"].value.startswith("![loss](data:image/png;base64,")
    snapshot = ready.lake.snapshot_id()
    assert version(ready.run(loss_curves)) == version(result)
    assert ready.lake.snapshot_id() == snapshot
    folder = ready.profile.checkpoints_dir / "original" / made
    (folder / "model.safetensors").unlink()  # it is trained again, and ends otherwise
    ready.run(CHECKPOINT)
    (folder / LOSS_LOG).write_text('{"step": 1, "loss": 3.0}\n')
    ready.run(loss_curves)
    assert curves() == [(made, 1, 3.0, None)]


@pytest.mark.parametrize("text", [None, "no JSON", "[1]", '{"loss": 1}'])
def test_a_log_that_cannot_be_read_is_named_and_stops_no_other(
    ready: Flow, trained: list[dict[str, Any]], text: str | None
) -> None:
    freeze(ready)
    made = version(ready.run(CHECKPOINT))
    log = ready.profile.checkpoints_dir / "original" / made / LOSS_LOG
    log.unlink() if text is None else log.write_text(text)
    result = ready.run(loss_curves)
    assert result.metadata["dagster/row_count"] == 0
    assert f"original/{made}" in result.metadata["logs_not_read"].value


def test_a_changed_cut_or_another_recipe_trains_nothing_else(ready: Flow, trained: list[dict[str, Any]]) -> None:
    recipe = {"policy": "original", "teacher": "recorded", "student": "toy"}

    def made(**recipes_now: dict[str, Any]) -> dict[str, str]:
        ready.configure({"recipes": recipes_now})
        ready.run(recipes)
        ready.run(training_settings)
        refresh(ready.lake)
        for name in recipes_now:
            ready.run(training_pairs(name))
        return {name: version(ready.run(student_checkpoint(name))) for name in recipes_now}

    first = made(original=recipe, best={**recipe, "top_k": 2})
    assert len(trained) == 2
    cut = made(original=recipe, best={**recipe, "top_k": 1})
    assert (cut["original"], len(trained)) == (first["original"], 3)
    assert cut["best"] != first["best"]
    more = made(original=recipe, best={**recipe, "top_k": 1}, second={**recipe, "top_k": 2})
    assert ({name: more[name] for name in cut}, len(trained)) == (cut, 4)
    keys = build_definitions(ready.profile).resolve_asset_graph().get_all_asset_keys()
    assert {key.path[-1] for key in keys if key.path[1:2] == ["second"]} == {"training_pairs", "student_checkpoint"}


def test_a_row_of_0_1_holds_the_absolute_path_of_then(ready: Flow, trained: list[dict[str, Any]]) -> None:
    freeze(ready)
    made = version(ready.run(CHECKPOINT))
    sql = f"update training.student_checkpoints set path = '/then/it''s/checkpoints/x/checkpoints/original/{made}'"
    ready.lake.write(lambda connection: connection.execute(sql), Commit("of before"))
    assert current(ready) == [("original", made, f"checkpoints/original/{made}", 3.0)]


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("change", ["cut", "edited", "missing"])
def test_a_damaged_checkpoint_is_set_aside_and_trained_again(
    ready: Flow, trained: list[dict[str, Any]], name: str, change: str
) -> None:
    freeze(ready)
    first = ready.run(CHECKPOINT)
    folder = ready.profile.checkpoints_dir / "original" / version(first)
    ready.lake.append(
        {"evaluation.answers": [{"model": version(first), "answer": "Of these weights."}]}, Commit("said")
    )
    whole = (folder / name).read_bytes()
    match change:
        case "cut":
            (folder / name).write_bytes(whole[:-5])
        case "edited":
            (folder / name).write_bytes(
                whole.replace(b"original", b"0riginal") if name != "model.safetensors" else b"W"
            )
        case _:
            (folder / name).unlink()
    again = ready.run(CHECKPOINT)
    assert (version(again), len(trained)) == (version(first), 2)
    assert name in again.metadata["mended"] and "damaged-1" in again.metadata["mended"]
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.damaged-1"}
    [manifest] = ready.lake.read("select manifest from training.student_checkpoints")["manifest"]
    assert json.loads(manifest) == json.loads((folder / "manifest.json").read_text())
    third = ready.run(CHECKPOINT)
    assert "mended" not in third.metadata and len(trained) == 2
    assert ready.lake.scalar("select count(*) from evaluation.answers") == 1  # trained again to the same weights


def test_other_weights_of_a_checkpoint_are_evaluated_anew(ready: Flow, trained: list[dict[str, Any]]) -> None:
    freeze(ready)
    made = version(ready.run(CHECKPOINT))
    shown = ((made, "b"), ("b", made), ("b", "c"))
    rows: dict[str, list[dict[str, object]]] = {
        "evaluation.answers": [{"model": model, "answer": "So."} for model in (made, "base")],
        "evaluation.held_out_scores": [{"model": made, "content_id": "c"}],
        "evaluation.benchmark_runs": [{"model": made, "task": "t"}],
        "evaluation.benchmark_items": [{"model": made, "item": 1}],
        "evaluation.verdicts": [{"model_1": one, "model_2": two} for one, two in shown],
    }
    ready.lake.append(rows, Commit("evaluated"))
    folder = ready.profile.checkpoints_dir / "original" / made
    content = {key: value for key, value in json.loads((folder / "manifest.json").read_text()).items() if key != "seal"}
    (folder / "model.safetensors").write_text("as another GPU makes them")
    write_manifest(folder, sealed(folder, content))  # as one does that trains it again and is killed then
    assert version(ready.run(CHECKPOINT)) == made
    left = {table: ready.lake.scalar(f"select count(*) from {table}") for table in rows}
    assert list(left.values()) == [1, 0, 0, 0, 1]


def test_a_checkpoint_that_got_worse_is_refused_also_where_it_was_kept(
    ready: Flow, trained: list[dict[str, Any]]
) -> None:
    freeze(ready)
    folder = ready.profile.checkpoints_dir / "original" / version(ready.run(CHECKPOINT))
    content = {key: value for key, value in json.loads((folder / "manifest.json").read_text()).items() if key != "seal"}
    write_manifest(folder, sealed(folder, {**content, "loss_before": 5.96, "loss_after": 83360.0}))
    with pytest.raises(UserError, match=r"original: training diverged: the loss is 83,360\.000.*learning_rate"):
        ready.run(CHECKPOINT)


def test_frozen_rows_say_where_they_came_from_and_go_on_saying_it(ready: Flow) -> None:
    columns = "pair_id, source, file, source_row"
    first = freeze(ready)
    frozen = ready.lake.read(f"select {columns} from training.training_pairs order by rank").rows()
    assert frozen == [(content_id(*pair), "mine", "pairs.jsonl", row) for row, pair in enumerate((CAT, DOG, OWL), 1)]
    (ready.folder / "pairs.jsonl").rename(ready.folder / "moved.jsonl")
    ready.configure({"sources": [{"name": "other", "path": "moved.jsonl"}]})
    list(ready.run(raw_pairs))
    refresh(ready.lake)
    assert freeze(ready) == first
    assert ready.lake.read(f"select {columns} from training.training_pairs order by rank").rows() == frozen


def test_a_moved_warehouse_finds_its_checkpoints(ready: Flow, trained: list[dict[str, Any]], tmp_path: Path) -> None:
    freeze(ready)
    made = version(ready.run(CHECKPOINT))
    ready.profile.warehouse.rename(tmp_path / "moved")
    ready.configure({"warehouse": "moved"})
    assert version(ready.run(CHECKPOINT)) == made
    assert len(trained) == 1
    [(_, _, path, _)] = current(ready)
    assert (ready.profile.warehouse / path / "manifest.json").is_file()
