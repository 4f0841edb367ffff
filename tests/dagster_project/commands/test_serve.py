"""Which checkpoint `make serve` means, and what it says where there is none.

Really served it is in tests/test_vllm_pipeline.py.
"""

import json
import shlex
import socket
from datetime import datetime
from pathlib import Path

import pytest

from dagster_project.commands import serve
from dagster_project.commands.serve import checkpoint_of, curl
from dagster_project.lakehouse.lake import Lake
from models_py.content import canonical_json
from models_py.errors import UserError
from models_py.training.manifest import checkpoint_id
from models_py.training.settings import TrainingSettings
from tests.sql.story import Story, Text, freeze
from tests.support.profiles import toy_profile


def trained(lake: Lake, *recipes: str) -> Lake:
    """A lake with a current checkpoint of each recipe; the folders are not there."""
    story = Story(lake)
    story.pair("a", Text())
    for recipe in recipes:
        story.recipe(recipe, "original")
        story.add(
            "profile.training_settings", recipe=recipe, settings=canonical_json(TrainingSettings().hashed).decode()
        )
        made = checkpoint_id(recipe, "v1", "fp-toy", TrainingSettings())
        row = {"recipe": recipe, "checkpoint_id": made, "path": f"checkpoints/{recipe}/{made}", "data_version": "v1"}
        story.add("training.student_checkpoints", **row, manifest="{}", created_at=datetime(2026, 1, 1))
    lake = story.tell()
    return freeze(lake, "v1") if recipes else lake


@pytest.mark.parametrize(
    ("recipes", "wanted", "said"),
    [
        ((), None, "no current checkpoint to serve: `make run` makes it"),
        (("paper", "raw"), None, "RECIPE says which checkpoint: paper, raw"),
        (
            ("paper", "raw"),
            "papr",
            r"'papr' is not a recipe with a current checkpoint \(did you mean paper\?\); there are: paper, raw",
        ),
        (("paper",), "paper", "damaged: .*`make run` makes it again"),
    ],
)
def test_what_cannot_be_served_is_said_with_the_remedy(
    lake: Lake, recipes: tuple[str, ...], wanted: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        checkpoint_of(trained(lake, *recipes), wanted)


def test_the_only_checkpoint_needs_no_name(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "damage", lambda folder: None)
    trained(lake, "paper")
    path = lake.warehouse / str(lake.scalar("select path from training.current_checkpoints"))
    path.mkdir(parents=True)
    recipe, folder = checkpoint_of(lake, None)
    assert (recipe, folder) == ("paper", path)


def test_the_printed_line_is_one_shell_command() -> None:
    words = shlex.split(curl("paper", 8001))
    assert words[:2] == ["curl", "http://127.0.0.1:8001/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "paper"


def test_a_port_in_use_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "checkpoint_of", lambda lake, wanted: ("paper", tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serve.main(["paper", "--profile", str(toy_profile(tmp_path)), "--port", str(port)]) == 1
    assert f"Port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err
