"""A key is taken out of a text however it stands there, and nothing else is."""

import base64
import json

import pytest

from models_py.teacher.engines.openai.redaction import Redaction

KEY = "sk-proj-0123456789/abcdef+ABCDEF0123"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"Bearer {KEY}",
        KEY[:12],
        KEY[-12:],
        KEY[5:20],
        f"{KEY}{KEY}",
        json.dumps(KEY).replace("/", "\\/"),
        json.dumps(json.dumps(KEY).replace("/", "\\/")),
        escaped(KEY),
        json.dumps(escaped(KEY)),
        base64.b64encode(KEY.encode()).decode(),
        base64.b64encode(f"a{KEY}".encode()).decode(),
        base64.b64encode(f"Bearer {KEY} and more".encode()).decode(),
        base64.urlsafe_b64encode(f"xy{KEY}??>>".encode()).decode(),
    ],
)
def test_no_piece_of_the_key_is_left(echo: str) -> None:
    cut = Redaction(KEY).of(f"Your key: {echo}. Goodbye.")
    assert "***" in cut and cut.startswith("Your key: ") and cut.endswith(". Goodbye.")
    shown = json.dumps(cut) + cut
    forms = [KEY, *(base64.b64encode(b"\0" * shift + KEY.encode()).decode() for shift in range(3))]
    assert not [form[at : at + 12] for form in forms for at in range(len(form) - 11) if form[at : at + 12] in shown]


@pytest.mark.parametrize(
    "text",
    [
        "A key begins with sk-proj- and is long.",
        "sk-proj-9876543210/fedcba",
        "0123456789 are digits, abcdef letters",
        "C:\\users\\new \\u0041 \\/ stay as they are",
        "",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert Redaction(KEY).of(text) == text


def test_a_word_that_serves_as_a_key_is_cut_out_of_errors_alone() -> None:
    redaction = Redaction("EMPTY")
    assert redaction.of("The set is EMPTY.") == "The set is EMPTY."
    assert redaction.of_error("Bearer EMPTY is wrong") == "Bearer *** is wrong"
    assert Redaction(None).of_error("Bearer") == "Bearer"


def test_every_text_of_a_body_is_looked_at() -> None:
    body = {"a": [KEY, 1, None, {KEY: f"x{KEY}"}], "b": 2.5}
    assert Redaction(KEY).of_json(body) == {"a": ["***", 1, None, {"***": "x***"}], "b": 2.5}
