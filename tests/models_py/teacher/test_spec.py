"""What an engine's settings say of it before it is opened."""

import re
from pathlib import Path

import pytest
import yaml

from dagster_project.profile.load import load_profile
from models_py.errors import UserError
from models_py.teacher.engines.base import Engine
from models_py.teacher.engines.openai.body import chat_body
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.open_teacher import Try, open_teacher
from models_py.teacher.request import PHASES
from models_py.teacher.spec import (
    ENGINES,
    EngineSettings,
    OpenAIBatchSettings,
    OpenAISettings,
    PromptSettings,
    RecordedSettings,
    TeacherSpec,
    VllmSettings,
)
from tests.conftest import PROJECT
from tests.support.engines import pair_of
from tests.support.profiles import SMALLEST, write_profile

EACH: dict[str, EngineSettings] = {
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
def test_each_opens_an_engine_of_its_own(settings: EngineSettings, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("", "utf-8")
    engine = TeacherSpec("mine", settings.at(tmp_path)).open_engine(LedgerPlace(tmp_path / "teacher.sqlite"))
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


@pytest.mark.parametrize(
    "key",
    [
        "sk-0123456789abcdef",
        "sk-ant-api03-AbC",
        "gsk_a1B2c3D4e5F6g7H8i9J0",
        "0123456789abcdef0123456789abcdef",
        "abcdef0123456789abcdef0123456789",
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
        "Bearer token",
        "",
    ],
)
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UserError, match=r"^api_key_env: this is no name of an environment variable") as caught:
        OpenAISettings(model="m", api_key_env=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY_2", "my_key", "KEY1", "ORGANISATION_KEY"])
def test_a_variable_is_known_by_its_look(name: str) -> None:
    assert OpenAISettings(model="m", api_key_env=name).api_key_env == name


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("api.openai.com/v1", "does not begin with http"),
        ("https://", "does not begin with http"),
        ("https://me:secret@host/v1", "holds a user or a password"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions goes too far"),
        ("https://[", "is no address"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(base_url: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"^base_url: {problem}|^base_url: .*{problem}") as caught:
        OpenAISettings(model="m", base_url=base_url)
    assert "secret" not in str(caught.value)


def test_who_is_asked_is_said_without_what_may_be_a_key() -> None:
    settings = OpenAISettings(model="m", base_url="https://host:8/openai/deployments/d?api-version=1&key=k")
    assert settings.asked_at == "https://host:8/openai/deployments/d"
    assert [one.asked_at for one in EACH.values()] == [
        "r.jsonl",
        "https://api.openai.com/v1",
        "https://api.openai.com/v1",
        "some/model",
    ]


# ── the set-ups of docs/teacher.md ─────────────────────────────────────────────────────────────────────────────────

DOCUMENTED = {
    "gpt5": {"max_completion_tokens": 16384, "reasoning_effort": "low"},
    "claude": {"max_tokens": 4096, "temperature": 0.0},
    "claude_thinking": {"max_tokens": 16384, "thinking": {"type": "enabled", "budget_tokens": 8000}},
    "azure": {"max_tokens": 2048, "temperature": 0.0, "top_p": 1.0},
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_set_up_sends_what_its_model_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the first try, and on a second with a changed sampling: what the profile takes out stays out."""
    blocks = re.findall(r"```yaml\n(.*?)```", (PROJECT / "docs" / "teacher.md").read_text("utf-8"), re.DOTALL)
    documented = next(block for block in blocks if f"\n  {name}:" in f"\n{block}")
    profile = yaml.safe_load(documented if documented.startswith("teachers:") else f"teachers:\n{documented}")
    keys = {"teachers": {name: profile["teachers"][name]}}
    keys["recipes"] = {"first": {"policy": "paper", "teacher": name, "student": "toy"}}
    loaded = load_profile(write_profile(tmp_path, {**SMALLEST, **keys}))
    (spec,) = loaded.teacher_specs()
    assert isinstance(spec.settings, OpenAISettings)
    teacher = open_teacher(spec)
    bodies = [chat_body(spec.settings, teacher.request(PHASES[0], pair_of("Name a sea."), Try(n))) for n in (0, 1)]
    common = {"model", "messages"}
    assert {key: value for key, value in bodies[0].items() if key not in common} == DOCUMENTED[name]
    assert bodies[1].keys() - bodies[0].keys() == {"seed"}
