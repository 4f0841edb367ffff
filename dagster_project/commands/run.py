"""`make run`: materialize every asset of a profile and say what came out.

    python -m dagster_project.commands.run [--profile NAME] [--job JOB]

The run is an ordinary Dagster run: the UI shows it, with its logs. Dagster's own chatter goes to a log file.
"""

import logging
import os
import sys
import time
import uuid
from functools import lru_cache
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import DBAPIError

from dagster_project.commands.check import check_before_run
from dagster_project.commands.evaluation_view import print_evaluation
from dagster_project.commands.home import dagster_home
from dagster_project.commands.killed_runs import BEGAN_TAG, began_in, mark_killed_runs, running
from dagster_project.commands.run_view import WATCH_TAG, RunWatcher, print_summary, profile_argument
from dagster_project.commands.terminal import Arguments, any_encoding, plain, say_error, second_stdout
from dagster_project.definitions import build_definitions
from dagster_project.jobs import EVALUATE_JOB, MAIN_JOB, PROFILE_TAG
from dagster_project.lakehouse.donors import check_donors
from dagster_project.lakehouse.lake import open_lake
from dagster_project.lakehouse.sql_files import policies
from dagster_project.profile.load import PROFILE_VARIABLE, load_profile
from dagster_project.root import PROJECT_ROOT
from dagster_project.steps.interrupts import hang_up_terminates
from models_py.disk import disk_is_full
from models_py.errors import UserError


def job_of_profile(name: str) -> dg.JobDefinition:
    """A job of the profile that the environment names, as its files are now."""
    return build_definitions(load_profile(policies=policies())).resolve_job_def(name)


@lru_cache(maxsize=1)
def job_of_run(name: str, token: str) -> dg.JobDefinition:
    """The same for one run, which Dagster asks for several times: as it was when a process of the run began.

    `token` stands for the run. Steps in processes of their own load the job again through this.
    """
    return job_of_profile(name)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every asset was materialized and no blocking check failed."""
    parser = Arguments(prog="make run", description=__doc__)
    parser.add_argument("--profile", help="name in profiles/ or path (default: REFLECTION_PROFILE, else quickstart)")
    parser.add_argument("--job", default=MAIN_JOB, help=f"job to run (default: {MAIN_JOB})")
    options = parser.parse_args(arguments)
    any_encoding()
    # Dagster redirects standard output while a step runs; people still want to see.
    console = Console(file=second_stdout(), highlight=False, soft_wrap=True)
    try:
        return _run(options.profile, options.job, console)
    except UserError as error:
        say_error(error)
        return 1


def _run(profile_name: str | None, job: str, console: Console) -> int:
    if profile_name:
        os.environ[PROFILE_VARIABLE] = profile_name
    hang_up_terminates()
    profile = load_profile(policies=policies())
    started = time.monotonic()
    check_before_run(profile)
    lake = open_lake(profile)
    lake.prepare()  # a lake that cannot be used is said before anything is computed
    lake.check_sound(profile.ledger_path)
    check_donors(profile.reuse)
    home = dagster_home(profile)
    token = uuid.uuid4().hex
    reconstructable = dg.build_reconstructable_job(
        "dagster_project.commands.run", "job_of_run", reconstructable_kwargs={"name": job, "token": token}
    )
    log = _log_to(home / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}.log")
    console.print(f"[bold]reflection-lake[/]  profile {profile.name}   [dim]log {_short(log)}[/]\n")
    tags = {WATCH_TAG: token, PROFILE_TAG: profile.name, BEGAN_TAG: began_in(home)}
    with dg.DagsterInstance.get() as instance, running(home, token):
        for line in mark_killed_runs(instance, home, shared=profile.lake.team is not None):
            console.print(f"[dim]{line}[/]")
        try:
            with RunWatcher(instance, token, console, profile_argument(profile)) as watcher:
                result = dg.execute_job(reconstructable, instance, run_config=_QUIET, tags=tags)
        except DBAPIError as error:
            raise UserError(
                f"Dagster's records in {home} cannot be written ({error.orig}). "
                + ("The disk is full: make room" if disk_is_full(home) else "Mend the cause")
                + " and run again: what was finished is kept."
            ) from error
    if not result.success:
        for failure in watcher.failures:
            console.print(f"\n[bold red]Failed[/] {escape(plain(failure, lines=True))}")
        again = "make evaluate" if job == EVALUATE_JOB else "make run"
        console.print(f"\nWhat was finished is kept: mend the cause and `{again}` goes on from there.")
        return 1
    show = print_evaluation if job == EVALUATE_JOB else print_summary
    show(lake, profile, console, time.monotonic() - started)
    return 0


_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _log_to(path: Path) -> Path:
    """Send every Python log record to a file instead of the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.INFO)
    return path


def _short(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
