"""The texts of evaluation files, which no training text should hold: one row of a file is an item of several texts.

    files = [EvaluationFile("gsm8k", path="evaluation/gsm8k.jsonl")]
    read_evaluation_texts(files)       # evaluation, file, item_row, item_field, text, is_asked, run_words

Every text of a row is one, however deep it lies (`choices[2]`, `turns[0]`). What the row asks (an instruction, a
question, what a user says; all of it where no such field is recognised or `fields` names what counts) is told from what
is answered and noted beside it, for that may hold phrases that everybody writes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from models_py.cleaning.settings import EvaluationFile
from models_py.errors import UserError
from models_py.sources.fields import plain, recognise
from models_py.sources.read import strict_rows

TEXTS_SCHEMA = pl.Schema(
    {
        "evaluation": pl.String(),
        "file": pl.String(),
        "item_row": pl.Int64(),
        "item_field": pl.String(),
        "text": pl.String(),
        "is_asked": pl.Boolean(),
        "run_words": pl.Int64(),
    }
)
_ASKING = ("instruction", "input", "messages")
_ROLES, _USERS = frozenset({"role", "from"}), frozenset({"user", "human", "prompter"})


class _Leaf(NamedTuple):
    field: str  # `choices[2]`, `messages[0].content`
    text: str
    is_asked: bool


def read_evaluation_texts(files: Sequence[EvaluationFile], shown: Callable[[Path], str] = str) -> pl.DataFrame:
    """The texts of all rows, in order, as TEXTS_SCHEMA has it. shown: how a file is called.

    Raises UserError, naming the profile's key, file, row and field, for what cannot be read: what is not looked for
    would pass for clean.
    """
    rows: list[tuple[object, ...]] = []
    for one in files:
        count = len(rows)
        for path, _, row in strict_rows(one.files):
            said = (leaf for leaf in _leaves(row.record) if leaf.text.strip())
            kept = (leaf for leaf in said if one.fields is None or _is_in(leaf.field, one.fields))
            for leaf in kept:
                is_asked = leaf.is_asked or one.fields is not None
                rows.append((one.name, shown(path), row.number, leaf.field, leaf.text, is_asked, one.words))
        if len(rows) == count:
            where = f"{one.files.where}.fields" if one.fields else one.files.key
            what = f" in {', '.join(one.fields)}" if one.fields else ""
            raise UserError(f"{where}: its rows hold no text{what}, so nothing can be looked for; correct it")
    return pl.DataFrame(rows, schema=TEXTS_SCHEMA, orient="row")


def _is_in(leaf: str, fields: Sequence[str]) -> bool:
    """Whether a text lies in one of the fields, `question` or `doc.question`."""
    return any(leaf == field or leaf.startswith((f"{field}.", f"{field}[")) for field in fields)


def _leaves(record: object) -> Iterator[_Leaf]:
    """Every text of a row."""
    if not isinstance(record, dict):
        yield from _below(record, "row", is_asked=True)
        return
    named = recognise(record).names
    asking = {named[ours] for ours in _ASKING if ours in named}
    for name, value in record.items():
        yield from _below(value, str(name), is_asked=not asking or name in asking)


def _below(value: object, field: str, *, is_asked: bool) -> Iterator[_Leaf]:
    match value:
        case str():
            yield _Leaf(field, value, is_asked)
        case list() | tuple():
            for place, part in enumerate(value):
                yield from _below(part, f"{field}[{place}]", is_asked=is_asked)
        case dict():
            roles = {name: str(role).lower() for name, role in value.items() if plain(str(name)) in _ROLES}
            says_user = all(role in _USERS for role in roles.values())  # true of what is no turn
            for name, part in value.items():
                if name not in roles:
                    yield from _below(part, f"{field}.{name}", is_asked=is_asked and says_user)
