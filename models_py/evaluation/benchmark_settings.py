"""What a profile may say of benchmarks. Light to import: every command reads a profile.

Benchmarks(tasks=("everyday_choice", "leaderboard"), include=Path("seeds/evaluation"), apply_chat_template=True)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models_py.content import hashed_fields
from models_py.errors import refuse
from models_py.paths import with_absolute_paths

SECTION = "evaluation.benchmarks"


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """tasks: names of lm-eval's tasks, groups (openllm, leaderboard) and tags, or of those in `include`, a folder.

    limit: only the first items of each task, for a try. num_fewshot: examples before each item; None, and it is as the
    task says. apply_chat_template: ask through the student's template, the examples as turns of the talk unless
    `fewshot_as_multiturn` is false; without it items are plain text, as lm-eval does by default. batch_size: sequences
    at once, which changes no result.
    """

    tasks: tuple[str, ...] = ()
    include: Path | None = None
    limit: int | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True
    batch_size: int = 8

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.tasks:
            yield f"{SECTION}.tasks: is missing; name at least one task or group of lm-eval"
        for name in sorted({name for name in self.tasks if self.tasks.count(name) > 1}):
            yield f"{SECTION}.tasks: {name} is named twice"
        for key, least in (("limit", 1), ("num_fewshot", 0), ("batch_size", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                yield f"{SECTION}.{key}: {value} is below {least}"

    @property
    def hashed(self) -> dict[str, Any]:
        """What decides the results beside the tasks themselves, as far as it is not at its default."""
        beside = ("tasks", "include", "batch_size")
        return {name: value for name, value in hashed_fields(self, ()).items() if name not in beside}

    def at(self, root: Path) -> "Benchmarks":
        """The same, a relative `include` seen from `root`."""
        return with_absolute_paths(self, root, f"{SECTION}.")
