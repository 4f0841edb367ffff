"""What a run looks like in a terminal: a line an asset as it finishes, live progress, and a closing summary."""

import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster_shared.error import SerializableErrorInfo
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from dagster_project.checks import FIRST_VIOLATIONS
from dagster_project.commands.terminal import plain
from dagster_project.lakehouse.lake import Lake
from dagster_project.lakehouse.sql_files import self_contained_check
from dagster_project.profile.load import DEFAULT_PROFILE, PROFILES_DIR
from dagster_project.profile.schema import Profile
from dagster_project.steps.report_content import REPORT
from dagster_project.steps.results import TOLD_KEY
from dagster_project.steps.step_progress import PROGRESS_KEY, PROGRESS_TAG, duration
from models_py.conversation import NO_HISTORY, Context
from models_py.disk import says_disk_is_full

WATCH_TAG = "reflection_lake/watch"  # the token of a run, by which the watcher finds it
_LOG = logging.getLogger(__name__)
_POLL_S = 0.25
_SHOWN = {
    DagsterEventType.STEP_START,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_OBSERVATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.RUN_FAILURE,
}
_BAR_CHARS = 32
_TOLD = ("UserError", "Failure")  # errors whose message was written for people
_MAKE_ROOM = "\nThe disk is full. Make room and run again: what was finished is kept."
_BLOCKED = "DagsterAssetCheckFailedError"
_MEND_WHAT_BLOCKS = (
    "a blocking check does not hold, so nothing is made of these rows; the lines with ✗ above say what it found. Mend "
    "that, or the check (sql/checks/) where it asks too much"
)
_INTERRUPTS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")


@dataclass
class RunWatcher:
    """Prints the events of one run as they are stored, from a thread of its own; works with every executor."""

    instance: DagsterInstance
    token: str  # value of WATCH_TAG on the run
    console: Console
    of: str = ""  # from profile_argument
    failures: list[str] = field(default_factory=list)
    _started: dict[str, float] = field(default_factory=dict)
    _blocked: dict[str, set[str]] = field(default_factory=dict)  # step -> assets of which a blocking check failed in it
    _stop: threading.Event = field(default_factory=threading.Event)
    _run_id: str | None = None
    _cursor: str | None = None

    def __enter__(self) -> "RunWatcher":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._look()

    def _look(self) -> None:
        """Show what is new; records that cannot be read now (a full disk) are shown later, if ever."""
        try:
            self._drain()
        except DBAPIError:
            _LOG.warning("Dagster's records cannot be read", exc_info=True)

    def _drain(self) -> None:
        if self._run_id is None:
            runs = self.instance.get_runs(dg.RunsFilter(tags={WATCH_TAG: self.token}), limit=1)
            self._run_id = runs[0].run_id if runs else None
        while self._run_id is not None:
            page = self.instance.get_records_for_run(self._run_id, cursor=self._cursor, of_type=_SHOWN, limit=500)
            for record in page.records:
                self._show(record.event_log_entry)
            self._cursor = page.cursor
            if not page.has_more:
                return

    def _show(self, entry: dg.EventLogEntry) -> None:
        event = entry.get_dagster_event()
        step = event.step_key or ""
        match event.event_type:
            case DagsterEventType.STEP_START:
                self._started[step] = entry.timestamp
            case DagsterEventType.ASSET_MATERIALIZATION:
                self._asset_line(event, entry.timestamp - self._started.get(step, entry.timestamp))
            case DagsterEventType.ASSET_OBSERVATION:
                self._progress_line(event.asset_observation_data.asset_observation)
            case DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                if check.blocking and not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                    self._blocked.setdefault(step, set()).add(check.asset_key.to_user_string())
                self._check_line(check)
            case DagsterEventType.STEP_FAILURE:
                of = ", ".join(sorted(self._blocked.get(step, {step.replace("__", "/")})))
                self.failures.append(f"{of}: {_said(event.step_failure_data.error)}")
            case DagsterEventType.RUN_FAILURE:
                # What ended the run outside of any step, such as its cluster; what a step raised has been said.
                said = _said(error) if (error := event.job_failure_data.error) else None
                if said and not any(failure.endswith(f": {said}") for failure in self.failures):
                    self.failures.append(f"the run: {said}")

    def _asset_line(self, event: dg.DagsterEvent, seconds: float) -> None:
        materialization = event.step_materialization_data.materialization
        count = materialization.metadata.get("dagster/row_count")
        rows = "" if count is None else f"{count.value:,} rows"
        name = materialization.asset_key.to_user_string()
        took = f"{seconds:>9.1f} s{'   as before' if self._is_as_before(materialization) else ''}"
        self.console.print(Text.assemble(("  ✓ ", "green"), f"{name:<46}{rows:>14}", (took, "dim")))
        if sentences := materialization.metadata.get(TOLD_KEY):
            for sentence in str(sentences.value).splitlines():
                self.console.print(Text(f"    ! {plain(sentence)}", style="yellow"))

    def _is_as_before(self, materialization: dg.AssetMaterialization) -> bool:
        """Whether it has the data version that it had after the run before."""
        records = self.instance.fetch_materializations(materialization.asset_key, limit=2).records
        before = next((one.asset_materialization for one in records if one.run_id != self._run_id), None)
        return before is not None and _version(before) is not None and _version(before) == _version(materialization)

    def _progress_line(self, observation: dg.AssetObservation) -> None:
        if PROGRESS_TAG in observation.tags:
            self.console.print(Text(f"    {observation.metadata[PROGRESS_KEY].value}", style="dim"))

    def _check_line(self, check: dg.AssetCheckEvaluation) -> None:
        if check.passed:
            return
        style, mark = ("yellow", "!") if check.severity == dg.AssetCheckSeverity.WARN else ("red", "✗")
        text = f"  {mark} check {check.check_name} on {check.asset_key.to_user_string()}"
        violations = check.metadata.get("violations")
        count = violations.value if violations else "?"
        self.console.print(Text(f"{text}: {count} violation{'' if count == 1 else 's'}", style=style))
        first = check.metadata.get(FIRST_VIOLATIONS)
        if isinstance(first, dg.JsonMetadataValue) and isinstance(first.data, list):
            row = ", ".join(f"{column} {value}" for column, value in first.data[0].items())
            self.console.print(Text(f"      such as: {_excerpt(row, self.console.width - 15)}", style="dim"))
        if file := self_contained_check(check.check_name):
            self.console.print(Text(f"      all: make sql{self.of} FILE={_short(str(file))}", style="dim"))


def _version(materialization: dg.AssetMaterialization) -> str | None:
    return (materialization.tags or {}).get(DATA_VERSION_TAG)


def _said(error: SerializableErrorInfo | None) -> str:
    """What a step, or the run itself, raised, without Dagster's wrapping; of our own errors only the message."""
    errors = []
    while error is not None:
        errors.append(error)
        error = error.cause
    if not errors:
        return "failed"
    if errors[0].cls_name in _INTERRUPTS:
        return "interrupted"
    if errors[0].cls_name == _BLOCKED:
        return _MEND_WHAT_BLOCKS
    raised = next((e for e in errors if e.cls_name in _TOLD), errors[1] if len(errors) > 1 else errors[0])
    message = raised.message.strip()
    if raised.cls_name in _TOLD:
        return message.split(": ", 1)[-1]
    is_full = any(says_disk_is_full(one.message) for one in errors)
    return f"{message}{_MAKE_ROOM if is_full else ''}"


def print_summary(lake: Lake, profile: Profile, console: Console, seconds: float) -> None:
    """Rows at each stage, the four outcomes, each recipe with its losses, where things are, what to do next."""
    console.print()
    stages = lake.read("select stage, row_count from selection.stage_counts order by place").rows()
    console.print(Text("Rows  ", style="bold") + Text("  →  ".join(f"{name} {rows:,}" for name, rows in stages)))
    _print_left_out(lake, console)
    _print_outcomes(lake, console)
    _print_examples(lake, console)
    _print_recipes(lake, console)
    print_report(profile, console)
    console.print(
        f"[bold]Lake[/]  {_short(lake.shown_catalog)}, snapshot {lake.snapshot_id()}"
        f"   [bold]time[/] {duration(seconds)}\n"
    )
    which = profile_argument(profile)
    for command, purpose in (
        (f"make ui{which}", "look at every asset, its rows and its lineage"),
        (f'make sql{which} Q="from selection.selection_summary"', "compare the recipes"),
        (f'make sql{which} Q="from selection.pair_decisions limit 20"', "why a pair was kept or dropped"),
    ):
        console.print(f"  {command:<62} [dim]{purpose}[/]")


def print_report(profile: Profile, console: Console) -> None:
    """Where the report is that the run has made, and its size."""
    file = profile.warehouse / REPORT
    if file.exists():
        size = f"[dim]{file.stat().st_size / 1e6:.1f} MB, opens in any browser[/]"
        console.print(f"[bold]Report[/]  {escape(_short(str(file)))}  {size}")


def profile_argument(profile: Profile) -> str:
    """What a `make` line needs to be about that profile: nothing where it is the one that make takes by itself."""
    bundled = profile.file.parent == PROFILES_DIR
    name = profile.name if bundled else _short(str(profile.file))
    return "" if bundled and name == DEFAULT_PROFILE else f" PROFILE={name}"


def _print_left_out(lake: Lake, console: Console) -> None:
    """What of the conversations is in no pair: the one loss that no row tells of."""
    left = lake.read(
        "select source, turns_left_out, system_texts_left_out, cut_conversation_count, merged_conversation_count "
        "from raw.source_counts where cut_conversation_count > 0 order by source"
    )
    for source, turns, systems, cut, merged in left.iter_rows():
        text = f"{turns:,} turns and {systems:,} system texts of {cut:,} conversations of {source}"
        more = f"; {merged:,} of these are then like another" if merged else ""
        console.print(Text("Left out  ", style="bold yellow") + Text(f"{text}{more} (raw.source_counts)"))


def _print_outcomes(lake: Lake, console: Console) -> None:
    outcomes = lake.read("from selection.choice_outcomes order by teacher, student, place")
    for (teacher, student), group in outcomes.group_by(["teacher", "student"], maintain_order=True):
        console.print(f"\n[bold]What {student} chose of {teacher}'s rewrites[/]")
        for row in group.iter_rows(named=True):
            console.print(
                Text.assemble(
                    f"  {row['outcome']:<12}",
                    (f"{'█' * round(_BAR_CHARS * row['share']):<{_BAR_CHARS}}", "cyan"),
                    f"{row['pairs']:>8,}",
                    (f"{row['share']:>7.1%}", "dim"),
                )
            )


def _print_examples(lake: Lake, console: Console) -> None:
    """Of the first pairing a pair that a rewrite bettered and one whose rewrite was refused, and what decided."""
    examples = lake.read("from selection.choice_examples order by teacher, student, kind")
    pairings = examples.select("teacher", "student").unique(maintain_order=True)
    for row in examples.join(pairings.head(1), on=["teacher", "student"], maintain_order="left").iter_rows(named=True):
        is_rescued = row["kind"] == "rescued"
        title = f"{row['kind'].capitalize()} by {row['student']}"
        turns = len(Context.of(row["system"] or "", row["history"] or NO_HISTORY).history)
        after = f", after {turns} earlier turns" if turns else ""
        where = f"  {_short(row['file'])}, row {row['source_row']}{after}"
        console.print(Text.assemble("\n", (title, "bold"), (where, "dim")))
        for name, which in (("was" if is_rescued else "not", "other"), ("is" if is_rescued else "but", "kept")):
            for mark, text in ((name, row[f"{which}_instruction"]), ("   →", row[f"{which}_output"])):
                console.print(Text.assemble((f"  {mark:<6}", "dim"), _excerpt(text, console.width - 10)))
        for name, before, after, won, rule in (
            ("IFD", "ifd_original", "ifd_instruction", row["first_reason"], "higher wins"),
            ("r-IFD", "r_ifd_base", "r_ifd_reflected", row["second_reason"], "lower wins"),
        ):
            if row[before] is not None and row[after] is not None:
                outcome = {"rewrite_wins": "taken", "tie": "no better"}.get(won, "refused")
                figures = f"  {name:<6}{row[before]:.2f} → {row[after]:.2f}  rewrite {outcome}"
                console.print(Text.assemble(figures, (f"  ({rule})", "dim")))
    if pairings.height > 1:
        console.print(f"\n[dim]Of the other {pairings.height - 1} pairings: selection.choice_examples[/]")


def _excerpt(text: str, width: int) -> str:
    one_line = plain(" ".join(text.split()))
    return one_line if len(one_line) <= width else f"{one_line[: width - 1].rstrip()}…"


def _print_recipes(lake: Lake, console: Console) -> None:
    recipes = lake.read("from training.recipe_checkpoints order by recipe, training_seed")
    console.print(f"\n[bold]{'Recipe':<20}{'policy':<20}{'rows':>8}   {'training loss':<16}checkpoint[/]")
    for row in recipes.iter_rows(named=True):
        loss, where = "not trained", ""
        if row["checkpoint_id"]:
            loss = f"{row['loss_before']:.3f} → {row['loss_after']:.3f}"
            where = _short(str(lake.warehouse / row["path"]))
        console.print(f"{row['name']:<20}{row['policy']:<20}{row['kept']:>8,}   {loss:<16}{where}")
    console.print()


def _short(path: str) -> str:
    """Relative to where the reader stands, if it lies below."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
