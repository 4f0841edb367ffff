import pytest
from transformers import AutoTokenizer

from models_py.errors import UserError
from models_py.student.chat import StudentChat, TermSequences
from models_py.student.spec import ResolvedStudent
from models_py.training.examples import IGNORED, labelled_rows, require_rows
from models_py.training.settings import TrainingRow
from tests.support.values import as_a


@pytest.fixture(scope="module")
def chat(student: ResolvedStudent) -> StudentChat:
    return StudentChat(AutoTokenizer.from_pretrained(student.model), student.chat_template, 48)


@pytest.mark.parametrize("answer", ["blue and green.", " red", "</s> name", "a warm colour " * 40])
def test_labels_are_the_scored_tokens_and_the_end_of_turn(chat: StudentChat, answer: str) -> None:
    [row], dropped = labelled_rows([TrainingRow("p", "name a colour", "warm", answer)], chat)
    scored = as_a(TermSequences, chat.answer_sequences("name a colour", "warm", answer))
    prompt = len(scored.conditioned) - scored.target_tokens
    assert row.labels[:prompt] == [IGNORED] * prompt
    assert row.labels[prompt:] == [*scored.conditioned[prompt:], chat.end_of_turn_id]
    assert row.input_ids == [*scored.conditioned, chat.end_of_turn_id]
    assert (row.truncated, dropped) == (scored.truncated, [])


def test_rows_that_cannot_be_trained_on_are_dropped_with_a_reason(chat: StudentChat) -> None:
    rows = [
        TrainingRow("long", "name a colour " * 40, "", "red"),
        TrainingRow("good", "name a colour", "", "red"),
        TrainingRow("empty", "name a colour", "", "  "),
    ]
    kept, dropped = labelled_rows(rows, chat)
    assert len(kept) == 1
    assert [(pair_id, reason.split(":")[0]) for pair_id, reason in dropped] == [
        ("long", "prompt_too_long"),
        ("empty", "empty_answer"),
    ]


def test_a_recipe_without_rows_names_the_remedy() -> None:
    with pytest.raises(UserError, match=r"Recipe paper: its selection keeps no row.*top_fraction"):
        require_rows([], [], "paper")
    with pytest.raises(UserError, match=r"Recipe paper: none of the 2 rows.*2 x prompt_too_long.*pair p1.*max_length"):
        require_rows([], [("p1", "prompt_too_long: x"), ("p2", "prompt_too_long: y")], "paper")
