from pathlib import Path
from typing import Any

import pytest

from models_py.content import content_id
from models_py.conversation import NO_CONTEXT, Context, Message
from models_py.errors import UserError
from models_py.teacher.prompt import build_request, load_prompts, prompt_version
from models_py.teacher.request import INSTRUCTION_REFLECTION, PHASES, RESPONSE_REFLECTION, Sampling
from models_py.teacher.spec import PromptSettings
from tests.support.engines import request

GOOD = "{{ instruction }} {{ output }} [Better Answer] [End]"


def replace(path: Path, text: str) -> PromptSettings:
    path.write_text(text, encoding="utf-8")
    return PromptSettings(response_reflection=path)


@pytest.mark.parametrize("phase", PHASES)
def test_a_bundled_prompt_shows_the_record_before_the_criteria(phase: str) -> None:
    system, user = load_prompts("gpt")[phase].messages("Name a sea.", "In Europe.", "Baltic.")
    assert (system.role, user.role) == ("system", "user")
    places = [
        user.content.index(text) for text in ("Name a sea.", "In Europe.", "Baltic.", "helpful", "accura", "[End]")
    ]
    assert places == sorted(places)


def test_the_instruction_prompt_names_every_criterion_and_tag() -> None:
    user = load_prompts("gpt")[INSTRUCTION_REFLECTION].messages("Name a sea.", "", "Baltic.")[-1].content
    for words in ("complexity", "level of detail", "knowledge", "ambiguity", "reasoning", "relevant", "detailed"):
        assert words in user
    assert user.count("[New Instruction]") == user.count("[New Answer]") == 1


def test_an_absent_input_leaves_no_trace() -> None:
    assert "<input>" not in load_prompts("gpt")[RESPONSE_REFLECTION].messages("Name a sea.", "", "Baltic.")[-1].content


def test_text_of_a_pair_is_never_a_template() -> None:
    hostile = "{{ 7 * 7 }} {% if x %} {# gone #} &lt;\n\n  indented"
    assert hostile in load_prompts("gpt")[RESPONSE_REFLECTION].messages(hostile, "", "Baltic.")[-1].content


def test_a_template_without_blocks_is_one_user_message(tmp_path: Path) -> None:
    prompt = load_prompts("gpt", replace(tmp_path / "mine.jinja", GOOD))[RESPONSE_REFLECTION]
    assert prompt.messages("Q", "", "A") == (Message("user", "Q A [Better Answer] [End]"),)


def test_the_version_of_a_prompt_is_its_text(tmp_path: Path) -> None:
    first = load_prompts("gpt", replace(tmp_path / "one.jinja", GOOD))[RESPONSE_REFLECTION]
    second = load_prompts("gpt", replace(tmp_path / "two.jinja", GOOD))[RESPONSE_REFLECTION]
    third = load_prompts("gpt", replace(tmp_path / "two.jinja", GOOD + "!"))[RESPONSE_REFLECTION]
    assert first.version == second.version != third.version


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{{ instruction }", "mine.jinja:1"),
        ("{% include 'other' %}" + GOOD, "cannot be rendered"),
        ("{{ instruction.nothing }}" + GOOD, "cannot be rendered"),
        ("{{ answer }}" + GOOD, "unknown variable 'answer'"),
        (GOOD.replace("{{ output }}", ""), "never shows the pair's output"),
        (GOOD.replace("[Better Answer]", "[New Answer]"), "never names the tag [Better Answer]"),
        (GOOD.replace("[End]", ""), "never names the tag [End]"),
        ("{% block system %}" + GOOD + "{% endblock %}", "Use user, or system and user"),
        ("{% block user %}" + GOOD + "{% endblock %}{% block shot %}{% endblock %}", "blocks shot, user"),
    ],
)
def test_a_broken_template_names_the_field_and_the_fault(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_prompts("gpt", replace(tmp_path / "mine.jinja", text))
    assert str(caught.value).startswith("teachers.gpt.prompts.response_reflection: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            f"{GOOD}{{% for i in range(99999) %}}{{% for j in range(99999) %}}{{% endfor %}}{{% endfor %}}",
            "takes more than",
        ),
        (
            f"{GOOD}{{% for i in range(99999) %}}{{% for j in range(99999) %}}x{{% endfor %}}{{% endfor %}}",
            "makes more than",
        ),
        (f"{{% macro f() %}}{{{{ f() }}}}{{% endmacro %}}{GOOD}{{{{ f() }}}}", "calls itself without end"),
        (f"{GOOD}{{{{ 'x' * 10 ** 11 }}}}", "takes more than"),
        (f"{GOOD}{{{{ 9 ** (9 ** 9) }}}}", "takes more than"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}" + GOOD,
            "takes more than",
        ),
        (f"{{% if input %}}{{{{ '%099999999999d' % 1 }}}}{{% endif %}}{GOOD}", "takes more than"),
    ],
)
@pytest.mark.slow
def test_a_template_that_loops_or_swells_is_refused_in_time(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=rf"teachers\.gpt\.prompts\.response_reflection: .* {complaint}"):
        load_prompts("gpt", replace(tmp_path / "own.jinja", text))


def test_a_missing_template_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^teachers\.gpt\.prompts\.response_reflection: cannot read .*none\.jinja"):
        load_prompts("gpt", PromptSettings(response_reflection=tmp_path / "none.jinja"))


def test_a_template_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.jinja").write_bytes(b"\xe9" + GOOD.encode())
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 0\)"):
        load_prompts("gpt", PromptSettings(response_reflection=tmp_path / "latin.jinja"))


@pytest.mark.parametrize("phase", PHASES)
def test_criteria_first_shares_its_head_between_pairs_and_its_words_with_record_first(phase: str) -> None:
    first, second = (load_prompts("gpt")[phase], load_prompts("gpt", PromptSettings("criteria_first"))[phase])
    one, other = (second.messages(f"Name {n} seas.", "", "Baltic.") for n in (1, 2))
    assert one[0] == other[0] and one[0].role == "system"
    words = [sorted(" ".join(m.content for m in p.messages("Q", "", "A")).split()) for p in (first, second)]
    assert set(words[0]) ^ set(words[1]) <= {"You", "are", "shown", "The", "user", "shows", "you"}


def test_a_request_carries_what_it_is_about() -> None:
    one = request("Name a sea.", input="In Europe.", output="Baltic.")
    assert one.content_id == content_id("Name a sea.", "In Europe.", "Baltic.")
    assert one.request_id == request("Name a sea.", input="In Europe.", output="Baltic.").request_id


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "fake:2"},
        {"sampling": Sampling(temperature=0.7)},
        {"sampling": Sampling(seed=0)},
        {"phase": INSTRUCTION_REFLECTION},
        {"output": "North Sea."},
    ],
)
def test_the_id_changes_with_all_that_decides_the_reply(change: dict[str, Any]) -> None:
    assert request(**change).request_id != request().request_id


def test_the_id_ignores_names_and_the_form_of_numbers() -> None:
    assert request(teacher="other", sampling=Sampling(temperature=0, top_p=1)).request_id == request().request_id


def test_the_id_changes_with_the_template_even_where_the_messages_agree(tmp_path: Path) -> None:
    prompts = [
        load_prompts("fake", replace(tmp_path / "mine.jinja", text))[RESPONSE_REFLECTION]
        for text in (GOOD, GOOD + "{# note #}")
    ]
    values: dict[str, Any] = {
        "teacher": "fake",
        "identity": "fake:1",
        "sampling": Sampling(),
        "instruction": "Q",
        "input": "",
    }
    first, second = (build_request(prompt, output="A", **values) for prompt in prompts)
    assert first.messages == second.messages and first.request_id != second.request_id


def test_the_prompt_version_changes_with_each_of_its_parts() -> None:
    versions = {
        prompt_version(phase, text, sampling, identity, parse_attempts)
        for phase in PHASES
        for text in ("a", "b")
        for sampling in (Sampling(), Sampling(max_tokens=512))
        for identity in ("fake:1", "fake:2")
        for parse_attempts in (0, 2)
    }
    assert len(versions) == 32


# ── conversations ──────────────────────────────────────────────────────────────────────────────────────────────────

CONTEXT = Context("Be brief.", (Message("user", "Name a {{ sea }}."), Message("assistant", "Baltic.")))
ALL = [
    (variant, phase)
    for variant in ("record_first", "criteria_first", "plain")
    for requests in PromptSettings(variant).requests.values()
    for phase in requests
]


@pytest.mark.parametrize(("variant", "phase"), ALL)
def test_a_conversation_stands_before_the_words_that_every_pair_has(variant: Any, phase: str) -> None:
    prompt = load_prompts("gpt", PromptSettings(variant))[phase]
    *before, plain = prompt.messages("And one more?", "", "Adriatic.")
    *system, asked = prompt.messages("And one more?", "", "Adriatic.", CONTEXT)
    assert system == before and asked.content.endswith(f"\n\n{plain.content}")
    shown = asked.content.removesuffix(plain.content)
    places = [shown.index(text) for text in ("Be brief.", "Name a {{ sea }}.", "Baltic.")]
    assert places == sorted(places)
    if variant != "plain":
        assert shown.startswith("<conversation>\n<system>\nBe brief.\n</system>\n<user>\nName a {{ sea }}.\n</user>")


def test_what_a_conversation_lacks_is_not_mentioned() -> None:
    prompt = load_prompts("gpt")[INSTRUCTION_REFLECTION]
    only_history = prompt.messages("Q", "", "A", Context("", CONTEXT.history))[-1].content
    only_system = prompt.messages("Q", "", "A", Context("Be brief."))[-1].content
    assert "<system>" not in only_history and "<user>" not in only_system and "<system>" in only_system


@pytest.mark.parametrize("phase", PHASES)
def test_other_turns_before_it_are_another_request(phase: str) -> None:
    prompt = load_prompts("gpt")[phase]
    values: dict[str, Any] = {
        **{"teacher": "gpt", "identity": "m", "sampling": Sampling(), "instruction": "Q", "input": "", "output": "A"}
    }
    contexts = (NO_CONTEXT, CONTEXT, Context("Be brief."), Context("", CONTEXT.history))
    requests = [build_request(prompt, context=context, **values) for context in contexts]
    assert len({one.request_id for one in requests}) == len({one.content_id for one in requests}) == 4
    assert requests[0] == build_request(prompt, **values)


def test_versions_know_of_conversations_only_where_their_words_are_replaced(tmp_path: Path) -> None:
    assert load_prompts("gpt")[INSTRUCTION_REFLECTION].texts == load_prompts("gpt")[INSTRUCTION_REFLECTION].text
    own = tmp_path / "own.jinja"
    own.write_text("{{ system }} {% for turn in history %}{{ turn.role }}: {{ turn.content }} {% endfor %}")
    prompt = load_prompts("gpt", PromptSettings(conversation=own))[RESPONSE_REFLECTION]
    assert prompt.texts == [prompt.text, own.read_text()]
    content = prompt.messages("Q", "", "A", CONTEXT)[-1].content
    assert content.startswith("Be brief. user: Name a {{ sea }}. assistant: Baltic.\n\n<record>")


def test_a_template_may_show_the_conversation_itself(tmp_path: Path) -> None:
    text = GOOD + "{{ system }}{% for turn in history %}({{ turn.content }}){% endfor %}"
    prompt = load_prompts("gpt", replace(tmp_path / "mine.jinja", text))[RESPONSE_REFLECTION]
    assert prompt.messages("Q", "", "A", CONTEXT)[0].content == (
        "Q A [Better Answer] [End]Be brief.(Name a {{ sea }}.)(Baltic.)"
    )
    assert prompt.messages("Q", "", "A")[0].content == "Q A [Better Answer] [End]"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ system }}", r"conversation: .* never shows history"),
        ("{{ history }}", r"conversation: .* never shows system"),
        ("{{ system }}{{ history }}{{ input }}", r"conversation: .* unknown variable 'input'"),
        ("{{ system ", r"conversation: .*:1: "),
    ],
)
def test_a_broken_template_of_conversations_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(text)
    with pytest.raises(UserError, match=r"teachers\.gpt\.prompts\." + problem):
        load_prompts("gpt", PromptSettings(conversation=tmp_path / "own.jinja"))


def test_a_template_that_shows_half_of_the_conversation_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shows half of the conversation\. Add history"):
        load_prompts("gpt", replace(tmp_path / "mine.jinja", GOOD + "{{ system }}"))
