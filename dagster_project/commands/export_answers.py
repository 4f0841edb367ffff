"""`make export-answers`: what a model answers, as a file that AlpacaEval or MT-bench reads.

    python -m dagster_project.commands.export_answers MODEL --out FILE [--format alpaca_eval|mt_bench] [--set NAME]

MODEL is a name of evaluation.models: a recipe, `recipe/seed`, or `student (base)`. The formats are those of
models_py/export/answers.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error
from dagster_project.lakehouse.lake import Lake, open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from models_py.errors import UserError, unknown
from models_py.export.answers import FORMATS, GivenAnswer
from models_py.publish import published_file

_ANSWERS = """
select
    instructions.instruction_set,
    instructions.question_id,
    instructions.instruction,
    instructions.input,
    answers.answer,
    models.name,
    epoch(answers.created_at) as seconds
from evaluation.models as models
inner join evaluation.instructions as instructions on instructions.instruction_set = $2
left join evaluation.answers as answers
    on answers.model = models.model
    and answers.generation = instructions.generation
    and answers.instruction_id = instructions.instruction_id
where models.name = $1
order by instructions.source_row
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = Arguments(prog="make export-answers", description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", help="a name of evaluation.models; may be left out where there is one")
    parser.add_argument("--out", default="", help="file to write; one that is there is replaced")
    parser.add_argument("--format", default="alpaca_eval", help=f"{' or '.join(FORMATS)} (default: alpaca_eval)")
    parser.add_argument("--set", help="set of instructions; may be left out where there is one")
    parser.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        if options.format.lower() not in FORMATS:
            raise UserError(f"FORMAT: {unknown('a format', options.format, FORMATS)}.")
        if not options.out:
            raise UserError("OUT is missing: the file to write, OUT=answers.json")
        lake = open_lake(load_profile(options.profile, policies()))
        for line in _export(lake, options):
            console.print(plain(line), markup=False)
    except UserError as error:
        say_error(error)
        return 1
    return 0


def _export(lake: Lake, options: argparse.Namespace) -> list[str]:
    """Write the file; what was written, and what was left out. Raises UserError."""
    models = lake.read("select name from evaluation.models order by kind = 'base', name")["name"].to_list()
    sets = lake.read("select distinct instruction_set from evaluation.instructions order by all")
    model = _chosen("MODEL", options.model, models, "an evaluated model")
    instruction_set = _chosen("SET", options.set, sets["instruction_set"].to_list(), "a set of instructions")
    rows = lake.read(_ANSWERS, [model, instruction_set])
    answered = rows.drop_nulls("answer")
    if answered.is_empty():
        raise UserError(f"{model} has answered nothing of {instruction_set} yet: `make evaluate` asks it.")
    out = Path(options.out).expanduser()
    text = FORMATS[options.format.lower()](GivenAnswer(*row) for row in answered.iter_rows())
    try:
        with published_file(out) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"OUT: {out} cannot be written ({error.strerror}). Name a file in a folder that exists."
        ) from error
    left_out = rows.height - answered.height
    more = [f"{left_out:,} of {rows.height:,} instructions have no answer and are left out."] if left_out else []
    return [f"{out}: {answered.height:,} answers of {model} to {instruction_set}", *more]


def _chosen(variable: str, wanted: str | None, known: Sequence[str], what: str) -> str:
    """The one that is meant. Raises UserError where that is none, or not said."""
    if not known:
        raise UserError(f"There is no {what.removeprefix('an ').removeprefix('a ')} yet: `make evaluate` makes it.")
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        raise UserError(f"{variable} says which: {', '.join(known)}.")
    if wanted not in known:
        raise UserError(f"{variable}: {unknown(what, wanted, known)}.")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
