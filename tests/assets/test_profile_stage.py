"""The profile's tables mirror the profile: what left it leaves them, what stays makes no snapshot."""

import os
from pathlib import Path

import pytest

from assets.profile.base_students import base_students
from assets.profile.recipes import recipes
from assets.profile.sources import sources
from assets.profile.students import observed, students
from assets.profile.teachers import teachers
from models_py import content
from models_py.errors import UserError
from models_py.student.resolve import find_student
from tests.assets.conftest import CAT, DOG, Flow, version


def test_recipes_are_columns_and_an_absent_cut_is_null(flow: Flow) -> None:
    flow.configure(top_k=2, ifd_below=0.9)
    assert flow.run(recipes).metadata["dagster/row_count"] == 2
    rows = flow.lake.read(
        "select recipe, policy, top_k, top_fraction, ifd_below, mix, response_reflection "
        "from profile.recipes order by 1"
    )
    assert rows.rows() == [
        ("original", "original", None, None, None, 0.0, "selected"),
        ("paper", "paper", 2, None, 0.9, 0.0, "selected"),
    ]


def test_a_recipe_that_changed_replaces_the_old_one(flow: Flow) -> None:
    before = version(flow.run(recipes))
    flow.configure(top_k=1)
    assert version(flow.run(recipes)) != before
    assert flow.lake.read("select top_k from profile.recipes where recipe = 'paper'").rows() == [(1,)]


def test_an_unchanged_profile_makes_no_snapshot(flow: Flow) -> None:
    stage = (recipes, sources, students, teachers)
    first = [version(flow.run(asset)) for asset in stage]
    snapshot = flow.lake.snapshot_id()
    assert [version(flow.run(asset)) for asset in stage] == first
    assert flow.lake.snapshot_id() == snapshot


def test_sources_name_their_files(flow: Flow) -> None:
    flow.run(sources)
    columns = "source, paths, max_bad_fraction, content_hash"
    [(name, paths, share, content)] = flow.lake.read(f"select {columns} from profile.sources").rows()
    assert (name, [Path(path).name for path in paths], share) == ("mine", ["pairs.jsonl"], 0.25)
    flow.pairs(CAT, DOG)
    assert flow.lake.scalar("select content_hash from profile.sources") == content
    flow.run(sources)
    assert flow.lake.scalar("select content_hash from profile.sources") != content


def test_another_recording_is_another_prompt_version(flow: Flow) -> None:
    def versions() -> tuple[str, ...]:
        return flow.lake.read(
            "select identity, instruction_prompt_version, response_prompt_version from profile.teachers"
        ).row(0)

    flow.run(teachers)
    before = versions()
    flow.replies({})
    flow.run(teachers)
    assert all(new != old for new, old in zip(versions(), before, strict=True))
    assert len(set(versions())) == 3


def test_students_carry_the_fingerprint_that_scores_are_kept_under(flow: Flow) -> None:
    flow.run(students)
    fingerprint = find_student(flow.profile.students["toy"], flow.profile.students_dir).fingerprint
    rows = flow.lake.read(
        "select student, revision, student_fingerprint, scored_by, scorer_fingerprint from profile.students"
    )
    assert rows.rows() == [("toy", None, fingerprint, "toy", fingerprint)]


def test_base_students_are_versioned_by_their_fingerprints(flow: Flow) -> None:
    flow.sound_student()
    first = flow.run(base_students)
    assert [record.data["student"] for record in first.metadata["students"].records] == ["toy"]
    assert version(flow.run(base_students)) == version(first)
    (flow.folder / "student" / "tokenizer.json").write_text("[]")
    assert version(flow.run(base_students)) != version(first)


def test_a_wrong_path_is_said_before_a_student_is_made(flow: Flow) -> None:
    texts = flow.folder / "pairs.jsonl"
    flow.configure(
        {"students": {"toy": {"scratch": {"texts": [str(texts)]}}, "lost": {"model": str(flow.folder / "lost")}}}
    )
    (flow.folder / "lost").mkdir()
    with pytest.raises(UserError, match=r"students\.lost\.model: .*no config\.json"):
        flow.run(base_students)
    assert not flow.profile.students_dir.exists()


def test_only_base_students_makes_a_student(flow: Flow) -> None:
    small = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "steps": 1, "max_length": 64}
    flow.configure({"students": {"toy": {"scratch": small}}})
    with pytest.raises(UserError, match=r"students\.toy\.scratch: .*materialize profile/base_students"):
        flow.run(students)
    made = version(flow.run(base_students))
    flow.run(students)
    [(fingerprint,)] = flow.lake.read("select student_fingerprint from profile.students").rows()
    assert made == content.fingerprint([["toy", fingerprint]])[:16]


def test_large_weights_of_equal_size_and_age_are_seen_to_be_others(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.profile.students._LARGE_BYTES", 1)
    weights = flow.folder / "student" / "model.safetensors"
    before, stat = observed(flow.profile), weights.stat()
    assert observed(flow.profile) == before
    (flow.folder / "copy").write_bytes(b"[]"[: stat.st_size])
    os.utime(flow.folder / "copy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (flow.folder / "copy").rename(weights)
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert observed(flow.profile) != before
