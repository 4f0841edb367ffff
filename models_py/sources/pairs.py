"""From a row's record to the pairs of the pipeline that it holds, or the reason why it holds none.

Shapes that are recognised, row by row and field by field (models_py/sources/fields.py has all names):

    Alpaca   {"instruction": "...", "input": "...", "output": "..."}, with system and history where it has them
    Dolly    {"instruction": "...", "context": "...", "response": "...", "category": "..."}
    QA       {"question": "...", "answer": "..."}
    chat     {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}

What is decided here:
- text is kept exactly as it stands: nothing is trimmed, no line ending is changed;
- an instruction that is empty or only white space is a bad row; an empty or null output is kept, for
  the teacher can write one;
- a missing, null or NaN `input` is the empty text, and so is what stands for none (`<noinput>`); a number as
  category is text;
- a conversation gives the pairs that `turns` asks for (models_py/sources/conversation.py), each with the system text
  and the earlier turns before it; where its turns ended is counted in `Found.turns`;
- a filled field that would change the pair and is not read makes the row a bad one; all others are passed over;
- a number, list or object where text belongs is a bad row, as are NUL characters and lone surrogates: neither the
  lake's catalog nor Parquet can hold them, and mending them would change the text.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from models_py.conversation import NO_CONTEXT, Context
from models_py.sources.conversation import (
    Conversation,
    Exchange,
    Turn,
    TurnCounts,
    Turns,
    is_turns,
    read_history,
    read_turns,
)
from models_py.sources.fields import both_filled, is_absent, means_no_input, recognise, unread
from models_py.sources.values import NotAPairError, kind_of, names_of, storable


@dataclass(frozen=True, slots=True)
class Pair:
    """An exchange of a row; not yet stored, so without ids.

    `context`: what stands before it. `no_input`: a marker such as `<noinput>` was read as the empty input.
    """

    instruction: str
    input: str
    output: str
    category: str | None
    context: Context = NO_CONTEXT
    no_input: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a row holds: its pairs, at least one, and where the turns of its conversation ended, None without one."""

    pairs: tuple[Pair, ...]
    turns: TurnCounts | None = None


def to_pairs(
    record: object,
    fields: Mapping[str, str] | None = None,
    no_value: Collection[str] = frozenset(),
    turns: Turns = "last",
) -> Found | str:
    """The pairs that a record holds, or the reason why it holds none.

    fields: our field -> the record's; None = recognise. no_value: texts, in lower case, that mean null in its format.
    turns: which exchanges of a conversation are pairs.
    """
    try:
        return _found(record, fields, no_value, turns)
    except NotAPairError as error:
        return str(error)


def turns_of(record: object, fields: Mapping[str, str] | None = None) -> int:
    """How many turns a record shows that is no pair; 0 where it shows no list of them."""
    if isinstance(record, dict):
        record = _value(record, recognise(record).names if fields is None else fields, "messages")
    return len(record) if isinstance(record, list) else 0


def _found(record: object, fields: Mapping[str, str] | None, no_value: Collection[str], turns: Turns) -> Found:
    if is_turns(record):
        return _from_chat(read_turns(record, "row"), turns)
    if not isinstance(record, dict):
        raise NotAPairError(f"expected an object with fields, found {kind_of(record)}")
    return _recognised(record, no_value, turns) if fields is None else _named(record, fields, no_value, turns)


def _named(record: dict[str, object], fields: Mapping[str, str], no_value: Collection[str], turns: Turns) -> Found:
    chat = fields.get("messages")
    if chat is None:
        return _from_fields(record, fields, no_value, turns)
    if chat not in record:
        raise NotAPairError(f"field {chat} is missing: found {names_of(record)}")
    conversation = _with_system(read_turns(record[chat], chat), record, fields)
    return _from_chat(conversation, turns, _category(record, fields, no_value))


def _recognised(record: dict[str, object], no_value: Collection[str], turns: Turns) -> Found:
    if problem := unread(record):
        raise NotAPairError(problem)
    found = recognise(record, no_value)
    if found.unclear:
        raise NotAPairError(found.unclear)
    conversation = _conversation(record, found.names)
    if conversation is not None:
        return _from_chat(conversation, turns, _category(record, found.names, no_value))
    if "instruction" not in found.names:
        raise NotAPairError(
            f"no recognised fields: found {names_of(record)}; expected instruction and output (or such as question "
            f"and answer), messages or conversations, or a `fields` mapping on the source{_hint(record)}"
        )
    asked = record[found.names["instruction"]]
    if isinstance(asked, dict) and (whole := _hint(record)):
        raise NotAPairError(f"field {found.names['instruction']}: expected text, found {kind_of(asked)}{whole}")
    return _from_fields(record, found.names, no_value, turns)


def _conversation(record: dict[str, object], names: Mapping[str, str]) -> Conversation | None:
    """The record's chat: in a field of its own, or begun by a prompt of turns that the output goes on with."""
    chat, instruction = names.get("messages"), names.get("instruction")
    if chat is not None and (not is_absent(record[chat]) or instruction is None):
        conversation = read_turns(record[chat], chat)
        # Many sets repeat a turn as a column; another text beside the chat is another pair.
        for name in (names[ours] for ours in ("instruction", "input", "output", "history") if ours in names):
            if not is_absent(record[name]) and not conversation.says(record[name]):
                raise NotAPairError(both_filled(chat, name))
        return _with_system(conversation, record, names)
    asked = None if instruction is None else record[instruction]
    if instruction is None or not isinstance(asked, list) or not is_turns(asked):
        return None
    answered = _value(record, names, "output")
    answer = answered if isinstance(answered, list) else [{"role": "assistant", "content": answered}]
    if (history := names.get("history")) is not None and not is_absent(record[history]):
        raise NotAPairError(both_filled(instruction, history))
    return _with_system(read_turns([*asked, *answer], instruction), record, names)


def _with_system(conversation: Conversation, record: dict[str, object], names: Mapping[str, str]) -> Conversation:
    """The conversation, opened by the system text that the record has in a field of its own."""
    name = names.get("system")
    if name is None or is_absent(text := record.get(name)):
        return conversation
    opening = Turn("system", storable(text, name), name)
    if said := [turn.text for turn in conversation.turns if turn.role == "system" and turn.text.strip()]:
        if said != [opening.text]:
            raise NotAPairError(both_filled(name, f"a system turn of {conversation.where}"))
        return conversation
    return replace(conversation, turns=(opening, *conversation.turns))


def _from_fields(
    record: dict[str, object], fields: Mapping[str, str], no_value: Collection[str], turns: Turns
) -> Found:
    for ours in ("instruction", "output"):
        if fields.get(ours, ours) not in record:
            raise NotAPairError(f"field {fields.get(ours, ours)} is missing: found {names_of(record)}{_hint(record)}")
    given = _input(record, fields)
    no_input = means_no_input(given, no_value)
    output = record[fields["output"]]
    pair = Pair(
        instruction=_filled(record[fields["instruction"]], fields["instruction"]),
        input="" if no_input else given,
        output="" if _is_null(output) else storable(output, fields["output"]),
        category=_category(record, fields, no_value),
        no_input=no_input,
    )
    return _after_its_history(pair, record, fields, turns)


def _after_its_history(pair: Pair, record: dict[str, object], fields: Mapping[str, str], turns: Turns) -> Found:
    """A pair of a record whose fields say what stands before it: the last exchange of that conversation."""
    names = {ours: fields[ours] for ours in ("system", "history") if not is_absent(_value(record, fields, ours))}
    if not names:
        return Found((pair,))
    earlier = read_history(record[names["history"]], names["history"]) if "history" in names else ()
    asked = Turn("user", pair.instruction, fields["instruction"])
    answered = Turn("assistant", pair.output, fields["output"])
    where = names.get("history", names.get("system", ""))
    conversation = _with_system(Conversation((*earlier, asked, answered), where), record, fields)
    exchanges, counts = conversation.exchanges(turns)
    pairs = [_of_exchange(exchange, pair.category) for exchange in exchanges]
    if exchanges[-1].output.where == answered.where:  # the input belongs to the row's own exchange
        pairs[-1] = replace(pairs[-1], input=pair.input, no_input=pair.no_input)
    return Found(tuple(pairs), counts if earlier else None)


def _from_chat(conversation: Conversation, turns: Turns, category: str | None = None) -> Found:
    exchanges, counts = conversation.exchanges(turns)
    return Found(tuple(_of_exchange(exchange, category) for exchange in exchanges), counts)


def _of_exchange(exchange: Exchange, category: str | None) -> Pair:
    return Pair(
        instruction=_filled(exchange.instruction.text, exchange.instruction.where),
        input="",
        output=storable(exchange.output.text, exchange.output.where),
        category=category,
        context=exchange.context,
    )


def _value(record: Mapping[str, object], fields: Mapping[str, str], ours: str) -> object:
    """What the record has for a field of ours; None where it has none. (A field's name may be empty, too.)"""
    return record.get(fields[ours]) if ours in fields else None


def _is_null(value: object) -> bool:
    return not isinstance(value, str | list | dict) and is_absent(value)


def _input(record: dict[str, object], fields: Mapping[str, str]) -> str:
    value = _value(record, fields, "input")
    return "" if value is None or _is_null(value) else storable(value, fields["input"])


def _category(
    record: dict[str, object], fields: Mapping[str, str], no_value: Collection[str] = frozenset()
) -> str | None:
    value = _value(record, fields, "category")
    if value is None or _is_null(value):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    text = storable(value, fields["category"])
    return None if text.strip().lower() in no_value else text or None


def _filled(value: object, where: str) -> str:
    text = storable(value, where)
    if not text.strip():
        raise NotAPairError(f"field {where} is empty")
    return text


def _hint(record: dict[str, object]) -> str:
    """What the whole file seems to be, where a record is no row."""
    for name, value in record.items():
        if isinstance(value, list) and len(value) > 1 and all(isinstance(row, dict) for row in value):
            return f". The rows may lie in {name!r}: write that list alone to a file"
    values = list(record.values())[:3]
    if values and all(isinstance(value, dict) for value in values):
        return ". The file seems to be one object of rows or columns: write a list of rows (pandas: orient='records')"
    return ""
