"""How a long step shows its progress: log lines with rate and ETA, and observations on the asset's page."""

import time
from dataclasses import dataclass, field

import dagster as dg

from models_py.progress import Progress

LOG_EVERY_S = 5.0
OBSERVE_EVERY_S = 20.0


@dataclass(slots=True)
class StepProgress:
    """Give an instance as `on_progress`: it throttles. `label` names the work, such as `scoring with toy`."""

    context: dg.AssetExecutionContext
    label: str
    asset: dg.AssetKey
    _started: float = field(default_factory=time.monotonic)
    _logged: float = field(default_factory=time.monotonic)
    _observed: float = field(default_factory=time.monotonic)
    _reported: float = field(default_factory=time.monotonic)
    _done: int = 0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done < self._done:  # a new round, such as second tries: with a rate of its own
            self._started = self._reported
        self._reported, self._done = now, progress.done
        if now - self._logged >= LOG_EVERY_S:
            self._logged = now
            self.context.log.info(line(self.label, progress, now - self._started))
        if now - self._observed >= OBSERVE_EVERY_S:
            self._observed = now
            elapsed = now - self._started
            metadata: dict[str, int | float | str] = {
                "done": progress.done,
                "total": progress.total,
                "elapsed_s": round(elapsed, 1),
            }
            if progress.share > 0:
                metadata["eta_s"] = round(elapsed / progress.share - elapsed, 1)
            if progress.note:
                metadata["note"] = progress.note
            self.context.log_event(dg.AssetObservation(asset_key=self.asset, metadata=metadata))


def line(label: str, progress: Progress, elapsed_s: float) -> str:
    """`scoring with toy: 1,024/4,096 rows, 210.0/s, ETA 0:15`."""
    rate = progress.done / elapsed_s if elapsed_s else 0.0
    eta = "?" if progress.share <= 0 else duration(elapsed_s / progress.share - elapsed_s)
    note = f", {progress.note}" if progress.note else ""
    return f"{label}: {progress.done:,}/{progress.total:,} {progress.unit}, {rate:,.1f}/s, ETA {eta}{note}"


def duration(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
