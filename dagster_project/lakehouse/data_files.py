"""Whether the lake's data files are still what was written: Parquet carries no checksums that readers look at.

Of 40 single bits flipped in small files a quarter changed texts and numbers without an error. So the hash of each file
is kept in `data_files.sqlite` of the warehouse from the commit that wrote it, or else from when it was first seen; a
file whose size, times and inode are as they were is not read again.

Only files of a local folder: object stores have checksums of their own. `data_files.sqlite` may be deleted; then the
files count as they are.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from models_py.content import file_sha256, fingerprint

_TABLE = "create table if not exists files (path primary key, sha256, seen, seal)"
_CHARS = 16


class DataFiles:
    """The hashes of the files below `folder`, kept in `memory`."""

    def __init__(self, memory: Path, folder: Path) -> None:
        self._memory = memory
        self._folder = folder

    def remember(self, paths: Iterable[str]) -> None:
        """Take the files, which were just written, as they are. Paths are relative to the folder."""
        self._store({path: (file_sha256(self._folder / path), self._seen(path)) for path in paths})

    def damaged(self, paths: Iterable[str], *, missing: bool = True) -> Iterator[str]:
        """What is wrong with which file, in words; those that were never seen are taken as they are.

        missing: whether one that is not there is wrong.
        """
        known, fresh = self._known(), {}
        for path in paths:
            try:
                seen = self._seen(path)
                expected, seen_then = known.get(path, (None, None))
                if seen == seen_then:
                    continue
                found = file_sha256(self._folder / path)
            except FileNotFoundError:
                if missing:
                    yield f"{self._folder / path} is missing"
            except OSError as error:
                yield f"{self._folder / path} cannot be read ({error.strerror})"
            else:
                if expected in (None, found):
                    fresh[path] = (found, seen)
                else:
                    yield f"{self._folder / path} is not what was written: its bytes have changed"
        self._store(fresh)

    def _seen(self, path: str) -> str:
        stat = (self._folder / path).stat()
        return json.dumps([stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])

    def _known(self) -> dict[str, tuple[str, str]]:
        rows = self._execute("select path, sha256, seen, seal from files")
        return {path: (sha256, seen) for path, sha256, seen, seal in rows if seal == _seal(path, sha256, seen)}

    def _store(self, files: Mapping[str, tuple[str, str]]) -> None:
        if files:
            rows = [(path, sha256, seen, _seal(path, sha256, seen)) for path, (sha256, seen) in files.items()]
            self._execute(_TABLE)
            self._execute("insert or replace into files values (?, ?, ?, ?)", *rows)

    def _execute(self, sql: str, *rows: tuple[str, ...]) -> list[tuple[str, ...]]:
        """A statement, once or once a row. What cannot be kept is not: the files are looked at again."""
        try:
            with closing(sqlite3.connect(self._memory, timeout=5)) as file, file:
                if rows:
                    file.executemany(sql, rows)
                    return []
                return file.execute(sql).fetchall()
        except sqlite3.OperationalError:  # not made yet, busy, on a disk that is full or read-only
            return []
        except sqlite3.DatabaseError:  # damaged itself
            self._memory.unlink(missing_ok=True)
            return []


def _seal(path: str, sha256: str, seen: str) -> str:
    return fingerprint(path, sha256, seen)[:_CHARS]


def sqlite_damage(file: Path) -> str | None:
    """What SQLite's own check finds wrong with a database, in words; None where it is sound or not there."""
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")  # it quotes what it finds
            found = connection.execute("pragma integrity_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:  # busy; a folder in which nothing can be written
        return str(error) if "malformed" in str(error) else None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else " ".join(str(found).split())
