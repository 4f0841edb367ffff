"""All sources into two tables: the distinct pairs, and the rows that are none, each with its reason.

    read = read_sources([Source("seed_pairs", path="seeds/pairs.jsonl")])
    check_bad_fraction(read, max_bad_fraction=0.05)

Every row of every file ends in exactly one of three ways: a pair, a further copy of a pair (counted in
`duplicate_count`), or a quarantined row. A file's content never raises; only a file that is not there does.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from models_py.content import content_id
from models_py.errors import UserError
from models_py.progress import OnProgress, Progress, silent
from models_py.sources.formats import Format
from models_py.sources.pairs import KNOWN_FIELDS, Pair, to_pair
from models_py.sources.row import Row, excerpt
from models_py.sources.spec import Source

PAIRS_SCHEMA = pl.Schema(
    {
        "pair_id": pl.String(),
        "source": pl.String(),
        "file": pl.String(),
        "source_row": pl.Int64(),
        "instruction": pl.String(),
        "input": pl.String(),
        "output": pl.String(),
        "category": pl.String(),
        "duplicate_count": pl.Int64(),
    }
)
QUARANTINED_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "file": pl.String(),
        "source_row": pl.Int64(),
        "byte_offset": pl.Int64(),
        "reason": pl.String(),
        "excerpt": pl.String(),
    }
)
_ROWS_A_CHUNK = 20_000
_ROWS_A_REPORT = 1_000
_ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SourcesRead:
    """What the sources hold.

    `pairs`: one row a distinct content, in the order of the sources; the first occurrence gives source and row.
    `quarantined`: one row a bad row. `rows_by_source`: all rows read, good or bad.
    `unfinished_files`: files whose end could not be read, so that an unknown number of rows is missing.
    """

    pairs: pl.DataFrame
    quarantined: pl.DataFrame
    rows_by_source: dict[str, int]
    unfinished_files: tuple[str, ...] = ()


def read_sources(sources: Sequence[Source], on_progress: OnProgress = silent) -> SourcesRead:
    """Read every file of every source, in order. Progress counts rows; its fraction is the share of bytes.

    Raises UserError, naming the profile's key, for a pattern without files and for a file that is missing, cannot be
    opened or is of no known format. What a file contains never raises.
    """
    files = [(source, path, source.format_of(path)) for source in sources for path in readable_files(source)]
    total_bytes = sum(path.stat().st_size for _, path, _ in files)
    tables = _Tables(rows_by_source=Counter({source.name: 0 for source in sources}))
    bytes_before = 0
    done = 0
    for source, path, form in files:
        size = path.stat().st_size
        for row in _rows(path, form, KNOWN_FIELDS if source.fields is None else frozenset(source.fields.values())):
            tables.add(source, path, row)
            done += 1
            if done % _ROWS_A_REPORT == 0:
                # Offsets count unpacked bytes, so a packed file stays at its end early: an estimate, not a promise.
                fraction = (bytes_before + min(row.byte_offset or 0, size)) / max(total_bytes, 1)
                on_progress(Progress(done, None, "rows", fraction=fraction, note=source.name))
        bytes_before += size
    on_progress(Progress(done, done, "rows"))
    return tables.finish()


def check_bad_fraction(read: SourcesRead, max_bad_fraction: float) -> None:
    """Stop before anything is paid for when too much of a source cannot be used.

    Raises UserError when a source's share of quarantined rows is above `max_bad_fraction` (0 to 1), when a file could
    not be read to its end, or when a source holds no row at all. The message names file, share and first rows.
    """
    problems = []
    for source, rows in read.rows_by_source.items():
        bad = read.quarantined.filter(pl.col("source") == source)
        if rows == 0:
            problems.append(f"sources.{source}: its files hold no rows")
        elif bad.height / rows > max_bad_fraction:
            problems.append(
                f"sources.{source}: {bad.height} of {rows} rows cannot be used ({bad.height / rows:.1%}); "
                f"max_bad_fraction allows {max_bad_fraction:.1%}\n{_first_rows(bad)}\n"
                "  Mend these rows, describe the fields with `fields`, or raise max_bad_fraction in the profile."
            )
    for file in read.unfinished_files:
        bad = read.quarantined.filter(pl.col("file") == file).tail(1)
        problems.append(
            f"{file} cannot be read to its end, so rows are missing\n{_first_rows(bad)}\n  Get the file again."
        )
    if problems:
        raise UserError("\n".join(problems))


def _first_rows(bad: pl.DataFrame) -> str:
    lines = [f"  {row['file']}, row {row['source_row']}: {row['reason']}" for row in bad.head(_ROWS_SHOWN).to_dicts()]
    if bad.height > _ROWS_SHOWN:
        lines.append(f"  and {bad.height - _ROWS_SHOWN} more")
    return "\n".join(lines)


def readable_files(source: Source) -> tuple[Path, ...]:
    """The source's files. Raises UserError, naming `sources.<name>.path`, for one that cannot be opened."""
    files = source.files()
    for path in files:
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            raise UserError(f"{source.key}: {path}: {reason}; name a file that can be read") from error
    return files


def _rows(path: Path, form: Format, wanted: Collection[str]) -> Iterator[Row]:
    """The file's rows; a packed file that breaks off ends in one bad row."""
    number = 0
    try:
        for row in form.read(path, wanted):
            number = row.number
            yield row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Row(number + 1, None, None, "", f"the gzip file is damaged or breaks off here: {error}", ends_file=True)


@dataclass(slots=True)
class _Tables:
    """The two tables as they grow: finished chunks as frames, the current chunk as rows."""

    rows_by_source: Counter[str]
    position_by_id: dict[str, int] = field(default_factory=dict)
    duplicates: Counter[int] = field(default_factory=Counter)
    pairs: list[tuple[object, ...]] = field(default_factory=list)
    quarantined: list[tuple[object, ...]] = field(default_factory=list)
    chunks: list[pl.DataFrame] = field(default_factory=list)
    unfinished_files: list[str] = field(default_factory=list)

    def add(self, source: Source, path: Path, row: Row) -> None:
        """Put one row where it belongs."""
        self.rows_by_source[source.name] += 1
        pair = row.problem if row.problem is not None else to_pair(row.record, source.fields)
        # A name that is not UTF-8 (possible on Linux) could not be stored.
        file = str(path).encode("utf-8", errors="backslashreplace").decode("utf-8")
        if isinstance(pair, Pair):
            self._add_pair(source.name, file, row.number, pair)
            return
        self.quarantined.append((source.name, file, row.number, row.byte_offset, pair, excerpt(row.raw)))
        if row.ends_file:
            self.unfinished_files.append(file)

    def _add_pair(self, source: str, file: str, number: int, pair: Pair) -> None:
        pair_id = content_id(pair.instruction, pair.input, pair.output)
        position = self.position_by_id.get(pair_id)
        if position is not None:
            self.duplicates[position] += 1
            return
        self.position_by_id[pair_id] = len(self.position_by_id)
        self.pairs.append((pair_id, source, file, number, pair.instruction, pair.input, pair.output, pair.category, 0))
        if len(self.pairs) == _ROWS_A_CHUNK:
            self._end_chunk()

    def _end_chunk(self) -> None:
        self.chunks.append(pl.DataFrame(self.pairs, schema=PAIRS_SCHEMA, orient="row"))
        self.pairs.clear()

    def finish(self) -> SourcesRead:
        """Both tables whole, with the duplicates counted."""
        self._end_chunk()
        pairs = pl.concat(self.chunks)
        counts = [self.duplicates.get(position, 0) for position in range(pairs.height)]
        return SourcesRead(
            pairs=pairs.with_columns(pl.Series("duplicate_count", counts, dtype=pl.Int64)),
            quarantined=pl.DataFrame(self.quarantined, schema=QUARANTINED_SCHEMA, orient="row"),
            rows_by_source=dict(self.rows_by_source),
            unfinished_files=tuple(self.unfinished_files),
        )
