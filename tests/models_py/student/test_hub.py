"""Hub models: fetched once by a real huggingface_hub from a server here, found again when that is gone."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from models_py.errors import UserError
from models_py.student.loading import load_chat, load_model
from models_py.student.resolve import check_student, find_student, make_student
from models_py.student.spec import ResolvedStudent, Student
from tests.models_py.student.hub_server import Hub, serving_hub

FIRST, SECOND = "1" * 40, "2" * 40
SPEC = Student("tiny", model="org/tiny", max_length=256)


class Reach:
    """A hub that can be taken away."""

    def __init__(self, hub: Hub, connection: ExitStack) -> None:
        self.hub = hub
        self.lose = connection.close


@pytest.fixture
def reach(
    student: Callable[[str], ResolvedStudent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reach]:
    hub = Hub("org/tiny")
    hub.commits[FIRST] = Path(shutil.copytree(student("llama").model, tmp_path / "first"))
    (tmp_path / "first" / "original").mkdir()
    for copy in ("pytorch_model.bin", "consolidated.safetensors", "original/model.bin"):
        (tmp_path / "first" / copy).write_text("the same weights again")
    with ExitStack() as connection:
        url = connection.enter_context(serving_hub(hub))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield Reach(hub, connection)


def test_a_hub_model_is_fetched_whole_and_without_second_copies(reach: Reach, tmp_path: Path) -> None:
    check_student(SPEC)
    assert "model.safetensors" not in reach.hub.fetched
    made = make_student(SPEC, tmp_path / "students")
    assert (made.model, made.revision) == ("org/tiny", FIRST)
    assert sorted(reach.hub.fetched) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_what_was_fetched_is_found_and_opened_without_a_network(reach: Reach, tmp_path: Path) -> None:
    made = make_student(SPEC, tmp_path / "students")
    reach.lose()
    assert find_student(SPEC, tmp_path / "students") == made
    assert find_student(replace(SPEC, name="renamed"), tmp_path / "students").fingerprint == made.fingerprint
    assert make_student(SPEC, tmp_path / "students") == made
    assert load_model(made, "cpu").num_parameters() > 0 and load_chat(made).template == made.chat_template


def test_every_step_takes_the_commit_that_was_made(reach: Reach, tmp_path: Path) -> None:
    make_student(SPEC, tmp_path / "students")
    reach.hub.commits[SECOND] = reach.hub.commits[FIRST]
    assert find_student(SPEC, tmp_path / "students").revision == FIRST
    assert make_student(SPEC, tmp_path / "students").revision == SECOND
    assert find_student(SPEC, tmp_path / "students").revision == SECOND


def test_another_revision_and_a_lost_cache_are_not_found(reach: Reach, tmp_path: Path) -> None:
    make_student(SPEC, tmp_path / "students")
    assert json.loads((tmp_path / "students" / "hub_models.json").read_text()) == {"org/tiny": {"main": FIRST}}
    with pytest.raises(UserError, match="not fetched from the hub yet"):
        find_student(replace(SPEC, revision="v2"), tmp_path / "students")
    (tmp_path / "cache" / "models--org--tiny" / "snapshots" / FIRST / "model.safetensors").unlink()
    with pytest.raises(UserError, match="materialize profile/base_students"):
        find_student(SPEC, tmp_path / "students")


def test_a_model_without_weights_is_told(reach: Reach, tmp_path: Path) -> None:
    for weights in ("model.safetensors", "pytorch_model.bin"):
        (reach.hub.commits[FIRST] / weights).unlink()
    with pytest.raises(UserError, match=r"students\.tiny\.model: 'org/tiny' has no weights"):
        make_student(SPEC, tmp_path / "students")


def cached_weights(tmp_path: Path) -> Path:
    """Where the hub's cache keeps the weights of the first commit."""
    return (tmp_path / "cache" / "models--org--tiny" / "snapshots" / FIRST / "model.safetensors").resolve()


def test_weights_that_left_the_cache_are_fetched_again(reach: Reach, tmp_path: Path) -> None:
    made = make_student(SPEC, tmp_path / "students")
    cached_weights(tmp_path).unlink()  # the link to them stays
    with pytest.raises(UserError, match="materialize profile/base_students"):
        find_student(SPEC, tmp_path / "students")
    assert make_student(SPEC, tmp_path / "students") == made and cached_weights(tmp_path).is_file()


def test_weights_that_changed_in_the_cache_are_told_before_training(reach: Reach, tmp_path: Path) -> None:
    made = make_student(SPEC, tmp_path / "students")
    assert find_student(SPEC, tmp_path / "students", reread=True) == made
    weights = cached_weights(tmp_path)
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(UserError, match=rf"no longer what the hub gave out; remove {weights}, then materialize"):
        find_student(SPEC, tmp_path / "students", reread=True)
    weights.unlink()
    make_student(SPEC, tmp_path / "students")
    assert find_student(SPEC, tmp_path / "students", reread=True) == made
