"""How a long function says how far it is: it calls `on_progress`, the caller throttles and shows."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` `unit`s, None where nobody knows how many there are.

    `fraction` of the work, 0 to 1, replaces done/total where that is unknown or units differ in work (long rows first).
    urgent: to be shown at once, however little time has passed.
    """

    done: int
    total: int | None
    unit: str
    fraction: float | None = None
    note: str = ""
    urgent: bool = False

    @property
    def share(self) -> float | None:
        """Work done so far, 0 to 1; None where neither total nor fraction is known."""
        if self.fraction is not None or self.total is None:
            return self.fraction
        return self.done / self.total if self.total else 1.0


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The progress report of callers that show none."""
