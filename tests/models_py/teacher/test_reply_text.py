import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_py.teacher.reply_text import Ending, how_it_ended


@pytest.mark.parametrize(
    ("spellings", "ending"),
    [
        ("stop STOP Stop stop_sequence eos eos_token EOS_TOKEN end_turn complete COMPLETE finished null None", "stop"),
        ("length max_tokens MAX_TOKENS model_length max_output_tokens max_length MaxTokens length_limit", "length"),
        ("FINISH_REASON_STOP FinishReason.STOP", "stop"),
        ("FINISH_REASON_MAX_TOKENS FinishReason.MAX_TOKENS model_context_window_exceeded incomplete", "length"),
        ("content_filter SAFETY RECITATION refusal PROHIBITED_CONTENT guardrail ERROR_TOXIC", "content_filter"),
        ("abort error cancelled tool_calls function_call OTHER FINISH_REASON_UNSPECIFIED pause_turn", None),
        ("repetition repetition_detected REPETITION", "repetition"),
    ],
)
def test_every_server_s_words_are_known(spellings: str, ending: Ending | None) -> None:
    assert {word: how_it_ended(word) for word in spellings.split()} == dict.fromkeys(spellings.split(), ending)


def test_a_server_that_does_not_tell_stopped() -> None:
    assert (how_it_ended(None), how_it_ended(""), how_it_ended(" stop\n")) == ("stop", "stop", "stop")


@given(st.text())
def test_any_word_is_taken(word: str) -> None:
    assert how_it_ended(word) in ("stop", "length", "content_filter", "repetition", None)
