"""Files that tests look into behind the project's back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def sqlite_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that commits and is closed: sqlite3's own `with` leaves it open."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection
