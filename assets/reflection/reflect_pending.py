"""The step that both reflection assets take: reflect on what is pending, commit as replies come."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import dagster as dg
import polars as pl

from assets.reflection.mirror_replies import mirror_replies
from dagster_project.lakehouse.donors import take_replies
from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.sql_files import load_pending
from dagster_project.profile.schema import Profile
from dagster_project.steps.commits import commit_batches
from dagster_project.steps.interrupts import interrupted_in_order
from dagster_project.steps.plots import remembered, replies_plot
from dagster_project.steps.results import table_result
from dagster_project.steps.step_progress import StepProgress, tell_waiting
from dagster_project.steps.why_unusable import why_unusable
from models_py.errors import UserError
from models_py.teacher.ledger import Ledger, RepliesSummary
from models_py.teacher.open_teacher import OpenTeacher, open_teacher
from models_py.teacher.parser import parse_reply
from models_py.teacher.reflect_pairs import Reflection, ids_by_request, reflect_pairs
from models_py.teacher.request import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, PendingPair
from models_py.teacher.spec import TeacherSpec
from models_py.teacher.unusable import Reason, in_lines, reasons, remedy

_REPLIES_LOOKED_AT = 100

Columns = Callable[[Reflection], Mapping[str, Any]]


class Pairs(Sequence[PendingPair]):
    """The pairs in a frame of pending rows, each made when it is asked for."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, index: Any) -> Any:
        return PendingPair.of(self._frame.row(index, named=True))


def reflect_pending(
    context: dg.AssetExecutionContext, lake: Lake, profile: Profile, *, phase: str, table: str, columns: Columns
) -> dg.MaterializeResult:
    """Append the reflections of every teacher's pending pairs to `table`.

    `columns` gives a row's keys and texts; the rest is common. Raises UserError when a teacher ends with no reply that
    can be used: nothing is scored or trained on that. Then the replies are mirrored here, since no later step runs.
    """
    reused, own_process = 0, profile.executor != "in_process"
    with (
        interrupted_in_order(has_own_process=own_process),
        lake.exclusively(table),
        Ledger(profile.ledger, tell_waiting) as ledger,
    ):
        try:
            pending = lake.recall(load_pending(table).sql)
            for spec in profile.teacher_specs():
                pairs = Pairs(pending.filter(pl.col("teacher") == spec.name))
                if pairs:
                    teacher = open_teacher(spec, profile.ledger)
                    if profile.reuse:
                        ids = ids_by_request(phase, pairs, teacher, ledger)
                        reused += sum(take_replies(profile.reuse, ledger, some) for some in ids)
                    _reflect(context, lake, ledger, teacher, pairs, phase=phase, table=table, columns=columns)
            unusable = _unusable(lake, ledger, table)
            _check_usable(lake, ledger, profile, unusable, phase=phase, table=table)
        except UserError:
            with suppress(UserError):  # a full disk, perhaps for the same reason: the next run mirrors them
                mirror_replies(lake, ledger, context.run_id)
            raise
        summary = ledger.summary(phase, list(profile.teachers))
    told = {"pending_before": pending.height, **({"reused_replies": reused} if profile.reuse else {})}
    outcome = {**_outcome(lake, table, summary), **why_unusable(unusable)}
    return table_result(lake, table, metadata={**told, **outcome})


def _unusable(lake: Lake, ledger: Ledger, table: str) -> dict[str, list[Reason]]:
    """Why current reflections cannot be used, by teacher."""
    rows = lake.recall(
        f"select teacher, status, request_id from {_current(table)} where status <> 'ok' order by teacher, request_id"
    )
    return {
        str(teacher): reasons(group.select("status", "request_id").iter_rows(), ledger)
        for (teacher,), group in rows.group_by(["teacher"], maintain_order=True)
    }


def _check_usable(
    lake: Lake, ledger: Ledger, profile: Profile, unusable: Mapping[str, Sequence[Reason]], *, phase: str, table: str
) -> None:
    """Raise UserError for teachers of which no reply can be used; it says how to go on without them."""
    usable = lake.recall(f"select distinct teacher from {_current(table)} where status = 'ok'")["teacher"].to_list()
    told = {}
    for spec in profile.teacher_specs():
        found = unusable.get(spec.name, [])
        rewrites = phase == INSTRUCTION_REFLECTION and _rewrites(ledger, spec, found)
        if found and spec.name not in usable and not rewrites:
            pairs = sum(one.pairs for one in found)
            said = "\n".join(f"  {line}" for line in in_lines(found))
            told[spec.name] = (
                f"teachers.{spec.name}: {spec.settings.asked_at} gave no {phase} that can be used, of {pairs:,} pairs. "
                f"Nothing is scored or trained on that.\n{said}\n{remedy(spec.name, spec.settings, found)}"
            )
    if told:
        raise UserError("\n".join([*told.values(), *_without(profile, list(told))]))


def _without(profile: Profile, hopeless: Sequence[str]) -> list[str]:
    """How to make the recipes of the other teachers, whose replies are kept; nothing where there is none."""
    recipes = {name: recipe.teacher in hopeless for name, recipe in profile.recipes.items()}
    others = [name for name, is_lost in recipes.items() if not is_lost]
    if not others:
        return []
    taken = [f"teachers.{name}" for name in hopeless] + [f"recipes.{name}" for name, lost in recipes.items() if lost]
    return [
        f"To go on with {', '.join(f'recipes.{name}' for name in others)}, whose replies are kept, take "
        f"{', '.join(taken)} out of the profile and run again."
    ]


def _rewrites(ledger: Ledger, spec: TeacherSpec, found: Sequence[Reason]) -> bool:
    """Whether it answered all, and is of use in the second phase: some models rewrite answers and no instruction."""
    if any(one.status == "failed" for one in found):
        return False
    teacher = open_teacher(spec)
    (name,) = teacher.requests(RESPONSE_REFLECTION)
    replies = (row.reply for row in ledger.sample(teacher.engine.identity, name, _REPLIES_LOOKED_AT))
    return any(parse_reply(name, one.reply, one.finish_reason).status == "ok" for one in replies)


def _current(table: str) -> str:
    """The view of the rows that count."""
    return f"selection.current_{table.split('.')[1]}"


def _reflect(
    context: dg.AssetExecutionContext,
    lake: Lake,
    ledger: Ledger,
    teacher: OpenTeacher,
    pairs: Sequence[PendingPair],
    *,
    phase: str,
    table: str,
    columns: Columns,
) -> None:
    """One teacher's pairs. A request that failed before and fails again is not stored twice.

    Raises UserError when the budget ended it; what came is committed by then.
    """
    work = f"{phase} by {teacher.spec.name}"
    account = teacher.account(ledger.spent(teacher.spec.name, teacher.spec.charged))
    common = {"teacher": teacher.spec.name, "prompt_version": teacher.prompt_version(phase)}
    progress = StepProgress(context, work, context.asset_key)
    outcomes = reflect_pairs(phase, pairs, teacher, ledger, account=account, on_progress=progress)
    answered = 0
    # However this ends, the outcomes are closed before the engine: what is under way is waited for and kept.
    with closing(teacher.engine), closing(outcomes):
        new = (outcome for outcome in outcomes if not outcome.status == outcome.pair.previous_status == "failed")
        for batch in commit_batches(new):
            rows = [{**common, **_row(outcome), **columns(outcome)} for outcome in batch]
            lake.append({table: rows}, Commit(work, asset=table, run_id=context.run_id))
            answered += len(batch)
    if account.reached:
        raise UserError(
            f"teachers.{teacher.spec.name}.{account.told()} "
            f"Of this phase {len(pairs) - answered:,} of {len(pairs):,} pairs remain. "
            "Raise it and run again: what came is kept and is not paid for again."
        )


def _row(outcome: Reflection) -> dict[str, str | None]:
    return {
        "request_id": outcome.request_id,
        "status": outcome.status,
        "critique": outcome.critique,
        "content_id": outcome.content_id,
        "output": outcome.output,
    }


def _outcome(lake: Lake, table: str, summary: RepliesSummary) -> dict[str, Any]:
    """What the asset's page shows: current reflections by status, and what the replies took."""
    counted = lake.recall(
        f"select status, count(*) as reflections from {_current(table)} "
        "group by status order by reflections desc, status"
    )
    statuses = dict(counted.rows())
    by_status = {f"status/{status}": count for status, count in statuses.items()}
    plot = {"replies_plot": remembered(lake, replies_plot, table, statuses, summary.latencies_s)} if statuses else {}
    return {**by_status, **summary.known(), **plot}
