"""`make diff`: how the training set of a recipe differs between two versions, row by row, and why.

    python -m dagster_project.commands.diff FROM TO [--recipe NAME] [--format csv] [--out FILE] [--profile NAME]

FROM and TO are data versions of frozen sets or checkpoints; TO may be left out: the set that is selected now. A row
entered, left, or is in both with another text or another choice. Why is looked up on the snapshots on which the two
sets were frozen or trained on; where these were expired only what was frozen with the rows is known.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.console import Console

from dagster_project.commands.checkpoints import checkpoint_meant
from dagster_project.commands.lake_of import lake_of, parser_of
from dagster_project.commands.terminal import any_encoding, plain, say_error
from dagster_project.lakehouse.frozen import snapshot_of
from dagster_project.lakehouse.lake import Lake
from models_py.errors import UserError, unknown

_SHORTEST = 4  # characters of the beginning of a version
_SETS = f"""
select
    rows.recipe,
    rows.data_version,
    count(*) as row_count,
    min(rows.created_at) as frozen_at,
    {snapshot_of("rows.recipe", "rows.data_version")} as snapshot_id,
    bool_or(current.recipe is not null) as is_current
from training.training_pairs as rows
left join training.current_training_sets as current using (recipe, data_version)
group by rows.recipe, rows.data_version
order by frozen_at, rows.recipe
"""
_ROWS = """
select
    rows.*,
    (select any_value(prompt_version) from reflection.instruction_reflections as of_request
        where of_request.request_id = rows.instruction_request_id) as first_prompt,
    (select any_value(prompt_version) from reflection.response_reflections as of_request
        where of_request.request_id = rows.response_request_id) as second_prompt,
    (select any_value(identity) from reflection.teacher_replies as replies
        where replies.request_id = coalesce(rows.instruction_request_id, rows.response_request_id)) as teacher_identity
from training.training_pairs as rows
where rows.recipe = ? and rows.data_version = ?
"""
# What became of every pair in a recipe, with what it was decided by: of the lake as it was.
_DECISIONS = """
select
    decisions.pair_id,
    decisions.kept,
    decisions.drop_reason,
    decisions.choice_reason,
    decisions.ifd,
    decisions.r_ifd,
    students.scorer_fingerprint,
    teachers.identity as teacher_identity,
    teachers.instruction_prompt_version as first_prompt,
    teachers.response_prompt_version as second_prompt,
    first_choices.ifd_original,
    first_choices.ifd_instruction,
    first_choices.reflection_status as first_status,
    second_choices.r_ifd_base,
    second_choices.r_ifd_reflected,
    second_choices.reflection_status as second_status
from selection.pair_decisions as decisions
inner join profile.recipes as recipes on recipes.recipe = decisions.recipe
inner join profile.teachers as teachers on teachers.teacher = recipes.teacher
inner join profile.students as students on students.student = recipes.student
left join selection.instruction_choices as first_choices
    on first_choices.teacher = recipes.teacher
    and first_choices.student = recipes.student
    and first_choices.pair_id = decisions.pair_id
left join selection.response_choices as second_choices
    on second_choices.teacher = recipes.teacher
    and second_choices.student = recipes.student
    and second_choices.pair_id = decisions.pair_id
where decisions.recipe = ?
"""
_RECIPE = "select * exclude (recipe) from profile.recipes where recipe = ?"
_TEXTS = ("system", "history", "instruction", "input", "output")
_STATISTICS = ("ifd_original", "ifd_instruction", "r_ifd_base", "r_ifd_reflected")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """A set of rows that was frozen. snapshot_id: on which it was, None where the lake has lost that."""

    recipe: str
    data_version: str
    rows: int
    snapshot_id: int | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One row that differs. change: entered | left | text | choice; why: score, status, cut, source, teacher, ..."""

    change: str
    pair_id: str
    source: str | None
    file: str | None
    source_row: int | None
    why: str


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 with one message on standard error."""
    parser = parser_of("diff", __doc__)
    parser.add_argument("--from", dest="before", default="", help="a data version or a checkpoint")
    parser.add_argument("--to", dest="after", default="", help="the same (default: what is selected now)")
    parser.add_argument("--recipe", default="", help="which recipe, where several have that version")
    options = parser.parse_args(arguments)
    any_encoding()
    console = Console(highlight=False, soft_wrap=True)
    try:
        with lake_of(options.profile) as lake:
            before, after = sets_meant(lake, options.before, options.after, options.recipe)
            _print(before, after, changes(lake, before, after), console)
    except UserError as error:
        say_error(error)
        return 1
    return 0


# ---- which sets


def sets_meant(lake: Lake, before: str, after: str, recipe: str) -> tuple[FrozenSet, FrozenSet]:
    """The two sets that are meant. Raises UserError for one that there is not, and for sets of two recipes."""
    known = [
        FrozenSet(name, version, rows, snapshot, is_current)
        for name, version, rows, _, snapshot, is_current in lake.read(_SETS).iter_rows()
        if not recipe or name == recipe
    ]
    if not known:
        raise UserError(f"{lake.warehouse} has no frozen training set{f' of {recipe}' if recipe else ''}: `make run`.")
    if not before:
        raise UserError(f"FROM is missing: a data version or a checkpoint. There are:\n{_listed(known)}")
    first = _meant(lake, before, "FROM", known)
    of_recipe = [one for one in known if one.recipe == first.recipe]
    if after:
        return first, _meant(lake, after, "TO", of_recipe)
    current = [one for one in of_recipe if one.is_current]
    if not current:
        raise UserError(
            f"TO is missing, and the rows that {first.recipe} selects now are not frozen; `make run` does that. "
            f"There are:\n{_listed(of_recipe)}"
        )
    return first, current[0]


def _meant(lake: Lake, wanted: str, name: str, known: list[FrozenSet]) -> FrozenSet:
    found = [one for one in known if len(wanted) >= _SHORTEST and one.data_version.startswith(wanted)]
    if len(found) > 1:
        raise UserError(f"{name}={wanted} is a version of several recipes; RECIPE says which:\n{_listed(found)}")
    if found:
        return found[0]
    try:
        checkpoint = checkpoint_meant(lake, wanted)
    except UserError:
        versions = [one.data_version for one in known]
        raise UserError(f"{name}: {unknown('a frozen training set or a checkpoint', wanted, versions)}.") from None
    of_checkpoint = (checkpoint.recipe, checkpoint.data_version)
    same = [one for one in known if (one.recipe, one.data_version) == of_checkpoint]
    if not same:
        raise UserError(f"{name}={wanted} is a checkpoint of {checkpoint.recipe}; both sets must be of one recipe.")
    return same[0]


def _listed(sets: list[FrozenSet]) -> str:
    return "\n".join(
        f"  {one.data_version}  {one.recipe}, {one.rows:,} rows{', selected now' if one.is_current else ''}"
        for one in sets
    )


# ---- what differs


def changes(lake: Lake, before: FrozenSet, after: FrozenSet) -> list[Change]:
    """Every row that differs, those that left first, each kind in the order of the set it is in."""
    then, now = (_by_pair(lake.read(_ROWS, [one.recipe, one.data_version])) for one in (before, after))
    decided_then, decided_now = _Decisions.of(lake, before), _Decisions.of(lake, after)
    found = []
    for pair_id, row in then.items():
        if pair_id not in now:
            why = _why_absent(pair_id, decided_then, decided_now, absent=decided_now)
            found.append(_change("left", row, why))
    for pair_id, row in now.items():
        if pair_id not in then:
            why = _why_absent(pair_id, decided_then, decided_now, absent=decided_then)
            found.append(_change("entered", row, why))
        elif any(row[name] != then[pair_id][name] for name in (*_TEXTS, "candidate")):
            kind = "choice" if row["candidate"] != then[pair_id]["candidate"] else "text"
            found.append(_change(kind, row, _why_other(then[pair_id], row, decided_then, decided_now)))
    return found


def _by_pair(rows: pl.DataFrame) -> dict[str, Row]:
    return {row["pair_id"]: row for row in rows.sort("rank").iter_rows(named=True)}


def _change(kind: str, row: Row, why: str) -> Change:
    return Change(kind, row["pair_id"], row["source"], row["file"], row["source_row"], why)


@dataclass(frozen=True, slots=True)
class _Decisions:
    """What was decided of every pair when a set of so many rows was frozen; None where that snapshot is gone."""

    kept: int
    rows: Mapping[str, Row] | None
    recipe: Row

    @classmethod
    def of(cls, lake: Lake, frozen: FrozenSet) -> "_Decisions":
        if frozen.snapshot_id is None:
            return cls(frozen.rows, None, {})
        with lake.connect(as_of=frozen.snapshot_id) as connection:
            rows = connection.execute(_DECISIONS, [frozen.recipe]).pl()
            recipe = connection.execute(_RECIPE, [frozen.recipe]).pl()
        decided = {row["pair_id"]: row for row in rows.iter_rows(named=True)}
        return cls(frozen.rows, decided, next(recipe.iter_rows(named=True), {}))


def _why_absent(pair_id: str, then: _Decisions, now: _Decisions, *, absent: _Decisions) -> str:
    """Why a row that is in one of two sets is not in the other, `absent`; what changed is told from then to now."""
    if absent.rows is None:
        return "unknown: the snapshot of the other set was expired"
    other = absent.rows.get(pair_id)
    if other is None:
        return f"source: the pair is {'new' if absent is then else 'no longer'} in the sources"
    before, after = ((decided.rows or {}).get(pair_id) for decided in (then, now))
    causes = [*_causes(before, after)] if before and after else []
    if changed := _changed_cut(then.recipe, now.recipe):
        causes.append(f"cut: {changed}")
    dropped = other["drop_reason"] or "kept"
    # A share of more pairs, or as many rows as another recipe keeps.
    if dropped == "below_cut" and not causes and then.kept != now.kept:
        causes.append(f"cut: {then.kept:,} rows → {now.kept:,}")
    reason = f" ({other['choice_reason']})" if dropped == "policy" and other["choice_reason"] else ""
    figures = _figures(other) if dropped in ("below_cut", "ifd_below", "r_ifd_below") else ""
    return "; ".join([*causes, f"there {dropped}{reason}{figures}"])


def _why_other(then: Row, now: Row, decided_then: _Decisions, decided_now: _Decisions) -> str:
    """Why a row of both sets has another text or another choice."""
    before = (decided_then.rows or {}).get(then["pair_id"], then)
    after = (decided_now.rows or {}).get(now["pair_id"], now)
    causes = [*_causes(before, after)]
    if changed := _changed_cut(decided_then.recipe, decided_now.recipe):
        causes.append(f"cut: {changed}")
    if not causes and bool(then["is_mixed_in"]) != bool(now["is_mixed_in"]):
        causes.append(f"mix: its original is {'drawn' if now['is_mixed_in'] else 'no longer drawn'}")
    if then["candidate"] != now["candidate"]:
        causes.append(f"{then['candidate']} then, {now['candidate']} now")
    return "; ".join(causes) or "unknown: it was frozen before that was kept"


def _causes(before: Row, after: Row) -> Iterator[str]:
    """What differs in what a pair was decided by."""
    if before.get("scorer_fingerprint") != after.get("scorer_fingerprint"):
        yield "student: another one scored"
    asked_then, asked_now = before.get("teacher_identity"), after.get("teacher_identity")
    if asked_then and asked_now and asked_then != asked_now:
        yield f"teacher: {asked_then} → {asked_now}"
    else:  # a version is a hash of who is asked, too
        for phase, key in (("first", "first_prompt"), ("second", "second_prompt")):
            if before.get(key) != after.get(key):
                yield f"prompt or sampling: of the {phase} reflection"
    for phase, key in (("first", "first_status"), ("second", "second_status")):
        if before.get(key) != after.get(key):
            yield f"status: {phase} reflection {before.get(key)} → {after.get(key)}"
    for name in _STATISTICS:
        if before.get(name) != after.get(name):
            yield f"score: {name} {_number(before.get(name))} → {_number(after.get(name))}"


def _changed_cut(before: Row, after: Row) -> str:
    names = [name for name in after if name in before and before[name] != after[name]]
    return ", ".join(f"{name} {before[name]} → {after[name]}" for name in names)


def _figures(row: Row) -> str:
    return f" (IFD {_number(row['ifd'])}, r-IFD {_number(row['r_ifd'])})"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


# ---- for people


def _print(before: FrozenSet, after: FrozenSet, found: list[Change], console: Console) -> None:
    console.print(
        f"[bold]{before.recipe}[/]  {before.data_version} ({before.rows:,} rows)  →  {after.data_version} "
        f"({after.rows:,} rows){', selected now' if after.is_current else ''}"
    )
    counts = {kind: sum(one.change == kind for one in found) for kind in ("entered", "left", "text", "choice")}
    console.print(
        f"  {counts['entered']:,} entered, {counts['left']:,} left, {counts['choice']:,} with another choice, "
        f"{counts['text']:,} with another text; {after.rows - counts['entered'] - counts['choice'] - counts['text']:,} "
        "the same\n"
    )
    for one in found:
        where = f"{one.file}, row {one.source_row}" if one.file else one.source or "source unknown"
        console.print(f"  {one.change:<8}{one.pair_id[:12]}  {plain(where)}", markup=False)
        console.print(f"          {plain(one.why)}", markup=False, style="dim")


if __name__ == "__main__":
    sys.exit(main())
