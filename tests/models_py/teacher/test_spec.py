"""What an engine's settings say of it before it is opened."""

import re
from pathlib import Path

import pytest

from models_py.errors import UserError
from models_py.teacher.engines.base import Engine
from models_py.teacher.spec import (
    ENGINES,
    OpenAIBatchSettings,
    OpenAISettings,
    PromptSettings,
    RecordedSettings,
    TeacherSettings,
    VllmSettings,
)
from tests.conftest import PROJECT

EACH: dict[str, TeacherSettings] = {
    "recorded": RecordedSettings(replies=Path("r.jsonl")),
    "openai": OpenAISettings(model="small", concurrency=3),
    "openai_batch": OpenAIBatchSettings(model="small"),
    "vllm": VllmSettings(model="some/model"),
}


def test_an_engine_is_known_by_its_name() -> None:
    assert {name: type(settings) for name, settings in EACH.items()} == dict(ENGINES)


def test_every_engine_is_described() -> None:
    table = (PROJECT / "docs" / "teacher.md").read_text("utf-8").split("one ledger")[1].split("\n\n")[1]
    assert set(re.findall(r"^\| `(\w+)` \| \w", table, re.MULTILINE)) == {"engine", *ENGINES}


def test_what_each_says_of_itself() -> None:
    assert {name: settings.is_free for name, settings in EACH.items() if settings.is_free} == {"recorded": True}
    assert [settings.calls_at_once for settings in EACH.values()] == [None, 3, None, None]
    assert [settings.price_factor for settings in EACH.values()] == [1.0, 1.0, 0.5, 1.0]
    assert [settings.seconds(9, 900, 30.0) for settings in EACH.values()] == [None, 10.0, None, None]


@pytest.mark.parametrize("settings", EACH.values(), ids=EACH)
def test_each_opens_an_engine_of_its_own(settings: TeacherSettings, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("", "utf-8")
    engine = settings.at(tmp_path).open_engine("mine", tmp_path / "teacher.sqlite")
    assert isinstance(engine, Engine)
    assert engine.identity in {"small", "some/model", "recorded:e3b0c44298fc"}


def test_paths_start_at_the_root_and_a_hub_id_is_none(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    prompts = PromptSettings(response_reflection=Path("r.jinja"))
    settings = VllmSettings(model="here", chat_template=Path("../c.jinja"), prompts=prompts).at(tmp_path)
    assert (settings.model, settings.chat_template) == (str(tmp_path / "here"), tmp_path.parent / "c.jinja")
    assert settings.prompts == PromptSettings(response_reflection=tmp_path / "r.jinja")
    assert VllmSettings(model="some/model").at(tmp_path).model == "some/model"
    homeless = PromptSettings(response_reflection=Path("~no.such.body/r"))
    with pytest.raises(UserError, match=r"^prompts\.response_reflection: ~no\.such\.body/r cannot be resolved"):
        VllmSettings(model="some/model", prompts=homeless).at(tmp_path)
