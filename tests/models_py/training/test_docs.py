"""docs/training.md tells every setting with its default, and the presets as they are."""

import re
from dataclasses import fields

from models_py.training.settings import PRESETS, TRACKERS, Lora, TrainingSettings
from tests.conftest import PROJECT

TEXT = (PROJECT / "docs" / "training.md").read_text("utf-8")


def told(default: object) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, Lora):
        return f"rank {default.rank}, alpha {default.alpha}, dropout {default.dropout:g}, all linear layers"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_table_has_every_setting_with_its_default() -> None:
    settings = TrainingSettings()
    expected = {field.name: told(getattr(settings, field.name)) for field in fields(settings)}
    assert dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TEXT, re.MULTILINE)) == expected
    assert all(f"`{tracker}`" in TEXT for tracker in TRACKERS)


def test_the_presets_are_told() -> None:
    for name, values in PRESETS.items():
        values_told = ", ".join(f"{key}: {str(value).lower()}" for key, value in values.items())
        assert f"`preset: {name}` is {f'`{values_told}`' if values else 'the defaults'}" in TEXT
