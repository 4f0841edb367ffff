"""The shapes in which a training set leaves: what a row becomes in each, and what its columns mean.

A row of the lake (rank, pair_id, ..., system, history as JSON, instruction, input, output) becomes

    messages    {"messages": [{"role": "user", "content": "Name a sea."}, {"role": "assistant", "content": "..."}]}
    sharegpt    {"conversations": [{"from": "human", "value": "Name a sea."}, {"from": "gpt", "value": "..."}]}
    alpaca      {"instruction": "Name a sea.", "input": "", "output": "...", "system": "", "history": [["...", "..."]]}
    preference  {"prompt": [...], "chosen": [{"role": "assistant", ...}], "rejected": [{"role": "assistant", ...}]}
    candidates  every text that was compared, with all its scores

and keeps beside them where it comes from and its statistics: trainers pass over columns that they do not know. System
text and earlier turns come first in the conversation. Columns that no row of a set uses (`unused`) are left out of it.

`record` is the row in its shape; `unsayable` the reason why a shape cannot say it; `remarks` what its readers should
know of the row. Nothing here writes files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models_py.conversation import Context
from models_py.student.template import instruction_text

Row = Mapping[str, Any]
Record = dict[str, Any]
Type = Literal["string", "int64", "double", "bool", "messages", "message", "turns", "pairs"]

_FROM = {"system": "system", "user": "human", "assistant": "gpt"}
NOT_TO_AND_FRO = "user and assistant do not speak in turn, the user first"
JOINED_INPUT = "instruction and input are one text, joined by a line end"


@dataclass(frozen=True, slots=True)
class Column:
    """type: of its values: `messages` are lists of {role, content}, `turns` of {from, value}, `pairs` of [text, text].

    optional: left out of a set in which no row fills it.
    """

    type: Type
    meaning: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """columns: in order. record: a row of the lake in this shape.

    unsayable: why a row cannot be in it, None if it can. remarks: what to tell of a row that is.
    """

    name: str
    columns: Mapping[str, Column]
    record: Callable[[Row], Record]
    unsayable: Callable[[Row], str | None] = lambda row: None
    remarks: Callable[[Row], Iterator[str]] = lambda row: iter(())


# ---- conversations


def context_of(row: Row) -> Context:
    """What stands before the pair of a row."""
    return Context.of(row["system"], row["history"])


def prompt_of(row: Row) -> list[dict[str, str]]:
    """All that an answer follows, as messages; instruction and input are one text, as the student reads them."""
    asked = {"role": "user", "content": instruction_text(row["instruction"], row["input"])}
    return [*context_of(row).messages(), asked]


def goes_to_and_fro(messages: Sequence[Mapping[str, str]]) -> bool:
    """Whether user and assistant speak in turn, the user first, behind at most one system text."""
    spoken = [message["role"] for message in messages[bool(messages and messages[0]["role"] == "system") :]]
    return spoken == [("user", "assistant")[place % 2] for place in range(len(spoken))]


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _history_pairs(context: Context) -> list[list[str]]:
    texts = [turn.content for turn in context.history]
    return [texts[place : place + 2] for place in range(0, len(texts), 2)]


def _unsayable_in_pairs(row: Row) -> str | None:
    return None if goes_to_and_fro(prompt_of(row)) else NOT_TO_AND_FRO


def _remarks_on_a_chat(row: Row) -> Iterator[str]:
    if row["input"].strip():
        yield JOINED_INPUT
    if not goes_to_and_fro(prompt_of(row)):
        yield f"{NOT_TO_AND_FRO}: LLaMA-Factory and many chat templates refuse such a conversation"


# ---- columns that several shapes share

_PAIR_ID = Column("string", "id of the pair as it was read")
_SOURCE = Column("string", "source that the pair was read from")
_CANDIDATE = Column("string", "original, or what the teacher rewrote: instruction, response or both")
_IFD = "ppl(answer given instruction) / ppl(answer): how little the instruction helps"
_R_IFD = "ppl(instruction given answer) / ppl(instruction): how well the answer gives it away"
_SYSTEM = Column("string", "system text, empty where the row has none", optional=True)
_ORIGIN = {
    "rank": Column("int64", "order in the set, 1 = first"),
    "pair_id": _PAIR_ID,
    "candidate": _CANDIDATE,
    "content_id": Column("string", "id of the text of this row"),
    "source": _SOURCE,
    "ifd": Column("double", f"{_IFD}; null where it was not computed"),
    "r_ifd": Column("double", f"{_R_IFD}; null where it was not computed"),
}


def _origin(row: Row) -> Record:
    return {name: row[name] for name in _ORIGIN}


# ---- the shapes


def _messages(row: Row) -> Record:
    return {"messages": [*prompt_of(row), _answer(row["output"])], **_origin(row)}


def _sharegpt(row: Row) -> Record:
    turns = [*prompt_of(row), _answer(row["output"])]
    said = [{"from": _FROM[turn["role"]], "value": turn["content"]} for turn in turns]
    return {"conversations": said, **_origin(row)}


def _alpaca(row: Row) -> Record:
    context = context_of(row)
    texts = {name: row[name] for name in ("instruction", "input", "output")}
    return {**texts, "system": context.system, "history": _history_pairs(context), **_origin(row)}


def _preference(row: Row) -> Record:
    chosen, rejected = _answer(row["chosen"]), _answer(row["rejected"])
    return {
        "prompt": prompt_of(row),
        "chosen": [chosen],
        "rejected": [rejected],
        **{name: row[name] for name in _CONTEST},
        "chosen_message": chosen,
        "rejected_message": rejected,
    }


def _candidates(row: Row) -> Record:
    context = context_of(row)
    told = {name: row[name] for name in _CANDIDATES if name != "history"}
    return {**told, "history": context.messages()[bool(context.system) :]}


_CONTEST = {
    "pair_id": _PAIR_ID,
    "base": Column("string", "whose instruction both answer: original, or the teacher's instruction"),
    "chosen_candidate": Column("string", "which text is chosen: original, instruction, response or both"),
    "rejected_candidate": Column("string", "which text is rejected"),
    "r_ifd_chosen": Column("double", f"{_R_IFD}; the lower one is chosen"),
    "r_ifd_rejected": Column("double", "the same of the rejected answer"),
    "margin": Column("double", "r_ifd_rejected - r_ifd_chosen"),
    "ifd_chosen": Column("double", f"{_IFD}; null where it was not computed"),
    "ifd_rejected": Column("double", "the same of the rejected answer"),
    "reason": Column("string", "rewrite_wins: the teacher's better answer is chosen; rewrite_vetoed: it is rejected"),
    "kept": Column("bool", "whether the chosen text is a row of the recipe's training set"),
    "source": _SOURCE,
}
_CANDIDATES = {
    "pair_id": _PAIR_ID,
    "candidate": _CANDIDATE,
    "content_id": Column("string", "id of the text"),
    "source": _SOURCE,
    "system": _SYSTEM,
    "history": Column("messages", "earlier turns", optional=True),
    "instruction": Column("string", "instruction"),
    "input": Column("string", "what the instruction is about, empty where there is none"),
    "output": Column("string", "answer"),
    "answer_tokens": Column("int64", "tokens of the answer, those that were scored"),
    "ppl_answer": Column("double", "perplexity of the answer alone"),
    "ppl_answer_given_instruction": Column("double", "perplexity of the answer given the instruction"),
    "ppl_instruction": Column("double", "perplexity of the instruction alone"),
    "ppl_instruction_given_answer": Column("double", "perplexity of the instruction given the answer"),
    "ifd": Column("double", f"{_IFD}; null where it was not computed"),
    "ifd_loss": Column("double", "the same as a ratio of mean losses"),
    "r_ifd": Column("double", f"{_R_IFD}; null where it was not computed"),
    "status": Column("string", "ok, not_scored, or why a score is null"),
    "reason": Column("string", "which score failed and how, null when ok"),
    "chosen": Column("bool", "whether it is the pair's text in the training set"),
}

MESSAGES = Shape(
    "messages",
    {"messages": Column("messages", "the conversation; its last message is the answer")} | _ORIGIN,
    _messages,
    remarks=_remarks_on_a_chat,
)
SHAREGPT = Shape(
    "sharegpt",
    {"conversations": Column("turns", "the conversation; its last turn is the answer")} | _ORIGIN,
    _sharegpt,
    remarks=_remarks_on_a_chat,
)
ALPACA = Shape(
    "alpaca",
    {
        "instruction": Column("string", "instruction"),
        "input": Column("string", "what the instruction is about, empty where there is none"),
        "output": Column("string", "answer"),
        "system": _SYSTEM,
        "history": Column("pairs", "earlier turns, a list of [user, assistant]", optional=True),
    }
    | _ORIGIN,
    _alpaca,
    unsayable=_unsayable_in_pairs,
)
PREFERENCE = Shape(
    "preference",
    {
        "prompt": Column("messages", "the conversation up to the answer"),
        "chosen": Column("messages", "the preferred answer, one message"),
        "rejected": Column("messages", "the other answer, one message"),
    }
    | _CONTEST
    | {
        "chosen_message": Column("message", "chosen as LLaMA-Factory reads it"),
        "rejected_message": Column("message", "rejected as LLaMA-Factory reads it"),
    },
    _preference,
    remarks=_remarks_on_a_chat,
)
CANDIDATES = Shape("candidates", _CANDIDATES, _candidates)

SHAPES = {shape.name: shape for shape in (MESSAGES, ALPACA, SHAREGPT, PREFERENCE)}
