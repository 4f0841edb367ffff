"""Records of every shape, and the reasons of those that are no pair."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.conversation import Context, Message
from models_py.sources.conversation import Turns
from models_py.sources.fields import NAMES
from models_py.sources.pairs import Pair, to_pairs, turns_of
from tests.models_py.sources.one_pair import to_pair
from tests.support.properties import examples
from tests.support.values import as_a

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
all_names = ["", "label", "weight", "images", "text", *(name for names in NAMES.values() for name in names)]
parts = st.fixed_dictionaries({}, optional={"type": st.just("text") | json_values, "text": st.text() | json_values})
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text() | st.lists(parts) | json_values},
    optional={"weight": json_values},
)
chats = st.lists(turns | st.lists(st.text() | json_values, max_size=2) | json_values, max_size=3) | st.lists(turns)
values = st.text() | json_values | chats
fields = st.dictionaries(st.sampled_from(all_names), values | values.map(json.dumps), max_size=6)
chat_fields = st.dictionaries(st.sampled_from(["messages", "prompt", "history"]), chats, max_size=2)
records = st.builds(dict[str, object].__or__, fields, chat_fields)
ways_to_name = st.none() | st.dictionaries(
    st.sampled_from(["input", "category", "system", "history"]), st.sampled_from(all_names)
).map(lambda named: {"instruction": "instruction", "output": "output", **named})


def chat(*turns: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, Pair("a", "b", "c", None)),
        ({"instruction": "a", "output": "c", "id": 7}, Pair("a", "", "c", None)),
        ({"instruction": "a", "input": None, "output": ""}, Pair("a", "", "", None)),
        ({"instruction": " a\r\n", "output": "\tc "}, Pair(" a\r\n", "", "\tc ", None)),
        (
            {"instruction": "a", "context": "b", "response": "c", "category": "qa"},
            Pair("a", "b", "c", "qa"),
        ),
        ({"instruction": "a", "response": "c", "category": ""}, Pair("a", "", "c", None)),
        (
            {"messages": chat(("system", "s"), ("user", "a"), ("assistant", "c"))},
            Pair("a", "", "c", None, Context("s")),
        ),
        (
            {
                "messages": chat(
                    ("assistant", "x"), ("user", "a"), ("assistant", "c"), ("user", "d"), ("assistant", "e")
                )
            },
            Pair("d", "", "e", None, Context("", (Message("user", "a"), Message("assistant", "c")))),
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "c"}], "category": "qa"},
            Pair("a", "", "c", "qa"),
        ),
    ],
)
def test_recognised_shapes(record: object, pair: Pair) -> None:
    assert to_pair(record) == pair


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            ["a"],
            "expected an object with fields, found a list of 1",
        ),
        ("x" * 99, f"expected an object with fields, found text '{'x' * 60}…'"),
        ({"output": "c"}, "no recognised fields: found 'output'; expected instruction"),
        ({"instruction": "a"}, "field output is missing: found 'instruction'"),
        ({"instruction": "", "output": "c"}, "field instruction is empty"),
        ({"instruction": " \n", "output": "c"}, "field instruction is empty"),
        ({"instruction": "a", "output": 42}, "field output: expected text, found the number 42"),
        ({"instruction": "a", "output": True}, "field output: expected text, found true"),
        ({"instruction": "a", "input": ["b"], "output": "c"}, "field input: expected text, found a list of 1"),
        ({"instruction": "a", "output": {"t": 1}}, "field output: expected text, found an object with 't'"),
        ({"instruction": "a", "response": "c", "category": [3]}, "field category: expected text, found a list of 1"),
        ({"instruction": "a", "output": "c\x00"}, "field output: holds a NUL character at position 2"),
        ({"instruction": "\ud800", "output": "c"}, "field instruction: holds a lone surrogate (\\ud800) at position 1"),
        ({"messages": "hi"}, "field messages: expected a list of turns, found text 'hi'"),
        ({"messages": []}, "field messages: no user turn; found roles none"),
        ({"messages": chat(("user", "a"))}, "field messages: no assistant turn right behind a user turn"),
        ({"messages": ["a"]}, "field messages[0]: expected an object with role and content (or from and value)"),
        (
            {"messages": chat(("user", "a"), ("assistant", 3))},
            "field messages[1].content: expected text, found the number 3",
        ),
        ({"messages": chat(("user", ""), ("assistant", "c"))}, "field messages[0].content is empty"),
        (
            {"messages": chat(("user", [{"type": {"x": 1}, "text": "a"}]), ("assistant", "c"))},
            "field messages[0].content[0]: a part of type \"{'x': 1}\"; only text is read",
        ),
    ],
)
def test_reasons(record: object, reason: str) -> None:
    assert as_a(str, to_pair(record)).startswith(reason)


def test_explicit_fields_replace_recognition() -> None:
    record = {"question": "a", "answer": "c", "output": "not this"}
    assert to_pair(record, {"instruction": "question", "output": "answer"}) == Pair("a", "", "c", None)
    assert (
        to_pair({"q": "a"}, {"instruction": "question", "output": "answer"}) == "field question is missing: found 'q'"
    )


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        ({"": "0", "instruction": "a", "output": "c"}, Pair("a", "", "c", None)),
        ({"": "0", "instruction": "a", "context": "b", "response": "c", "category": "x"}, Pair("a", "b", "c", "x")),
        ({"": "0", "messages": chat(("user", "a"), ("assistant", "c"))}, Pair("a", "", "c", None)),
        ({"": [["u", "v"]], "instruction": "a", "output": "c"}, Pair("a", "", "c", None)),
        ({"": "0", "prompt": chat(("user", "a"), ("assistant", "c"))}, Pair("a", "", "c", None)),
    ],
)
def test_a_field_without_a_name_is_none_of_ours(record: object, pair: Pair) -> None:
    assert to_pair(record) == pair


def test_turns_in_a_field_without_a_name_are_not_counted() -> None:
    assert turns_of({"": [1, 2, 3]}) == 0


@examples(300)
@given(records | values, ways_to_name, st.sampled_from(get_args(Turns)))
def test_any_record_gives_storable_pairs_or_a_bounded_reason(
    record: object, fields: dict[str, str] | None, wanted: Turns
) -> None:
    found = to_pairs(record, fields, turns=wanted)
    if isinstance(found, str):
        assert 0 < len(found.encode("utf-8")) < 2000
        assert turns_of(record, fields) >= 0
        return
    for pair in found.pairs:
        assert pair.instruction.strip()
        before = pair.context.system + pair.context.history_json
        "".join([before, pair.instruction, pair.input, pair.output, pair.category or ""]).encode("utf-8")
