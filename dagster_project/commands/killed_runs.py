"""Runs whose process was killed: Dagster's records would call them started for ever.

`make run` holds a lock while its run is under way, `<dagster home>/running/<token>.lock`; the system frees it however
the process ends, and the token is a tag of the run. What a run of the UI began in says its first event: a process, by
number, which must be older than the event; one that has said nothing for ten minutes was killed before it could. It
speaks of this machine; nobody looks at another one's processes. Where several machines share the records, a run of
`make run` says by a tag where it began, and only who looks from there can tell; runs of the UI are left alone then.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
from filelock import FileLock, Timeout

from dagster_project.commands.run_view import WATCH_TAG

BEGAN_TAG = "reflection_lake/began_in"
_NOT_ENDED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_BEGINS_IN_S = 600.0  # a process of the UI loads the definitions before its first event
_CLOCK_S = 5.0  # between a process's start as the system has it and an event's time


@contextmanager
def running(home: Path, token: str) -> Iterator[None]:
    """While the run of that token is under way."""
    lock = FileLock(_lock_file(home, token))
    lock.acquire()
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def began_in(home: Path) -> str:
    """The value of BEGAN_TAG."""
    return f"{socket.gethostname()}:{home}"


def mark_killed_runs(instance: dg.DagsterInstance, home: Path, *, shared: bool = False) -> list[str]:
    """Mark the runs that were killed as failed (as canceled, if that had been asked for); a line about each.

    shared: whether the records are those of several machines.
    """
    of_here = {BEGAN_TAG: began_in(home)} if shared else None
    unended = instance.get_run_records(dg.RunsFilter(statuses=_NOT_ENDED, tags=of_here))
    return [_mark(instance, home, one.dagster_run) for one in unended if _is_killed(instance, home, one)]


def _is_killed(instance: dg.DagsterInstance, home: Path, record: dg.RunRecord) -> bool:
    """False where nobody can tell."""
    run = record.dagster_run
    token = run.tags.get(WATCH_TAG)
    if token and _is_held(_lock_file(home, token)):
        return False
    began = _began(instance, run)
    if began is None:
        return token is not None or time.time() - record.update_timestamp.timestamp() > _BEGINS_IN_S
    return not _lives(*began)


def _began(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """The number of the run's process, and the time at which it said so; None where it has not."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=20).records
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value)), record.event_log_entry.timestamp
    return None


def _lives(pid: int, since: float) -> bool:
    """Whether that process, and no later one of the same number, is at work."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + _CLOCK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's
        return True


def _mark(instance: dg.DagsterInstance, home: Path, run: dg.DagsterRun) -> str:
    canceling = run.status is dg.DagsterRunStatus.CANCELING
    word = "canceled" if canceling else "failed"
    message = f"The process of this run was killed, so it is marked as {word}. What it had finished is kept."
    if canceling:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)
    if token := run.tags.get(WATCH_TAG):
        _lock_file(home, token).unlink(missing_ok=True)
    return f"Run {run.run_id[:8]} was killed and is marked as {word}; what it had finished is kept."


def _lock_file(home: Path, token: str) -> Path:
    return home / "running" / f"{token}.lock"


def _is_held(file: Path) -> bool:
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
