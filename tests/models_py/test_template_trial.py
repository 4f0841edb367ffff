"""Templates in a process of their own: those of this project end in time."""

from models_py.template_trial import problem_of
from tests.conftest import PROJECT


def test_the_bundled_templates_are_harmless() -> None:
    templates = sorted((PROJECT / "models_py").rglob("*.jinja"))
    assert len(templates) > 4 and [problem_of(file.read_text("utf-8")) for file in templates] == [None] * len(templates)


def test_what_is_wrong_otherwise_is_said_by_who_loads_it() -> None:
    assert problem_of("{{ broken") is None and problem_of("{{ nobody.knows.this }}") is None
