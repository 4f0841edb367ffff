"""Conversations of rows: which exchanges are pairs, what stands before them, and where every turn ends."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.content import content_id
from models_py.conversation import NO_CONTEXT, Context, Message
from models_py.errors import UserError
from models_py.sources.conversation import Conversation, Turn, Turns
from models_py.sources.pairs import Found, Pair, to_pairs
from models_py.sources.read import SourceCounts, SourcesRead, read_sources, told
from models_py.sources.spec import Source
from models_py.sources.values import NotAPairError
from tests.support.values import as_a

SAID = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "And?"), ("assistant", "No.")]
EARLIER = (Message("user", "Hi"), Message("assistant", "Hello!"))


def turns(said: Sequence[tuple[str, object]]) -> list[dict[str, object]]:
    return [{"role": role, "content": text} for role, text in said]


def pairs(record: object, wanted: Turns = "last", **fields: str) -> list[Pair]:
    return list(as_a(Found, to_pairs(record, fields or None, turns=wanted)).pairs)


def read(tmp_path: Path, rows: list[object], wanted: Turns = "last") -> tuple[SourcesRead, SourceCounts, list[str]]:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = Source("mine", path=str(tmp_path / "a.jsonl"), turns=wanted)
    result = read_sources([source])
    [counts] = result.counts
    return result, counts, told(result, [source])


# --- which exchanges


def test_the_last_exchange_is_the_pair_and_all_before_it_stands_before_it() -> None:
    assert pairs({"messages": turns(SAID)}) == [Pair("And?", "", "No.", None, Context("Be kind.", EARLIER))]


def test_the_first_exchange_has_the_system_text_and_no_history() -> None:
    assert pairs({"messages": turns(SAID)}, "first") == [Pair("Hi", "", "Hello!", None, Context("Be kind."))]


def test_each_answer_is_a_pair_with_the_original_turns_before_it() -> None:
    found = pairs({"messages": turns(SAID), "category": "small talk"}, "each")
    assert found == [
        Pair("Hi", "", "Hello!", "small talk", Context("Be kind.")),
        Pair("And?", "", "No.", "small talk", Context("Be kind.", EARLIER)),
    ]


LAST = Pair("And?", "", "No.", None, Context("Be kind.", EARLIER))
OWN = {"instruction": "And?", "output": "No."}


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": turns(SAID)},
        {"conversations": [{"from": "human", "value": "Hi"}, *turns(SAID[2:])], "system": "Be kind."},
        {"messages": turns(SAID), "system": "Be kind."},
        {"messages": turns(SAID[1:]), "system_prompt": "Be kind.", "history": []},
        {"prompt": turns(SAID[:4]), "completion": turns(SAID[4:])},
        {"prompt": turns(SAID[1:4]), "completion": "No.", "System": "Be kind."},
        {**OWN, "system": "Be kind.", "history": [["Hi", "Hello!"]]},
        {**OWN, "system": "Be kind.", "history": json.dumps([["Hi", "Hello!"]])},
        {**OWN, "system message": "Be kind.", "chat_history": turns(SAID[1:3])},
        {**OWN, "history": turns(SAID[:3])},
        {**OWN, "system": "Be kind.", "history": [{"user": "Hi", "assistant": "Hello!"}]},
        {**OWN, "system": "Be kind.", "history": [{"prompt": "Hi", "response": "Hello!"}]},
        {**OWN, "system": "Be kind.", "history": [[None, "Welcome."], ["Hi", "Hello!"]]},
        {"question": "And?", "answer": "No.", "system": "Be kind.", "conversation_history": [["Hi", "Hello!"]]},
        turns(SAID),
        {"messages": turns([*SAID[:3], ("user", "And?"), ("assistant", "No."), ("user", "Why?")])},
        {"messages": turns([("assistant", "Welcome."), *SAID])},
        {"messages": turns([("system", " "), *SAID, ("system", "")])},
    ],
)
def test_every_shape_says_the_same(record: object) -> None:
    assert pairs(record) == [LAST]


def test_a_history_leaves_the_input_with_the_rows_own_exchange() -> None:
    record = {**OWN, "input": "Now.", "history": [["Hi", "Hello!"]]}
    assert pairs(record, "each") == [
        Pair("Hi", "", "Hello!", None),
        Pair("And?", "Now.", "No.", None, Context("", EARLIER)),
    ]
    assert pairs(record, "first") == [Pair("Hi", "", "Hello!", None)]
    assert pairs({**record, "history": [[None, "Welcome."]]}, "first") == [Pair("And?", "Now.", "No.", None)]


def test_fields_may_name_system_and_history() -> None:
    record = {"q": "And?", "a": "No.", "persona": "Be kind.", "before": [["Hi", "Hello!"]], "history": "unread"}
    assert pairs(record, instruction="q", output="a", system="persona", history="before") == [LAST]
    chat = {"talk": turns(SAID[1:]), "persona": "Be kind.", "system": "unread"}
    assert pairs(chat, messages="talk", system="persona") == [LAST]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**OWN, "history": [["Hi"]]}, "field history[0]: expected a question and its answer, found a list of 1"),
        ({**OWN, "history": [["Hi", 3]]}, "field history[0][1]: expected text, found the number 3"),
        ({**OWN, "history": [{"a": "Hi", "b": "Ho"}]}, "field history[0]: expected a question and its answer"),
        ({**OWN, "history": "[[1"}, "field history: the text is no JSON"),
        ({**OWN, "system": ["Be kind."]}, "field system: expected text, found a list of 1"),
        ({**OWN, "history": [["Hi", "a\x00"]]}, "field history[0][1]: holds a NUL character at position 2"),
        (
            {"messages": turns(SAID), "system": "Be rude."},
            "fields system and a system turn of messages are both filled",
        ),
        ({"messages": turns(SAID), "history": [["Hi", "Hello!"]]}, "fields messages and history are both filled"),
        (
            {"messages": turns([("user", "Hi"), ("system", "Stop."), ("assistant", "Hello!")])},
            "field messages: no assistant turn right behind a user turn; found roles user, system, assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "Hi", "history": [["a", "b"]]}, *turns(SAID[2:])]},
            "field messages[0]: field history holds earlier turns inside a turn",
        ),
    ],
)
def test_what_is_no_history_is_said(record: object, reason: str) -> None:
    assert as_a(str, to_pairs(record)).startswith(reason)


def test_a_system_text_between_turns_stays_where_it_was_said() -> None:
    [pair] = pairs({"messages": turns([*SAID[1:3], ("developer", "Be brief."), *SAID[3:]])})
    assert pair.context == Context("", (*EARLIER, Message("system", "Be brief.")))


# --- ids and storage


def test_a_context_goes_through_the_lake_and_back() -> None:
    context = Context("Sei »freundlich«.", (Message("user", 'Ein "Fluss"?\n'), Message("assistant", "Po \u2028 …")))
    assert Context.of(context.system, context.history_json) == context
    assert Context.of("", "[]") is NO_CONTEXT
    assert (NO_CONTEXT.system, NO_CONTEXT.history_json, NO_CONTEXT.messages()) == ("", "[]", [])
    assert context.messages()[0] == {"role": "system", "content": "Sei »freundlich«."}


def test_ids_of_pairs_without_a_conversation_are_what_they_were() -> None:
    plain = "0d4314b3733e"
    assert content_id("Name a sea.", "In Europe.", "Baltic.")[:12] == plain
    contexts = [Context("s"), Context("", EARLIER), Context("s", EARLIER), Context("s", EARLIER[:1]), NO_CONTEXT]
    assert len({content_id("Name a sea.", "In Europe.", "Baltic.", context) for context in contexts}) == 5


def test_conversations_that_differ_earlier_are_no_duplicates(tmp_path: Path) -> None:
    rows: list[object] = [{"messages": turns(SAID)}, {"messages": turns(SAID[1:])}, {"messages": turns(SAID[3:])}]
    result, counts, _ = read(tmp_path, [*rows, rows[0]])
    assert (counts.pair_count, counts.duplicate_count) == (3, 1)
    assert result.pairs.select("system", "instruction").rows() == [("Be kind.", "And?"), ("", "And?"), ("", "And?")]


# --- where every turn ends


def adds_up(counts: SourceCounts) -> bool:
    rows = counts.row_count + counts.further_pair_count
    parts = ("in_pairs", "before_pairs", "joined", "left_out", "quarantined")
    ended = sum(asdict(counts)[f"turns_{part}"] for part in parts) + counts.system_texts_left_out
    pairs = counts.pair_count + counts.duplicate_count + counts.quarantined_count
    return (rows, counts.turn_count) == (pairs, ended)


@pytest.mark.parametrize("wanted", get_args(Turns))
def test_every_turn_of_a_source_is_accounted_for(tmp_path: Path, wanted: Turns) -> None:
    rows: list[object] = [
        {"messages": turns(SAID)},
        {"messages": turns([("assistant", "Welcome."), *SAID, ("user", "Why?")])},
        {"messages": turns([("user", "Hi"), ("user", "Ho"), ("assistant", "Hello!")])},
        {"messages": turns([("user", "Weather?"), ("tool", "{}"), ("assistant", "Rain.")])},
        {"messages": turns([("user", "")])},
        {**OWN, "history": [["Hi", "Hello!"]]},
        {"instruction": "Name a river.", "output": "Po."},
        {"instruction": "", "output": "Po."},
    ]
    _, counts, sentences = read(tmp_path, rows, wanted)
    assert adds_up(counts)
    assert (counts.turn_count, counts.turns_joined, counts.turns_quarantined) == (5 + 7 + 3 + 3 + 1 + 4, 1, 4)
    expected = {"last": (8, 8, 2), "first": (8, 2, 8), "each": (14, 2, 2)}[wanted]  # two system texts stand before
    assert (counts.turns_in_pairs, counts.turns_before_pairs, counts.turns_left_out) == expected
    assert sentences[1:] == [
        "mine: 1 turn of the role that spoke before are joined to that one",
        "mine: 4 turns of conversations are in rows that are no pairs",
    ]
    cut = "3 of 4 conversations" if wanted == "first" else "1 of 4 conversations"
    left = f"{expected[2]} turns are in no pair; 1 of them are then like another"
    assert sentences[0] == f"mine: {cut} are cut (turns: {wanted}): {left}"


@given(
    st.lists(st.tuples(st.sampled_from(("system", "user", "assistant")), st.sampled_from(("", " ", "a", "b")))),
    st.sampled_from(get_args(Turns)),
)
def test_no_turn_is_counted_twice_or_lost(said: list[tuple[str, str]], wanted: Turns) -> None:
    conversation = Conversation(tuple(Turn(role, text, "m") for role, text in said), "m")  # type: ignore[arg-type]
    try:
        exchanges, counts = conversation.exchanges(wanted)
    except NotAPairError:
        assert not any(a[0] == "user" and b[0] == "assistant" for a, b in pairwise(said))
        return
    assert counts.turns == len(said)
    assert counts.turns == sum(value for name, value in asdict(counts).items() if name != "turns")
    assert min(asdict(counts).values()) >= 0
    assert counts.in_pairs == 2 * len(exchanges)
    last = exchanges[-1]
    assert [m.role for m in last.context.history][:1] in ([], ["user"])
    if wanted == "each":
        stands = {len(e.context.history) for e in exchanges}
        assert len(stands) == len(exchanges)


def test_turns_must_be_one_of_the_known_ways() -> None:
    with pytest.raises(UserError, match=r"sources\.mine\.turns: .*'all'.*last"):
        Source("mine", path="a.jsonl", turns="all")  # type: ignore[arg-type]
