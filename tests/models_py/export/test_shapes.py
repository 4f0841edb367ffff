"""One row in every shape: a plain pair, one that ends a conversation, and one that a shape cannot say."""

import json
from typing import Any

import pytest

from models_py.conversation import Context, Message
from models_py.export.shapes import ALPACA, CANDIDATES, JOINED_INPUT, MESSAGES, PREFERENCE, SHAPES, SHAREGPT

ORIGIN = {"rank": 3, "pair_id": "p", "candidate": "both", "content_id": "c", "source": "s", "ifd": 0.5, "r_ifd": None}
PLAIN = {**ORIGIN, "system": "", "history": "[]", "instruction": "Name a sea.", "input": "", "output": "Baltic."}
TURNS = Context("Be brief.", (Message("user", "Hi"), Message("assistant", "Hello")))
CHAT = {**PLAIN, "system": TURNS.system, "history": TURNS.history_json}
GREETED = {**PLAIN, "history": Context("", (Message("assistant", "Hello"),)).history_json}
CONTEST = {
    **PLAIN,
    **{name: name for name in ("base", "chosen_candidate", "rejected_candidate", "reason")},
    **dict.fromkeys(("r_ifd_chosen", "r_ifd_rejected", "margin", "ifd_chosen", "ifd_rejected"), 0.5),
    **{"chosen": "Baltic.", "rejected": "Rhine.", "kept": True},
}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_messages() -> None:
    assert MESSAGES.record(PLAIN) == {"messages": [user("Name a sea."), answer("Baltic.")], **ORIGIN}
    before = [{"role": "system", "content": "Be brief."}, user("Hi"), answer("Hello")]
    assert MESSAGES.record(CHAT)["messages"] == [*before, user("Name a sea."), answer("Baltic.")]
    with_input = MESSAGES.record({**PLAIN, "input": "In Europe."})
    assert with_input["messages"][0] == user("Name a sea.\nIn Europe.")


def test_sharegpt() -> None:
    assert SHAREGPT.record(CHAT) == {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
            {"from": "human", "value": "Name a sea."},
            {"from": "gpt", "value": "Baltic."},
        ],
        **ORIGIN,
    }


def test_alpaca() -> None:
    texts = {"instruction": "Name a sea.", "input": "", "output": "Baltic."}
    assert ALPACA.record(PLAIN) == {**texts, "system": "", "history": [], **ORIGIN}
    assert ALPACA.record(CHAT) == {**texts, "system": "Be brief.", "history": [["Hi", "Hello"]], **ORIGIN}


def test_preference() -> None:
    record = PREFERENCE.record({**CONTEST, "system": "Be brief."})
    assert record["prompt"] == [{"role": "system", "content": "Be brief."}, user("Name a sea.")]
    assert (record["chosen"], record["rejected"]) == ([answer("Baltic.")], [answer("Rhine.")])
    assert (record["chosen_message"], record["rejected_message"]) == (answer("Baltic."), answer("Rhine."))


def test_candidates_keep_their_turns_apart() -> None:
    scores = {name: None for name in CANDIDATES.columns if name not in CHAT}
    record = CANDIDATES.record({**CHAT, **scores})
    assert (record["system"], record["history"]) == ("Be brief.", [user("Hi"), answer("Hello")])


@pytest.mark.parametrize("shape", [*SHAPES.values(), CANDIDATES], ids=lambda shape: shape.name)
def test_a_record_has_the_columns_of_its_shape(shape: Any) -> None:
    row = {**dict.fromkeys(shape.columns), **(CONTEST if shape is PREFERENCE else CHAT)}
    assert set(shape.record(row)) == set(shape.columns)


@pytest.mark.parametrize(
    ("history", "is_sayable"),
    [
        ([], True),
        ([user("a"), answer("b")], True),
        ([user("a"), answer("b"), user("c"), answer("d")], True),
        ([answer("a")], False),
        ([user("a")], False),
        ([user("a"), answer("b"), {"role": "system", "content": "c"}], False),
    ],
)
def test_what_does_not_go_to_and_fro_is_no_list_of_pairs(history: list[dict[str, str]], is_sayable: bool) -> None:
    row = {**PLAIN, "history": json.dumps(history)}
    assert (ALPACA.unsayable(row) is None) == is_sayable
    assert MESSAGES.unsayable(row) is None
    assert [remark.split(":")[0] for remark in MESSAGES.remarks(row)] == (
        [] if is_sayable else ["user and assistant do not speak in turn, the user first"]
    )


def test_an_input_that_is_joined_is_remarked() -> None:
    row = {**PLAIN, "input": "In Europe."}
    assert [*MESSAGES.remarks(row)] == [*SHAREGPT.remarks(row)] == [JOINED_INPUT]
    assert [*ALPACA.remarks(row)] == [*MESSAGES.remarks({**PLAIN, "input": " "})] == []
