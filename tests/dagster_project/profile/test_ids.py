"""What replies, scores and checkpoints are kept under: the literals are those of the first release, for good.

A profile that asked, scored and trained with one version must find everything again with the next. Where one of these
changes, everybody pays their teacher again or trains again: mend the code, not the literal.
"""

import importlib.metadata
import platform
from pathlib import Path

import dagster as dg
import pytest

from assets.profile.recipes import recipes
from assets.profile.sources import rows as source_rows
from assets.profile.sources import sources
from assets.profile.teachers import teachers
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from models_py.student.resolve import make_student
from models_py.student.scratch import scratch_identity
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.request import INSTRUCTION_REFLECTION, PHASES, RESPONSE_REFLECTION, PendingPair
from models_py.training.manifest import checkpoint_id
from tests.support.profiles import write_profile

PROFILE = """
warehouse: house
sources: [{name: mine, path: pairs.jsonl}]
teachers:
  tape: {engine: recorded, replies: replies.jsonl}
  gpt: {engine: openai, model: small, concurrency: 3, sampling: {temperature: 1, seed: 7, max_tokens: 100}}
  night: {engine: openai_batch, model: small, prompts: {variant: criteria_first}, parse_attempts: 1}
  local: {engine: vllm, model: some/model, revision: abc}
students:
  toy: {scratch: {texts: [pairs.jsonl], max_length: 512, steps: 3}}
  plain: {model: student}
  short: {model: ./student, max_length: 64, dtype: float32, chat_template: chat.jinja}
recipes: {paper: {policy: paper, teacher: tape, student: toy, top_k: 5}}
training: {epochs: 1, learning_rate: 1e-3}
"""
# Who answers; the first characters of both prompt versions (under parser 2) and of the ids of both phases' requests.
TEACHERS = {
    "tape": ("recorded:e3b0c44298fc", "ef65b62dcb6528bf", "0d35341af931962d", "dd25b3e860068111", "66288ac09df65a05"),
    "gpt": ("small", "8125500f24855cfd", "86b2f3ee79ae2777", "fcb1f21f17ebe1ab", "48546e3590c3e7f3"),
    "night": ("small", "9b9adbbaf47ad9e8", "e5d04f0856b769ad", "c41b414267ffabc2", "45a4a8b731da7313"),
    "local": ("some/model@abc", "a62d8e62cfd9915a", "27217ab974278fb5", "afa80438beea5440", "268acecdacdeacb2"),
}
STUDENTS = {"plain": "e08245dd94056b4c", "short": "7956d71d69e9fe4e"}


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    (tmp_path / "student").mkdir()
    for name, text in {"config.json": "{}", "tokenizer.json": "[]", "model.safetensors": "weights"}.items():
        (tmp_path / "student" / name).write_text(text, "utf-8")
    (tmp_path / "chat.jinja").write_text("{{ messages }}", "utf-8")
    for name in ("pairs.jsonl", "replies.jsonl"):
        (tmp_path / name).write_text("", "utf-8")
    return load_profile(write_profile(tmp_path, PROFILE))


def ids(teacher: OpenTeacher) -> tuple[str, ...]:
    pair = PendingPair("id", "Name a river.", "In Europe.", "The Rhine.")
    requests = [teacher.request(phase, pair) for phase in PHASES]
    versions = [teacher.prompt_version(phase) for phase in (INSTRUCTION_REFLECTION, RESPONSE_REFLECTION)]
    return (teacher.engine.identity, *(full[:16] for full in [*versions, *(one.request_id for one in requests)]))


def test_requests_and_prompt_versions(profile: Profile) -> None:
    assert {spec.name: ids(open_teacher(spec)) for spec in profile.teacher_specs()} == TEACHERS


def test_the_fingerprint_of_a_folder(profile: Profile) -> None:
    found = {name: make_student(profile.students[name], profile.students_dir) for name in STUDENTS}
    assert {name: student.fingerprint[:16] for name, student in found.items()} == STUDENTS
    assert [student.max_length for student in found.values()] == [2048, 64]


def test_the_identity_of_a_toy(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 1")
    monkeypatch.setattr(platform, "python_version", lambda: "3.11.0")
    scratch = profile.students["toy"].scratch
    assert scratch is not None and scratch_identity(scratch, "The corpus.")[:16] == "f4cdd5c2c374db48"


def test_the_id_of_a_checkpoint(profile: Profile) -> None:
    assert checkpoint_id("paper", "version", "student", profile.training) == "0e8acacf1d5c"


def test_the_tables_of_the_profile(profile: Profile, lake: Lake) -> None:
    for asset in (sources, recipes, teachers):
        asset(dg.build_asset_context(), lake=lake, profile=profile)
    assert lake.read("select source, paths, max_bad_fraction from profile.sources").rows() == [
        ("mine", ["pairs.jsonl"], 0.05)
    ]
    cuts = "top_fraction, top_k, ifd_below, r_ifd_below, mix, seed, response_reflection"
    assert lake.read(f"select recipe, policy, teacher, student, {cuts} from profile.recipes").rows() == [
        ("paper", "paper", "tape", "toy", None, 5, None, None, 0.0, 0, "selected")
    ]
    versions = "left(instruction_prompt_version, 16), left(response_prompt_version, 16)"
    found = lake.read(f"select teacher, identity, {versions}, engine, model from profile.teachers").rows()
    assert {row[0]: row[1:4] for row in found} == {name: values[:3] for name, values in TEACHERS.items()}
    assert {row[0]: row[4:] for row in found} == {
        "tape": ("recorded", None),
        "gpt": ("openai", "small"),
        "night": ("openai_batch", "small"),
        "local": ("vllm", "some/model"),
    }


def test_a_licence_changes_no_row_of_the_profile(profile: Profile, tmp_path: Path) -> None:
    text = PROFILE.replace("path: pairs.jsonl}]", "path: pairs.jsonl, license: cc-by-4.0}]", 1)
    licensed = load_profile(write_profile(tmp_path, text))
    assert licensed.sources[0].license == "cc-by-4.0"
    assert source_rows(licensed) == source_rows(profile)
