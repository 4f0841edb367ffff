import os

import pytest

from models_py.environment import environment_kept


def test_what_was_set_changed_and_removed_inside_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLECTION_CHANGED", "before")
    monkeypatch.setenv("REFLECTION_REMOVED", "before")
    with environment_kept({"REFLECTION_CHANGED": "default", "REFLECTION_NEW": "default"}):
        assert (os.environ["REFLECTION_CHANGED"], os.environ["REFLECTION_NEW"]) == ("before", "default")
        os.environ["REFLECTION_CHANGED"] = "inside"
        del os.environ["REFLECTION_REMOVED"]
    assert (os.environ["REFLECTION_CHANGED"], os.environ["REFLECTION_REMOVED"]) == ("before", "before")
    assert "REFLECTION_NEW" not in os.environ
