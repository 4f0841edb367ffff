"""`make profiles`: every profile of profiles/, with what it is for and what it needs; the README has the same table.

    python -m dagster_project.commands.profiles

What it is for is the first line of its file. What it needs is read from its settings.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dagster_project.commands.terminal import any_encoding, plain, say_error
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import DEFAULT_PROFILE, load_profile, profile_files
from dagster_project.profile.schema import Profile
from models_py.errors import UserError
from models_py.paths import is_hub_id
from models_py.sources import hub
from models_py.student.size import weights_in_name
from models_py.student.spec import Student
from models_py.teacher.engines.openai.address import is_loopback, shown_url
from models_py.teacher.spec import ServerSettings, VllmSettings

_TRAINED_ON_A_GPU = 0.5e9  # weights; fewer a CPU trains within a day
_BYTES_A_WEIGHT = 16  # of a full fine-tune: weights, gradients and two moments of Adam, float32
_PIPED_WIDTH = 260  # columns, so that each has one line in a file


@dataclass(frozen=True, slots=True)
class Listed:
    """A profile in a line."""

    name: str
    is_for: str
    needs: str


def main() -> int:
    """Exit status 0; 1 where one of the profiles cannot be read, which is said in its line."""
    any_encoding()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="none")
    for column in ("PROFILE=", "what it is for", "what it needs"):
        table.add_column(column, no_wrap=column == "PROFILE=")
    wrong: list[UserError] = []
    for file in profile_files():
        try:
            one = listed(file)
        except UserError as error:
            wrong.append(error)
        else:
            table.add_row(one.name, plain(one.is_for), plain(one.needs))
    console.print(table)
    for one_wrong in wrong:
        say_error(one_wrong)
    return 1 if wrong else 0


def listed(file: Path) -> Listed:
    """The line of a profile. Raises UserError where it cannot be read, or does not begin with what it is for."""
    profile = load_profile(file, policies())
    first = file.read_text(encoding="utf-8").split("\n", 1)[0]
    if not first.startswith("# "):
        raise UserError(f"{file}: does not begin with a line `# what it is for`; add it")
    return Listed(profile.name, first.removeprefix("# "), ", ".join(needs(profile)) or "nothing")


def readme_table() -> str:
    """The table of the README, from the files as they are now."""
    head = "| profile | what it is for | what it needs |\n|---|---|---|\n"
    return head + "".join(f"| `{one.name}` | {one.is_for} | {one.needs} |\n" for one in map(listed, _in_order()))


def _in_order() -> list[Path]:
    """The default first, then by name."""
    return sorted(profile_files(), key=lambda file: (file.stem != DEFAULT_PROFILE, file.stem))


def needs(profile: Profile) -> Iterator[str]:
    """What a run needs beside this machine's CPU: a network, keys, a server, a GPU."""
    teachers = [spec.settings for spec in profile.teacher_specs()]
    servers = [settings for settings in teachers if isinstance(settings, ServerSettings)]
    away = [settings for settings in servers if not is_loopback(settings.base_url)]
    models = [settings.model for settings in teachers if isinstance(settings, VllmSettings)]
    models += [str(student.model) for student in profile.students.values() if student.scratch is None]
    addresses = [pattern for source in profile.sources for pattern in source.patterns if hub.is_address(pattern)]
    if away or addresses or any(map(is_hub_id, models)):
        yield "network"
    yield from dict.fromkeys(settings.api_key_env for settings in servers if settings.api_key_env is not None)
    yield from dict.fromkeys(shown_url(settings.base_url) for settings in servers if settings not in away)
    largest = max(map(_weights, profile.students.values()), default=0.0)
    if largest >= _TRAINED_ON_A_GPU:
        yield f"a GPU with more than {_BYTES_A_WEIGHT * largest / 1e9:.0f} GB"


def _weights(student: Student) -> float:
    return 0.0 if student.scratch is not None else weights_in_name(str(student.model)) or 0.0


if __name__ == "__main__":
    sys.exit(main())
