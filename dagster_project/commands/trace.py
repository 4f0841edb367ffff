"""`make trace`: what happened to one pair: from its line through both reflections and choices to sets and checkpoints.

    python -m dagster_project.commands.trace --pair ID
    python -m dagster_project.commands.trace --file seeds/pairs.jsonl --row 23
    python -m dagster_project.commands.trace --recipe paper --rank 1

The first way takes the beginning of an id. A line is looked for as the sources have it now and as every frozen set had
it then; one that repeats an earlier line is told as that pair. What is told as `now` are the current replies, scores
and choices; below it stands each frozen set with the row as it was when that was frozen, the checkpoints that were
trained on it and how often these were judged.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from dagster_project.commands.lake_of import lake_and_profile, parser_of
from dagster_project.commands.terminal import any_encoding, plain, say_error
from dagster_project.lakehouse.frozen import snapshot_of
from dagster_project.lakehouse.lake import Lake
from dagster_project.profile.schema import Profile
from models_py.conversation import NO_HISTORY, Context
from models_py.errors import UserError, unknown
from models_py.sources.read import ids_of_row

_SHORTEST = 4  # characters of the beginning of an id
_ID_CHARS = 12
_KNOWN = """
select pair_id, source, file, source_row from raw.raw_pairs
union
select pair_id, source, file, source_row from training.training_pairs
"""
_PAIR = "select * from raw.raw_pairs where pair_id = ?"
_CHOICES = """
select
    first_choices.teacher,
    first_choices.student,
    first_choices.choice as first_choice,
    first_choices.reason as first_reason,
    first_choices.ifd_original,
    first_choices.ifd_instruction,
    second_choices.choice as second_choice,
    second_choices.reason as second_reason,
    second_choices.r_ifd_base,
    second_choices.r_ifd_reflected
from selection.instruction_choices as first_choices
left join selection.response_choices as second_choices using (teacher, student, pair_id)
where pair_id = ?
order by teacher, student
"""
_FIRST = "select * from selection.current_instruction_reflections where pair_id = ? and teacher = ?"
_SECOND = (
    "select * from selection.current_response_reflections where pair_id = ? and teacher = ? order by base = ? desc"
)
_DECISIONS = """
select decisions.*, scores.status, scores.reason
from selection.pair_decisions as decisions
inner join profile.recipes as recipes on recipes.recipe = decisions.recipe
left join selection.candidate_scores as scores
    on scores.teacher = recipes.teacher
    and scores.student = recipes.student
    and scores.pair_id = decisions.pair_id
    and scores.candidate = 'original'
where decisions.pair_id = ?
order by decisions.recipe
"""
_QUARANTINED = "select reason from raw.quarantined_rows where list_contains(?, file) and source_row = ? order by reason"
_FROZEN = f"""
select
    lineage.*,
    (
        select count(*)
        from evaluation.verdicts as verdicts
        where list_has_any(lineage.checkpoints, [verdicts.model_1, verdicts.model_2])
    ) as verdict_count,
    {snapshot_of("lineage.recipe", "lineage.data_version")} as snapshot_id
from lineage.row_lineage as lineage
where lineage.pair_id = ?
order by lineage.frozen_at, lineage.recipe
"""

Row = Mapping[str, Any]
IdsAt = Callable[[Sequence[str]], Sequence[str]]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("trace", __doc__)
    parser.add_argument("--pair", default="", help="id of a raw pair, or its beginning")
    parser.add_argument("--file", default="", help="a source file, with --row")
    parser.add_argument("--row", type=int, help="row in that file, from 1")
    parser.add_argument("--recipe", default="", help="a recipe, with --rank")
    parser.add_argument("--rank", type=int, help="place in the recipe's training set as it is now, from 1")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=False)
    try:
        with lake_and_profile(options.profile) as (lake, profile):
            found, told = pairs_meant(lake, options, lambda files: _ids_at(profile, files, options.row))
            console.print(told, end="", style="dim")
            for pair_id in found:
                print_trace(lake, pair_id, console)
    except UserError as error:
        say_error(error)
        return 1
    return 0


# ---- which pair


def pairs_meant(lake: Lake, options: argparse.Namespace, ids_at: IdsAt = lambda _: []) -> tuple[list[str], str]:
    """The ids of the pairs that are meant, and what is to be said of that.

    ids_at: of what the row asked for makes in those files, for a line that repeats another has no pair of its own.

    Raises UserError where there is none, or nothing was asked for.
    """
    if options.pair:
        return [_by_id(lake, options.pair)], ""
    if options.file and options.row is not None:
        return _by_line(lake, options.file, options.row, ids_at)
    if options.recipe and options.rank is not None:
        return [_by_rank(lake, options.recipe, options.rank)], ""
    raise UserError("Which pair: PAIR=id-or-its-beginning, or FILE=seeds/pairs.jsonl ROW=23, or RECIPE=paper RANK=1.")


def _by_id(lake: Lake, wanted: str) -> str:
    starting = f"select distinct pair_id from ({_KNOWN}) where starts_with(pair_id, ?) order by pair_id limit 5"
    found = lake.read(starting, [wanted])["pair_id"].to_list() if len(wanted) >= _SHORTEST else []
    if len(found) > 1:
        raise UserError(f"PAIR={wanted} begins {', '.join(one[:_ID_CHARS] for one in found)}: give more of it.")
    if not found:
        raise UserError(
            f"PAIR={wanted}: no pair of this lake has an id that begins so (at least {_SHORTEST} characters)."
        )
    return str(found[0])


def _by_line(lake: Lake, file: str, row: int, ids_at: IdsAt) -> tuple[list[str], str]:
    known = lake.read(f"select distinct file from ({_KNOWN}) where file is not null order by file")["file"].to_list()
    files = [one for one in known if one == file or one.endswith(f"/{file.lstrip('./')}")]
    if not files:
        raise UserError(f"FILE: {unknown('a file that pairs came from', file, known)}.")
    at = f"select distinct pair_id from ({_KNOWN}) where list_contains(?, file) and source_row = ? order by pair_id"
    found: list[str] = lake.read(at, [files, row])["pair_id"].to_list()
    if found:
        return found, ""
    where = f"ROW={row}: no pair of this lake came from that row of {', '.join(files)}"
    if set_aside := lake.read(_QUARANTINED, [files, row])["reason"].to_list():
        raise UserError(f"{where}. It is quarantined: {'; '.join(set_aside)}.")
    made = ids_at(files)
    repeated: list[str] = lake.read(
        f"select distinct pair_id from ({_KNOWN}) where list_contains(?, pair_id) order by pair_id", [made]
    )["pair_id"].to_list()
    if not repeated:
        left_out = "`limit` or `sample` of the source leaves it out, or no run has read it since it changed"
        raise UserError(f"{where}. {left_out if made else 'There is no such row there now'}.")
    return repeated, f"Row {row} repeats what came before it:\n"


def _ids_at(profile: Profile, files: Sequence[str], row: int) -> list[str]:
    return ids_of_row(profile.sources, lambda name: name.removeprefix(f"{profile.root}/") in files, row)


def _by_rank(lake: Lake, recipe: str, rank: int) -> str:
    recipes = lake.read("select recipe from profile.recipes order by recipe")["recipe"].to_list()
    if recipe not in recipes:
        raise UserError(f"RECIPE: {unknown('a recipe of the profile', recipe, recipes)}.")
    rows = lake.read("select pair_id, rank from selection.recycled_pairs where recipe = ?", [recipe])
    found = rows.filter(rows["rank"] == rank)["pair_id"].to_list()
    if not found:
        raise UserError(f"RANK={rank}: recipe {recipe} keeps {rows.height:,} rows.")
    return str(found[0])


# ---- what happened to it


def print_trace(lake: Lake, pair_id: str, console: Console) -> None:
    """The story of one pair, for people."""
    frozen = lake.read(_FROZEN, [pair_id]).to_dicts()
    now = next(iter(lake.read(_PAIR, [pair_id]).to_dicts()), None)
    pair, place = (now, "") if now else _pair_as_it_was(lake, pair_id, frozen)
    title = Text.assemble(("Pair ", "bold"), (pair_id[:_ID_CHARS], "bold"))
    where = _line(pair) if pair else "its text is lost: the snapshots that held it were expired"
    console.print(title + Text(f"  {where}{place}", style="dim"))
    if pair:
        _print_texts(pair, console)
    if now:
        for choices in lake.read(_CHOICES, [pair_id]).to_dicts():
            _print_choices(lake, pair_id, choices, console)
        _print_decisions(lake.read(_DECISIONS, [pair_id]).to_dicts(), console)
    _print_sets(frozen, console)
    console.print()


def _pair_as_it_was(lake: Lake, pair_id: str, frozen: Sequence[Row]) -> tuple[Row | None, str]:
    """A pair that the sources no longer have, from the newest snapshot on which a set with it was frozen."""
    snapshots = [row["snapshot_id"] for row in frozen if row["snapshot_id"] is not None]
    for snapshot in sorted({*snapshots}, reverse=True):
        with lake.connect(as_of=snapshot) as connection:
            rows = connection.execute(_PAIR, [pair_id]).pl().to_dicts()
        if rows:
            return rows[0], f", as it was at snapshot {snapshot}; the sources have it no more"
    return None, ""


def _line(row: Row) -> str:
    return (
        f"{row['file']}, row {row['source_row']} (source {row['source']})" if row["file"] else f"source {row['source']}"
    )


def _print_texts(row: Row, console: Console) -> None:
    context = Context.of(row.get("system") or "", row.get("history") or NO_HISTORY)
    if context.system:
        _print_text("system", context.system, console)
    for turn in context.history:
        _print_text(turn.role, turn.content, console)
    _print_text("instruction", row["instruction"], console)
    if row.get("input"):
        _print_text("input", row["input"], console)
    _print_text("answer", row["output"], console)


def _print_text(name: str, text: str | None, console: Console) -> None:
    if text:
        console.print(Padding(Text(f"{name}", style="dim"), (0, 0, 0, 2)))
        console.print(Padding(Text(plain(text, lines=True)), (0, 0, 0, 4)))


def _print_choices(lake: Lake, pair_id: str, choices: Row, console: Console) -> None:
    teacher, student = choices["teacher"], choices["student"]
    console.print(Text(f"\nNow, {teacher} reflecting and {student} choosing", style="bold"))
    for row in lake.read(_FIRST, [pair_id, teacher]).to_dicts():
        _print_reflection("first reflection", row, console)
    console.print(f"  {_first_choice(choices)}", soft_wrap=True)
    base = choices["first_choice"]
    for row in lake.read(_SECOND, [pair_id, teacher, base]).to_dicts():
        if base is None or row["base"] == base:
            _print_reflection(f"second reflection, on the {row['base']}", row, console)
    console.print(f"  {_second_choice(choices)}", soft_wrap=True)


def _print_reflection(name: str, row: Row, console: Console) -> None:
    status = "" if row["status"] == "ok" else f", {row['status']}"
    console.print(Text(f"  {name}{status}  ", style="italic") + Text(f"request {row['request_id'][:_ID_CHARS]}", "dim"))
    _print_text("critique", row["critique"], console)
    _print_text("instruction", row.get("instruction"), console)
    _print_text("answer", row["output"], console)


def _first_choice(row: Row) -> str:
    figures = f"IFD {_number(row['ifd_original'])} → {_number(row['ifd_instruction'])}, the higher one wins"
    return f"first choice: {row['first_choice'] or 'none'} ({row['first_reason']}). {figures}."


def _second_choice(row: Row) -> str:
    figures = f"r-IFD {_number(row['r_ifd_base'])} → {_number(row['r_ifd_reflected'])}, the lower one wins"
    return f"second choice: {row['second_choice'] or 'none'} ({row['second_reason']}). {figures}."


def _print_decisions(decisions: Sequence[Row], console: Console) -> None:
    console.print(Text("\nIn the recipes", style="bold"))
    for row in decisions:
        figures = f"IFD {_number(row['ifd'])}, r-IFD {_number(row['r_ifd'])}"
        mixed = ", put back to its original by `mix`" if row["is_mixed_in"] else ""
        if row["kept"]:
            told = f"rank {row['rank']:,}, {row['candidate']}{mixed}, {figures}"
        else:
            of_score = f" ({row['status']}: {row['reason']})" if row["drop_reason"] == "not_scored" else ""
            why = of_score or (f", {row['choice_reason']}" if row["choice_reason"] else "")
            told = f"dropped: {row['drop_reason']}{why}" + (f", {figures}" if row["ifd"] is not None else "")
        console.print(f"  {row['recipe']:<20}{told}", soft_wrap=True)


def _print_sets(frozen: Sequence[Row], console: Console) -> None:
    console.print(Text("\nIn frozen training sets", style="bold"))
    if not frozen:
        console.print("  none")
    for row in frozen:
        current = ", selected now" if row["is_current"] else ""
        console.print(
            f"  {row['recipe']:<20}{row['data_version']}, rank {row['rank']:,}, {row['candidate']}, frozen "
            f"{row['frozen_at']:%Y-%m-%d %H:%M}{current}",
            soft_wrap=True,
        )
        console.print(f"    from {_line(row) if row['source'] else 'a source that was not kept'}", soft_wrap=True)
        if row["first_reason"]:
            for told in (_first_choice(row), _second_choice(row)):
                console.print(f"    {told}", soft_wrap=True)
            requests = [row[name] for name in ("instruction_request_id", "response_request_id") if row[name]]
            console.print(f"    requests {', '.join(one[:_ID_CHARS] for one in requests) or 'none'}", soft_wrap=True)
        trained = ", ".join(row["checkpoints"]) or "none yet"
        verdicts = f", in {row['verdict_count']:,} verdicts" if row["verdict_count"] else ""
        console.print(f"    checkpoints {trained}{verdicts}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
