"""What other warehouses have paid for and computed, taken over by id: `reuse:` of a profile.

    reuse: [warehouse/first]       # replies to the same requests; scores of the same text by the same student

A donor is never written. Even a reader of a SQLite database leaves files beside it, so catalog and ledger are copied
into a temporary folder and opened there, whoever writes to them meanwhile; Parquet files are only read.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from dagster_project.lakehouse.lake import Commit, Lake
from dagster_project.lakehouse.tables import TABLES_BY_NAME
from models_py.errors import UserError, refuse
from models_py.teacher.ledger import Ledger

CATALOG, LEDGER, DATA, HASHES = "catalog.sqlite", "teacher.sqlite", "data", "data_files.sqlite"
_ROWS = 20_000
_TRIES = 100


def check_donors(donors: Sequence[Path]) -> None:
    """Raise UserError for a folder that is no warehouse: before anything is asked that it was to answer."""
    refuse(
        f"reuse: {donor} is no warehouse: it holds neither {CATALOG} nor {LEDGER}. Name the folder that another "
        "profile has under `warehouse`, or leave it out. Of a lake in PostgreSQL, which cannot be named here, replies "
        "are taken over by `make export-replies` and `make import-replies`."
        for donor in donors
        if not any((donor / name).is_file() for name in (CATALOG, LEDGER))
    )


def take_replies(donors: Sequence[Path], ledger: Ledger, request_ids: Iterable[str]) -> int:
    """Take over the donors' replies to these requests; how many were new.

    What they cost then counts as spent by the teacher of their name, as with a file that is imported.
    """
    check_donors(donors)
    wanted, taken = list(request_ids), 0
    for donor in donors:
        with copied(donor, LEDGER) as folder:
            if (folder / LEDGER).exists():
                with Ledger(folder / LEDGER) as theirs:
                    for start in range(0, len(wanted), _ROWS):
                        taken += ledger.add(theirs.answered(wanted[start : start + _ROWS]))
    return taken


def take_scores(donors: Sequence[Path], lake: Lake, table: str, pending: str, run_id: str) -> int:
    """Append to `table` the donors' scores of what `pending` (SQL) still wants, by equal student and text; how many."""
    check_donors(donors)
    taken = 0
    for donor in donors:
        wanted = lake.read(f"select distinct student_fingerprint, content_id from {pending}")
        if wanted.is_empty():
            break
        with copied(donor, CATALOG, HASHES) as folder:
            if not (folder / CATALOG).exists():
                continue
            (folder / DATA).symlink_to(donor / DATA)
            for rows in _scores(Lake(folder), table, wanted):
                lake.append({table: _by_our_names(lake, rows)}, Commit(f"scores of {donor}", table, run_id))
                taken += rows.height
    return taken


def _scores(donor: Lake, table: str, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
    with donor.connect() as connection:
        theirs = {row[0] for row in connection.execute(f"describe {table}").fetchall()}
    columns = ", ".join(name for name in TABLES_BY_NAME[table].polars_schema if name in theirs)
    of_them = "where list_contains(?, student_fingerprint)"
    students = wanted["student_fingerprint"].unique().to_list()
    for rows in donor.batches(f"select {columns} from {table} {of_them}", [students], rows=_ROWS):
        if (found := rows.join(wanted, on=["student_fingerprint", "content_id"], how="semi")).height:
            yield found


def _by_our_names(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    """Students as our profile calls them."""
    ours = lake.read("select student_fingerprint, min(student) as ours from profile.students group by all")
    named = rows.join(ours, on="student_fingerprint", how="left")
    return named.with_columns(student=pl.coalesce("ours", "student")).drop("ours")


@contextmanager
def copied(donor: Path, *names: str) -> Iterator[Path]:
    """A temporary folder with copies of SQLite databases, each with the changes that it has not folded in yet."""
    with TemporaryDirectory(prefix="reuse-") as folder:
        for name in names:
            _copy(donor / name, Path(folder))
        yield Path(folder)


def _copy(file: Path, folder: Path) -> None:
    """Copy a database as it is at one moment: again where its owner wrote to it meanwhile."""
    parts = (file, file.with_name(f"{file.name}-wal"))
    for _ in range(_TRIES):
        before = [_state(part) for part in parts]
        for part in parts:
            (folder / part.name).unlink(missing_ok=True)
            if part.exists():
                shutil.copyfile(part, folder / part.name)
        if [_state(part) for part in parts] == before:
            return
    raise UserError(f"reuse: {file} is written to without a pause; run again when its own run has ended.")


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
