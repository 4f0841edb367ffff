"""What people ask of the teachers before and after a run. Nothing here asks a teacher.

    make estimate                        how many requests are missing; their tokens, dollars and time
    make prompt PAIR=3fa9                the messages about one pair, as every teacher would get them
    make export-replies FILE=out.jsonl   what the ledger holds, as JSON Lines
    make import-replies FILE=in.jsonl    the same into this profile's ledger

python -m dagster_project.commands.teacher {estimate,prompt,export,import} [--profile NAME] ...; --help says more.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dagster_project.commands.missing_replies import ledger_copy, missing_replies
from dagster_project.commands.missing_verdicts import missing_verdicts, verdicts_wanted
from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error
from dagster_project.lakehouse.donors import take_replies
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import load_profile
from dagster_project.profile.schema import Profile
from dagster_project.steps.step_progress import duration
from models_py.errors import UserError
from models_py.evaluation.judge import open_judge, request_ids
from models_py.sources.read import check_bad_fraction, read_sources
from models_py.teacher.attempts import stored_attempts
from models_py.teacher.engines.base import profile_key
from models_py.teacher.estimate import Amounts, PhaseEstimate, TeacherEstimate, scenarios
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import dollars
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.parser import parse_reply
from models_py.teacher.reflect_pairs import shown_alone, with_new_instructions
from models_py.teacher.replies_file import export_replies, import_replies
from models_py.teacher.request import (
    NEW_ANSWER,
    PHASES,
    REQUESTS_OF,
    RESPONSE_REFLECTION,
    PendingPair,
    TeacherRequest,
)

_PAIRS_LISTED = 5
_PIPED_WIDTH = 140  # columns, so that a table in a file is whole

_EXPORT = """\
Write replies of the ledger as JSON Lines: by default what one teacher would be answered as the profile stands (its
model, prompts and sampling; every try of a pair). Such a file can be named under `replies` of a recorded teacher, and
imported into another ledger. With --all every reply is written, for import only: it may hold two replies to one pair.
"""
_IMPORT = """\
Take the lines of an export into the profile's ledger, all or none. Replies that are there stay. What they cost counts
as spent by the teacher of their name.
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    options = _parser().parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    try:
        options.command(load_profile(options.profile, policies()), options, console)
    except UserError as error:
        say_error(error)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="make", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def add(
        name: str, command: Callable[[Profile, argparse.Namespace, Console], None], help: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help.splitlines()[0], description=help)
        added.set_defaults(command=command)
        added.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")
        return added

    add("estimate", _estimate, "What a run would still ask, and what that takes. Asks nothing.")
    prompt = add("prompt", _prompt, "The messages about one pair, in both phases.")
    prompt.add_argument("pair", help="pair id, or its first characters where no other pair has them")
    prompt.add_argument("--teacher", help="only this teacher of the profile")
    export = add("export", _export, _EXPORT)
    export.add_argument("file", help="what to write; replaced when it exists")
    export.add_argument("--teacher", help="whose replies, where the profile has several")
    export.add_argument("--all", action="store_true", help="every reply of the ledger")
    add("import", _import, _IMPORT).add_argument("file", help="what `make export-replies` wrote")
    return parser


# --- make estimate


def _estimate(profile: Profile, options: argparse.Namespace, console: Console) -> None:
    read = read_sources(profile.sources, max_bad_fraction=profile.max_bad_fraction)
    check_bad_fraction(read, profile.max_bad_fraction)
    pairs = [PendingPair.of(row) for row in read.pairs.iter_rows(named=True)]
    console.print(
        f"[bold]reflection-lake[/]  profile {profile.name}: {len(pairs):,} pairs   "
        f"[dim]ledger {escape(profile.ledger.shown)}{'' if profile.ledger.exists() else ' (not there yet)'}[/]"
    )
    for donor in profile.reuse:
        console.print(f"[dim]replies of {escape(str(donor))} count as answered: a run takes them over[/]")
    for teacher in _teachers(profile):
        with (
            ledger_copy(profile) if profile.reuse else _ledger(profile) as ledger,
            Console(stderr=True).status(f"{teacher.spec.name}: looking through the ledger"),
        ):
            result = missing_replies(profile, teacher, pairs, ledger)
        _print_estimate(teacher, result, console)
        choosing = len(profile.scorers_for(teacher.spec.name))
        if profile.response_reflection == "selected" and choosing > 1 and result.missing:
            console.print(f"  {choosing} students choose; where they differ, up to twice as many response reflections.")
    _estimate_judges(profile, console)


def _estimate_judges(profile: Profile, console: Console) -> None:
    """What `make evaluate` would ask the judges."""
    specs = profile.judge_specs()
    if not specs:
        return
    wanted = verdicts_wanted(profile)
    with ledger_copy(profile) if profile.reuse else _ledger(profile) as ledger:
        for spec in specs:
            judge = open_judge(spec)
            if profile.reuse:
                take_replies(profile.reuse, ledger, request_ids(wanted.known, judge))
            _print_estimate(judge.asked, missing_verdicts(judge, wanted, ledger), console)
    if wanted.to_come:
        console.print("  Of answers that are not there yet as many are counted as the profile has checkpoints for.")


def _print_estimate(teacher: OpenTeacher, result: TeacherEstimate, console: Console) -> None:
    settings = teacher.spec.settings
    at_once = f", {settings.calls_at_once} at once" if settings.calls_at_once else ""
    console.print(f"\n[bold]{teacher.spec.name}[/]  {settings.engine}, {escape(teacher.engine.identity)}{at_once}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 4, 0, 0), header_style="none")
    parts: tuple[PhaseEstimate | TeacherEstimate, ...] = (*result.phases, *([result] if len(result.phases) > 1 else []))
    for column in ("", *(part.phase if isinstance(part, PhaseEstimate) else "both" for part in parts)):
        table.add_column(column, no_wrap=not column)
    table.add_row("  answered", *(f"{p.wanted - p.missing:,} of {p.wanted:,}" for p in result.phases))
    table.add_row("  missing", *(f"{part.missing:,}" for part in parts))
    if result.missing and not settings.is_free:
        for name, value, shown in _AMOUNTS:
            table.add_row(f"  {name}", *(_with_range(part, value, shown) for part in parts))
    console.print(table)
    notes = list(_notes(teacher, result))
    if notes:
        console.print()
    for note in notes:
        console.print(f"  {escape(note)}")


def _with_range(
    phase: PhaseEstimate | TeacherEstimate, value: Callable[[Amounts], float | None], shown: Callable[[float], str]
) -> str:
    """The expected amount, and in brackets the range."""
    if not phase.missing:
        return "-"
    low, expected, high = (value(amounts) for amounts in (phase.low, phase.expected, phase.high))
    if low is None or expected is None or high is None:
        return "unknown"
    ends = (shown(low), shown(high))
    return shown(expected) if set(ends) == {shown(expected)} else f"{shown(expected)} ({ends[0]} to {ends[1]})"


def _notes(teacher: OpenTeacher, result: TeacherEstimate) -> Iterator[str]:
    settings, name = teacher.spec.settings, teacher.spec.name
    if unanswerable := sum(phase.unanswerable for phase in result.phases):
        yield f"{unanswerable:,} of these have no recorded reply: they will fail."
    if settings.is_free:
        yield settings.when_answered
        return
    if not result.missing:
        return
    if len(result.phases) > 1 and all(phase.missing for phase in result.phases):
        yield "Which bases the response phase is asked about is known only later; the pairs as they are stand for them."
    if result.expected.usd is None:
        yield f"Cost unknown: add prices.{settings.model_name} to the profile, in US dollars a million tokens."
    if result.expected.seconds is None:
        yield settings.when_answered
    if result.spent.requests:
        yield f"Paid so far: {result.spent.told().replace(' so far', '')}."
    if result.stops_at:
        limit, share = result.stops_at
        yield f"{profile_key(name)}.{limit} " + (
            f"would stop it after about {share:.0%} of that." if share else "is reached: nothing would be asked."
        )
    yield from filter(None, (_basis(phase) for phase in result.phases if phase.missing))


def _basis(phase: PhaseEstimate) -> str:
    """What the phase's numbers rest on."""
    facts = [fact for fact in phase.facts if not fact.of_time or phase.expected.seconds is not None]
    sources = {f"seen in {phase.seen_replies:,} replies": True, "assumed": False}
    told = {source: ", ".join(fact.text for fact in facts if fact.seen == seen) for source, seen in sources.items()}
    return f"{phase.phase}: " + "; ".join(f"{source} {facts}" for source, facts in told.items() if facts) + "."


def _count(number: float) -> str:
    """`640`, `12,300`, `1.4 M`."""
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,.0f}"


_AMOUNTS: tuple[tuple[str, Callable[[Amounts], float | None], Callable[[float], str]], ...] = (
    ("requests", lambda amounts: amounts.requests, _count),
    ("tokens in", lambda amounts: amounts.tokens_in, _count),
    ("tokens out", lambda amounts: amounts.tokens_out, _count),
    ("cost", lambda amounts: amounts.usd, dollars),
    ("time", lambda amounts: amounts.seconds, duration),
)


# --- make prompt


def _prompt(profile: Profile, options: argparse.Namespace, console: Console) -> None:
    pair = _pair(read_sources(profile.sources).pairs, options.pair)
    console.print(f"[bold]pair {pair['pair_id']}[/]   [dim]{escape(str(pair['file']))}, row {pair['source_row']}[/]")
    with _ledger(profile) as ledger:
        for teacher in _teachers(profile, options.teacher):
            for phase in PHASES:
                for name in teacher.requests(phase):
                    _print_request(teacher, _request(teacher, name, PendingPair.of(pair), ledger), ledger, console)


def _request(teacher: OpenTeacher, name: str, pair: PendingPair, ledger: Ledger) -> TeacherRequest:
    """The request of that name: about the pair as it came, or about its new instruction where the ledger has that."""
    if name == NEW_ANSWER:
        known = with_new_instructions([pair], teacher, ledger)
        pair = known[0] if known else shown_alone(pair, pair.instruction)
    return teacher.request(name, pair)


def _print_request(teacher: OpenTeacher, request: TeacherRequest, ledger: Ledger, console: Console) -> None:
    (_, expected, _), _ = scenarios(request.phase, ledger.sample(request.identity, request.phase, 200))
    tokens = sum(len(message.content) for message in request.messages) * expected.tokens_a_char
    console.print()
    console.rule(f"[bold]{teacher.spec.name}  {request.phase}[/]", align="left")
    console.print(
        f"[dim]request {request.request_id}, about {tokens:,.0f} tokens; {_answer(teacher, ledger, request)}[/]"
    )
    if request.phase == NEW_ANSWER:
        console.print("[dim]shown for the new instruction where the ledger has it, else for the pair's own[/]")
    if request.phase in REQUESTS_OF[RESPONSE_REFLECTION]:
        console.print("[dim]shown for the original pair; a run asks about the base that the student chose[/]")
    for message in request.messages:
        console.print(Text(f"\n{message.role}", style="bold cyan"))
        console.print(Text(plain(message.content, lines=True)))


def _answer(teacher: OpenTeacher, ledger: Ledger, request: TeacherRequest) -> str:
    """What the ledger knows of a request, in words."""
    reply = ledger.replies([request.request_id]).get(request.request_id)
    if reply is None:
        return "not in the ledger"
    if reply.error is not None:
        return f"no reply yet, the last error was: {escape(reply.error)}"
    shown = f"the ledger has its reply ({parse_reply(request.phase, reply.reply, reply.finish_reason).status})"
    tries = stored_attempts(request, teacher, ledger)
    return shown if len(tries) == 1 else f"{shown}; of {len(tries)} tries the last counts ({tries[-1].parsed.status})"


def _pair(pairs: pl.DataFrame, prefix: str) -> dict[str, Any]:
    """The pair whose id begins with `prefix`; raises UserError when there is not exactly one."""
    found = pairs.filter(pl.col("pair_id").str.starts_with(prefix.strip().lower()))
    if found.height == 1:
        return found.row(0, named=True)
    listed = "\n".join(
        f"  {row['pair_id'][:16]}  {plain(' '.join(row['instruction'].split()))[:60]}"
        for row in (found if found.height else pairs).head(_PAIRS_LISTED).to_dicts()
    )
    if not prefix.strip():
        problem = "PAIR is missing: give a pair id or its first characters"
    elif found.height:
        problem = f"PAIR={prefix}: {found.height:,} pairs begin so; give more characters"
    else:
        problem = f"PAIR={prefix}: no pair of the sources begins so"
    raise UserError(f"{problem}. For example, of {max(found.height, 0) or pairs.height:,}:\n{listed}")


# --- make export-replies, make import-replies


def _export(profile: Profile, options: argparse.Namespace, console: Console) -> None:
    file = _file(options.file, "export-replies")
    if not profile.ledger.exists():
        raise UserError(f"{profile.ledger.shown}: there is no ledger yet; `make run` creates it.")
    teacher = None if options.all else _one_teacher(profile, options.teacher)
    with Ledger(profile.ledger) as ledger:
        count = export_replies(ledger, file, teacher)
    whose = f"{teacher.spec.name} would be answered now" if teacher else "the ledger holds"
    console.print(f"{escape(str(file))}: {count:,} replies, all that {whose}.")


def _import(profile: Profile, options: argparse.Namespace, console: Console) -> None:
    file = _file(options.file, "import-replies")
    with Ledger(profile.ledger) as ledger:
        lines, new = import_replies(ledger, file)
    console.print(f"{escape(profile.ledger.shown)}: {new:,} new replies; {lines - new:,} were there already.")


def _file(name: str, target: str) -> Path:
    if not name:
        raise UserError(f"FILE is missing: make {target} FILE=replies.jsonl")
    return Path(name).expanduser()


def _one_teacher(profile: Profile, name: str | None) -> OpenTeacher:
    if name is None and len(profile.teachers) > 1:
        raise UserError(f"TEACHER is missing: name one of {', '.join(profile.teachers)}, or give ALL=1 for all replies")
    (teacher,) = _teachers(profile, name)
    return teacher


# --- common


def _teachers(profile: Profile, name: str | None = None) -> list[OpenTeacher]:
    """The profile's teachers, or the one of that name, ready to build requests."""
    if name is not None and name not in profile.teachers:
        raise UserError(f"TEACHER={name}: no such teacher in the profile; there are: {', '.join(profile.teachers)}")
    place = profile.ledger if profile.ledger.exists() else None
    return [open_teacher(spec, place) for spec in profile.teacher_specs() if name in (None, spec.name)]


@contextmanager
def _ledger(profile: Profile) -> Iterator[Ledger]:
    """The profile's ledger; where there is none yet an empty one elsewhere, since looking creates nothing."""
    with TemporaryDirectory() as folder:
        place = profile.ledger if profile.ledger.exists() else LedgerPlace(Path(folder) / "teacher.sqlite")
        with Ledger(place) as ledger:
            yield ledger


if __name__ == "__main__":
    sys.exit(main())
