"""How a long step shows its progress: tagged observations of its asset, at once and from any process.

The run's log and the asset's page show them; the terminal finds them by their tag.
"""

import time
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterInvariantViolationError

from models_py.lock_file import say
from models_py.progress import Progress

PROGRESS_TAG = "reflection_lake/progress"  # on every observation made here
PROGRESS_KEY = "progress"  # of its metadata: the line that people read
EVERY_S = 5.0
# What takes long is looked at less often, and every observation stays on the asset's page.
LONG_S, LONG_EVERY_S = 60.0, 20.0


@dataclass(slots=True)
class StepProgress:
    """Give an instance as `on_progress`: it throttles. `label` names the work, such as `scoring with toy`."""

    context: dg.AssetExecutionContext
    label: str
    asset: dg.AssetKey
    _begun: float = field(init=False)
    _round_begun: float = field(init=False)
    _reported: float = field(init=False)
    _observed: float = field(init=False)
    _done: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._begun = self._round_begun = self._reported = self._observed = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done < self._done:  # a new round, such as second tries: with a rate of its own
            self._round_begun = self._reported
        self._reported, self._done = now, progress.done
        if progress.urgent or now - self._observed >= (EVERY_S if now - self._begun <= LONG_S else LONG_EVERY_S):
            self._observed = now
            self.context.log_event(observation(self.asset, self.label, progress, now - self._round_begun))


def observation(asset: dg.AssetKey, label: str, progress: Progress, elapsed_s: float) -> dg.AssetObservation:
    """What is told of a step's progress: the line for people, the numbers for plots."""
    metadata: dict[str, int | float | str] = {
        PROGRESS_KEY: line(label, progress, elapsed_s),
        "done": progress.done,
        "elapsed_s": round(elapsed_s, 1),
    }
    if progress.total is not None:
        metadata["total"] = progress.total
    if progress.share:
        metadata["eta_s"] = round(elapsed_s / progress.share - elapsed_s, 1)
    return dg.AssetObservation(asset_key=asset, metadata=metadata, tags={PROGRESS_TAG: ""})


def tell_waiting(said: str) -> None:
    """What this process waits for: as progress of the step under way, else on standard error."""
    try:
        context = dg.OpExecutionContext.get()
    except DagsterInvariantViolationError:
        say(said)
        return
    keys = context.selected_asset_keys if context.has_assets_def else ()
    for asset in sorted(keys)[:1]:
        context.log_event(dg.AssetObservation(asset, metadata={PROGRESS_KEY: said}, tags={PROGRESS_TAG: ""}))
    if not keys:
        context.log.warning(said)


def line(label: str, progress: Progress, elapsed_s: float) -> str:
    """`scoring with toy: 1,024/4,096 rows, 210.0/s, ETA 0:15`; what is unknown is left out."""
    counted = f"{progress.done:,}" if progress.total is None else f"{progress.done:,}/{progress.total:,}"
    parts = [f"{counted} {progress.unit}", f"{progress.done / elapsed_s if elapsed_s else 0.0:,.1f}/s"]
    if progress.share is not None:
        parts.append(f"ETA {duration(elapsed_s / progress.share - elapsed_s) if progress.share > 0 else '?'}")
    if progress.note:
        parts.append(progress.note)
    return f"{label}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
