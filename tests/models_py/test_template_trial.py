"""Templates in a process of their own: those of this project end in time."""

import pytest

from models_py.template_trial import problem_of
from tests.conftest import PROJECT


def test_the_bundled_templates_are_harmless() -> None:
    templates = sorted((PROJECT / "models_py").rglob("*.jinja"))
    assert len(templates) > 4 and [problem_of(file.read_text("utf-8")) for file in templates] == [None] * len(templates)


def test_what_is_wrong_otherwise_is_said_by_who_loads_it() -> None:
    assert problem_of("{{ broken") is None and problem_of("{{ nobody.knows.this }}") is None


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        LOOP,
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}" + LOOP + "{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}" + LOOP + "{%- endgeneration -%}{% endfor %}",
        "{% if messages[0].content == '' %}{{ raise_exception('no text') }}{% endif %}" + LOOP,
        "{% if messages[-1].role == 'assistant' %}" + LOOP + "{% endif %}",
        "{% if add_generation_prompt %}" + LOOP + "{% endif %}",
        "{{ strftime_now('%Y') }}" + LOOP,
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 9999999999 }}",
        "{{ messages[0].content }}{% for a in range(99999) %}{{ 'a' * 999 }}{% endfor %}",
    ],
)
def test_a_chat_template_that_does_not_end_is_found_wherever_it_loops(template: str) -> None:
    assert problem_of(template) is not None


def test_chat_templates_as_models_have_them_end() -> None:
    for template in (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{{ raise_exception('never') }}",
        "{% for m in messages %}{% if m.role == 'user' %}{% break %}{% endif %}{% endfor %}{{ strftime_now('%d') }}",
    ):
        assert problem_of(template) is None
