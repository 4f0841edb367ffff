"""Instruction files: what models are asked in an evaluation, read as sources are, but without an answer.

    read = read_instructions([InstructionFile("bundled", path="seeds/evaluation/instructions.jsonl")])
    read.instructions[0]     # Instruction(instruction_set="bundled", row=1, instruction="Write a ...", ...)

Every format and field name of a source is known here too (models_py/sources), and what evaluation sets have of their
own: `text` for the instruction, `turns` of which the first is asked, a chat that ends with the user. An answer in a row
(`output`, `answer`, `reference`) is its reference. A row that cannot be read stops the evaluation: what is left out
would pass for asked. What is asked twice in a set is asked once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_py.content import content_id
from models_py.conversation import Context
from models_py.errors import UserError
from models_py.evaluation.answer_settings import InstructionFile
from models_py.sources.conversation import read_turns
from models_py.sources.fields import is_absent, plain, recognise
from models_py.sources.pairs import to_pairs
from models_py.sources.read import strict_rows
from models_py.sources.row import Row
from models_py.sources.values import NotAPairError

_ANSWER = "no answer"  # a field that no file has: what stands in it is never read
_ASKED, _TURNS = ("text", "goal"), ("turns", "conversations", "messages")
_REFERENCES = ("reference", "reference answer", "references", "target", "reference answers")
_IDS = ("question_id", "id", "uid", "key")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a set. question_id: as the file calls it, else its row. reference: '' where there is none."""

    instruction_set: str
    file: str
    row: int
    question_id: str
    instruction: str
    input: str
    context: Context
    category: str | None
    reference: str

    @property
    def instruction_id(self) -> str:
        """The same text has the same id in every set."""
        return content_id(self.instruction, self.input, "", self.context)


@dataclass(frozen=True, slots=True)
class InstructionsRead:
    """All sets in order, and what of them is not asked, a sentence each."""

    instructions: tuple[Instruction, ...]
    told: tuple[str, ...]


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    repeated: int = 0
    with_further_turns: int = 0

    def told(self, name: str) -> Iterator[str]:
        if self.repeated:
            yield f"{name}: {self.repeated:,} of {self.rows:,} rows ask what another asks, and are asked once"
        if self.with_further_turns:
            yield f"{name}: of {self.with_further_turns:,} of {self.rows:,} rows only the first turn is asked"


def read_instructions(files: Sequence[InstructionFile], shown: Callable[[Path], str] = str) -> InstructionsRead:
    """Every instruction of every set. shown: how a file is called.

    Raises UserError, naming the profile's key, file, row and field, for what cannot be read.
    """
    found: list[Instruction] = []
    told: list[str] = []
    for one in files:
        counts, seen = _Counts(), set()
        named = None if one.fields is None else one.fields.values()
        for path, form, row in strict_rows(one.files, named):
            if one.limit is not None and counts.rows == one.limit:
                told.append(f"{one.name}: only the first {one.limit:,} rows are asked (limit)")
                break
            counts.rows += 1
            where = f"{one.files.key}: {path}, row {row.number}"
            instruction = _read(one, row, form.no_value, where, shown=shown(path), counts=counts)
            if instruction.instruction_id in seen:
                counts.repeated += 1
            else:
                seen.add(instruction.instruction_id)
                found.append(instruction)
        if not seen:
            raise UserError(f"{one.files.key}: {', '.join(one.files.patterns)} holds no instruction; correct it")
        told += counts.told(one.name)
    return InstructionsRead(tuple(found), tuple(told))


def _read(
    one: InstructionFile, row: Row, no_value: frozenset[str], where: str, *, shown: str, counts: _Counts
) -> Instruction:
    try:
        record, fields, has_further_turns = _with_answer(row.record, one.fields)
    except NotAPairError as error:
        raise UserError(f"{where}: {error}. {_remedy(one)}") from error
    found = to_pairs(record, fields, no_value)
    if isinstance(found, str):
        raise UserError(f"{where}: {found}. {_remedy(one)}")
    (pair,) = found.pairs
    counts.with_further_turns += has_further_turns
    return Instruction(
        instruction_set=one.name,
        file=shown,
        row=row.number,
        question_id=_question_id(row),
        instruction=pair.instruction,
        input=pair.input,
        context=pair.context,
        category=pair.category,
        reference="" if pair.output == _ANSWER else pair.output,
    )


def _remedy(one: InstructionFile) -> str:
    return f"Mend the row, or name the file's fields under {one.files.where}.fields (instruction: <its field>)"


def _question_id(row: Row) -> str:
    values = (row.record.get(name) for name in _IDS) if isinstance(row.record, dict) else ()
    return next((str(value) for value in values if isinstance(value, str | int) and str(value)), str(row.number))


def _with_answer(record: object, fields: Mapping[str, str] | None) -> tuple[object, Mapping[str, str] | None, bool]:
    """A record as a pair's, its reference or `_ANSWER` where the answer stands; whether it asks more than that.

    Raises NotAPairError.
    """
    if isinstance(record, str):  # a list of bare texts
        record = {"instruction": record}
    elif isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, dict):
        return record, fields, False
    record = dict(record)
    if fields is not None:
        return _named(record, dict(fields))
    has_further_turns = _ask_first_turn(record)
    names = recognise(record).names
    reference = _field(record, _REFERENCES)
    if "instruction" in names and "output" not in names:
        record["output"] = _text_of(record.pop(reference)) if reference else _ANSWER
    elif "messages" in names:
        record[names["messages"]] = _answered(record[names["messages"]], names["messages"])
    return record, None, has_further_turns


def _named(record: dict[str, object], fields: dict[str, str]) -> tuple[object, Mapping[str, str], bool]:
    reference = fields.pop("reference", None)
    if (chat := fields.get("messages")) is not None:
        if chat in record:
            record[chat] = _answered(record[chat], chat)
        return record, fields, False
    if reference is not None and reference not in record:
        raise NotAPairError(f"field {reference} is missing")
    asked = record.get(fields["instruction"])
    has_further_turns = isinstance(asked, list)
    if isinstance(asked, list):
        record[fields["instruction"]], has_further_turns = _text_of(asked), len(asked) > 1
    record[_ANSWER] = _ANSWER if reference is None else _text_of(record[reference])
    return record, {**fields, "output": _ANSWER}, has_further_turns


def _ask_first_turn(record: dict[str, object]) -> bool:
    """Make what evaluation sets call the instruction one; whether there is more of it."""
    if "instruction" in recognise(record).names:
        return False
    if (name := _field(record, _TURNS)) and isinstance(turns := record[name], list) and _are_user_turns(turns):
        del record[name]
        record["instruction"] = _text_of(turns)
        return len(turns) > 1
    if (name := _field(record, _ASKED)) and isinstance(record[name], str):
        record["instruction"] = record.pop(name)
    return False


def _are_user_turns(turns: list[object]) -> bool:
    """Whether it lists what one side says: texts, or objects with a text and no role."""
    return bool(turns) and all(
        isinstance(turn, str) or (isinstance(turn, dict) and set(turn) == {"content"}) for turn in turns
    )


def _text_of(value: object) -> object:
    """A text, or the first of several; what is neither is told by whoever reads it."""
    if isinstance(value, list) and value:
        value = value[0]
    return value["content"] if isinstance(value, dict) and set(value) == {"content"} else value


def _answered(turns: object, where: str) -> object:
    """A chat that ends with an answer, whatever its form. Raises NotAPairError for what is no chat."""
    said = () if is_absent(turns) else read_turns(turns, where).turns
    if not said or said[-1].role != "user":
        return turns
    asked = [{"role": turn.role, "content": turn.text} for turn in said]
    return [*asked, {"role": "assistant", "content": _ANSWER}]


def _field(record: Mapping[str, object], names: Sequence[str]) -> str | None:
    """The record's first field that is called like one of these and holds something."""
    wanted = [plain(name) for name in names]
    return next((name for name in record if plain(str(name)) in wanted and record[name] not in (None, "", [])), None)
