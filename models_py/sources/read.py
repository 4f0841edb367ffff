"""All sources into two tables: the distinct pairs, and the rows that are none, each with its reason.

    read = read_sources([Source("seed_pairs", path="seeds/pairs.jsonl")])
    check_bad_fraction(read, max_bad_fraction=0.05)
    told(read, sources)      # what is in no pair and in no bad row, in sentences

Every row of every file ends in exactly one of three ways: a pair, a further copy of a pair (counted in
`duplicate_count`), or a quarantined row; with `turns: each` a conversation is as many of the first two as it has
answers. A file's content never raises; only a file that is not there, or only stands for the data, does. What is left
out beside that (turns of a conversation, files of a folder) is counted by source.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random

import polars as pl

from models_py.content import content_id
from models_py.errors import UserError, refuse
from models_py.progress import OnProgress, Progress, silent
from models_py.sources import hub
from models_py.sources.fields import Wanted
from models_py.sources.files import check_readable
from models_py.sources.formats import Format
from models_py.sources.opened import UnreadableError
from models_py.sources.pairs import Found, Pair, to_pairs, turns_of
from models_py.sources.row import Row, excerpt
from models_py.sources.spec import Sample, Source

PAIRS_SCHEMA = pl.Schema(
    {
        "pair_id": pl.String(),
        "source": pl.String(),
        "file": pl.String(),
        "source_row": pl.Int64(),
        "system": pl.String(),
        "history": pl.String(),
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
# Bad rows of a source after which it is not read on: where they are too many, and in any case.
_MOST_BAD_ROWS, _MOST_BAD_ROWS_EVER = 100_000, 500_000


@dataclass(slots=True)
class SourceCounts:
    """What was read of one source, and what of it stands in no pair.

    `row_count` + `further_pair_count` = `pair_count` + `duplicate_count` + `quarantined_count`. `rows_seen` is more
    where only a sample was taken, `further_pair_count` are the exchanges of conversations beyond one a row. Of the
    conversations that became pairs or duplicates: `cut_conversation_count` say more than these do, and
    `merged_conversation_count` of them are no new pair. `turn_count`, of all roles, is the sum of what stands below it
    (`TurnCounts`), with the turns of quarantined rows. `no_input_count`: inputs that only say that there is none.
    `files_left_out`: beside the data, never read. `files_without_rows`: read to their end, and there was nothing.
    """

    source: str
    rows_seen: int = 0
    row_count: int = 0
    pair_count: int = 0
    duplicate_count: int = 0
    quarantined_count: int = 0
    conversation_count: int = 0
    cut_conversation_count: int = 0
    merged_conversation_count: int = 0
    further_pair_count: int = 0
    turn_count: int = 0
    turns_in_pairs: int = 0
    turns_before_pairs: int = 0
    turns_joined: int = 0
    turns_left_out: int = 0
    system_texts_left_out: int = 0
    turns_quarantined: int = 0
    no_input_count: int = 0
    files_left_out: list[str] = field(default_factory=list)
    files_without_rows: list[str] = field(default_factory=list)

    def add(self, found: Found, *, duplicates: int) -> None:
        """Count a row that is pairs, of which so many are further copies of one."""
        self.pair_count += len(found.pairs) - duplicates
        self.duplicate_count += duplicates
        self.further_pair_count += len(found.pairs) - 1
        self.no_input_count += sum(pair.no_input for pair in found.pairs)
        if (turns := found.turns) is not None:
            self.conversation_count += 1
            self.cut_conversation_count += turns.is_cut
            self.merged_conversation_count += turns.is_cut and duplicates == len(found.pairs)
            self.turn_count += turns.turns
            self.turns_in_pairs += turns.in_pairs
            self.turns_before_pairs += turns.before_pairs
            self.turns_joined += turns.joined
            self.turns_left_out += turns.left_out
            self.system_texts_left_out += turns.systems_left_out

    def quarantine(self, turns: int) -> None:
        """Count a row that is none, and the turns that it shows."""
        self.quarantined_count += 1
        self.turn_count += turns
        self.turns_quarantined += turns


@dataclass(frozen=True, slots=True)
class SourcesRead:
    """What the sources hold.

    `pairs`: one row a distinct content, in the order of the sources; the first occurrence gives source and row.
    `quarantined`: one row a bad row. `counts`: a source each, in order.
    `unfinished_files`: files whose end could not be read, so that an unknown number of rows is missing.
    `given_up`: sources that were not read on, for they gave nothing but bad rows.
    """

    pairs: pl.DataFrame
    quarantined: pl.DataFrame
    counts: tuple[SourceCounts, ...]
    unfinished_files: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()

    @property
    def rows_by_source(self) -> dict[str, int]:
        """All rows read, good or bad."""
        return {counts.source: counts.row_count for counts in self.counts}


def read_sources(
    sources: Sequence[Source],
    on_progress: OnProgress = silent,
    *,
    max_bad_fraction: float = 1.0,
    most_rows: int | None = None,
) -> SourcesRead:
    """Read every file of every source, in order. Progress counts rows; its fraction is the share of bytes.

    max_bad_fraction: a source that is above it after many bad rows is not read on; `check_bad_fraction` says so.
    most_rows: of each source look at no more than so many, the first; for who only wants to see what it is.

    Raises UserError, naming the profile's key, for a pattern without files and for a file that is missing, cannot be
    opened or is of no known format. What a file contains never raises. Downloads what lies on the hub and is not here.
    """
    for source in sources:
        source.fetch(only_missing=True)
    files = {name: [*paths.items()] for name, paths in readable_files(sources).items()}
    progress = _Progress(sum(path.stat().st_size for paths in files.values() for path, _ in paths), on_progress)
    tables = _Tables()
    for source in sources:
        counts = SourceCounts(source.name, files_left_out=[_name(file) for file in source.found()[1]])
        tables.counts.append(counts)
        seen = _source_rows(files[source.name], source.wanted, source.name, counts, progress)
        rows = _of_interest(source, seen if most_rows is None else itertools.islice(seen, most_rows))
        for path, form, row in rows:
            counts.row_count += 1
            tables.add(source, path, form, row, counts)
            if _is_hopeless(counts, max_bad_fraction):
                tables.given_up.append(source.name)
                break
    on_progress(Progress(progress.done, progress.done, "rows"))
    return tables.finish()


def ids_of_row(sources: Sequence[Source], is_named: Callable[[str], bool], number: int) -> list[str]:
    """The ids of the pairs that a row makes, as its file has it now; none where it is bad or there is no such row.

    is_named: whether a file, as the tables name it, is the one. Whether `limit` or `sample` takes the row is not asked.
    """
    found = dict[str, None]()
    for source in sources:
        for path, form in readable_files([source])[source.name].items():
            if is_named(_name(path)):
                row = next((row for row in _rows(path, form, source.wanted) if row.number == number), None)
                made = _made_of(source, form, row) if row is not None else ""
                found |= dict.fromkeys(map(_id_of, made.pairs)) if isinstance(made, Found) else {}
    return [*found]


def strict_rows(source: Source, named: Collection[str] | None = None) -> Iterator["_Placed"]:
    """Every row of every file with all its columns, for readers who can do without none.

    named: the fields by which a row is told; None = those that matter. Downloads what lies on the hub and is not here.
    Raises UserError, naming the profile's key, file and row, for the first that cannot be read.
    """
    source.fetch(only_missing=True)
    wanted = Wanted(None if named is None else frozenset(named), all_columns=True)
    for path, form in readable_files([source])[source.name].items():
        try:
            for row in form.read(path, wanted):
                if row.problem is not None:
                    raise UserError(f"{source.key}: {path}, row {row.number}: {row.problem}")
                yield path, form, row
        except UnreadableError as error:
            raise UserError(f"{source.key}: {path} cannot be read: {error}") from error


def check_bad_fraction(read: SourcesRead, max_bad_fraction: float, section: str = Source.section) -> None:
    """Stop before anything is paid for when too much of a source cannot be used. section: of the profile.

    Raises UserError when a source's share of quarantined rows is above `max_bad_fraction` (0 to 1), when a file could
    not be read to its end, or when a source holds no row at all. The message names file, share and first rows.
    """
    problems = []
    for source, rows in read.rows_by_source.items():
        bad = read.quarantined.filter(pl.col("source") == source)
        if source in read.given_up:
            problems.append(
                f"{section}.{source}: given up after {bad.height:,} bad rows of {rows:,}\n{_first_rows(bad)}\n"
                "  Mend the files, describe the fields with `fields`, set `format`, or raise max_bad_fraction."
            )
        elif rows == 0:
            problems.append(f"{section}.{source}: its files hold no rows")
        elif bad.height / rows > max_bad_fraction:
            problems.append(
                f"{section}.{source}: {bad.height} of {rows} rows cannot be used ({bad.height / rows:.1%}); "
                f"max_bad_fraction allows {max_bad_fraction:.1%}\n{_first_rows(bad)}\n"
                "  Mend these rows, describe the fields with `fields`, or raise max_bad_fraction in the profile."
            )
    for file in read.unfinished_files:
        bad = read.quarantined.filter(pl.col("file") == file).tail(1)
        problems.append(f"{file} cannot be read to its end, so rows are missing\n{_first_rows(bad)}")
    if problems:
        raise UserError("\n".join(problems))


def _first_rows(bad: pl.DataFrame) -> str:
    lines = [f"  {row['file']}, row {row['source_row']}: {row['reason']}" for row in bad.head(_ROWS_SHOWN).to_dicts()]
    if bad.height > _ROWS_SHOWN:
        lines.append(f"  and {bad.height - _ROWS_SHOWN} more")
    return "\n".join(lines)


def told(read: SourcesRead, sources: Sequence[Source]) -> list[str]:
    """What of the sources stands neither in a pair nor in a bad row, a sentence each; nothing where that is nothing."""
    return [
        f"{counts.source}: {sentence}"
        for source, counts in zip(sources, read.counts, strict=True)
        for sentence in _sentences(source, counts)
    ]


def _sentences(source: Source, counts: SourceCounts) -> Iterator[str]:
    if source.limit is not None and counts.row_count >= source.limit:
        yield f"only the first {counts.row_count:,} rows are read (limit)"
    if source.sample is not None and counts.rows_seen > counts.row_count:
        yield f"only {counts.row_count:,} of {counts.rows_seen:,} rows are taken (sample)"
    if counts.cut_conversation_count:
        left = " and ".join(
            _counted(count, word)
            for count, word in ((counts.turns_left_out, "turn"), (counts.system_texts_left_out, "system text"))
            if count
        )
        merged = counts.merged_conversation_count
        yield (
            f"{counts.cut_conversation_count:,} of {counts.conversation_count:,} conversations are cut "
            f"(turns: {source.turns}): {left} are in no pair"
            f"{f'; {merged:,} of them are then like another' if merged else ''}"
        )
    if counts.turns_joined:
        yield f"{_counted(counts.turns_joined, 'turn')} of the role that spoke before are joined to that one"
    if counts.turns_quarantined:
        yield f"{_counted(counts.turns_quarantined, 'turn')} of conversations are in rows that are no pairs"
    if counts.no_input_count:
        yield f"{counts.no_input_count:,} times an input that says there is none (<noinput>, nan) is read as empty"
    if names := counts.files_without_rows:
        yield f"{len(names):,} of its files hold{'s' if len(names) == 1 else ''} no row: {_some(names)}"
    if names := counts.files_left_out:
        yield f"left out beside the data: {_some(names)}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _ROWS_SHOWN:,} more" if len(names) > _ROWS_SHOWN else ""
    return ", ".join(names[:_ROWS_SHOWN]) + more


def readable_files(sources: Sequence[Source]) -> dict[str, dict[Path, Format]]:
    """Of each source its files and how they are read. Raises UserError for those that cannot be, of all sources."""
    found: dict[str, dict[Path, Format]] = {}
    problems: list[str] = []
    for source in sources:
        try:
            found[source.name] = {path: source.format_of(path) for path in source.files()}
        except UserError as error:
            problems.append(str(error))
            continue
        for path in found[source.name]:
            if problem := check_readable(path):
                link = "" if problem.startswith("is ") else ":"
                problems.append(f"{source.key}: {path}{link} {problem}; name a file that can be read")
    refuse(problems)
    return found


_Placed = tuple[Path, Format, Row]


def _source_rows(
    files: Sequence[tuple[Path, Format]],
    wanted: Wanted,
    name: str,
    counts: SourceCounts,
    progress: "_Progress",
) -> Iterator[_Placed]:
    for path, form in files:
        before = counts.rows_seen
        with progress.of_file(path.stat().st_size):
            for row in _rows(path, form, wanted):
                counts.rows_seen += 1
                progress.row(row, name)
                yield path, form, row
        if counts.rows_seen == before:
            counts.files_without_rows.append(_name(path))


def _of_interest(source: Source, rows: Iterator[_Placed]) -> Iterator[_Placed]:
    """The rows that `limit` or `sample` leaves; a row that ends its file is among them, for it says what is missing."""
    if source.sample is not None:
        return iter(_drawn(source.sample, rows))
    return rows if source.limit is None else itertools.islice(rows, source.limit)


def _drawn(sample: Sample, rows: Iterator[_Placed]) -> list[_Placed]:
    """A sample of a stream of unknown length, each row with equal chance, in the order of the files."""
    random = Random(sample.seed)
    drawn: list[tuple[int, _Placed]] = []
    ends: list[tuple[int, _Placed]] = []
    for number, placed in enumerate(rows):
        if placed[2].ends_file:
            ends.append((number, placed))
        elif len(drawn) < sample.rows:
            drawn.append((number, placed))
        elif (place := random.randrange(number + 1)) < sample.rows:
            drawn[place] = (number, placed)
    return [placed for _, placed in sorted([*drawn, *ends], key=lambda one: one[0])]


def _is_hopeless(counts: SourceCounts, max_bad_fraction: float) -> bool:
    bad = counts.quarantined_count
    return bad >= _MOST_BAD_ROWS_EVER or (bad >= _MOST_BAD_ROWS and bad > max_bad_fraction * counts.row_count)


def _made_of(source: Source, form: Format, row: Row) -> Found | str:
    """Its pairs, or why it has none."""
    if row.problem is not None:
        return row.problem
    return to_pairs(row.record, source.fields, form.no_value, source.turns)


def _id_of(pair: Pair) -> str:
    return content_id(pair.instruction, pair.input, pair.output, pair.context)


def _rows(path: Path, form: Format, wanted: Wanted) -> Iterator[Row]:
    """The file's rows; one that cannot be read on ends in one bad row."""
    number = 0
    try:
        for row in form.read(path, wanted):
            number = row.number
            yield row
    except UnreadableError as error:
        yield Row(number + 1, None, None, "", str(error), ends_file=True)


@lru_cache(maxsize=1_000)  # asked for every row
def _name(path: Path) -> str:
    """How the tables name a file: where it lies, or its address; always text that can be stored."""
    # A name that is not UTF-8 (possible on Linux) could not be stored.
    return hub.shown(path).encode("utf-8", errors="backslashreplace").decode("utf-8")


class _Progress:
    """Rows and bytes, over all files."""

    def __init__(self, total_bytes: int, on_progress: OnProgress) -> None:
        self.done = 0
        self._total_bytes = total_bytes
        self._bytes_before = 0
        self._size = 0
        self._on_progress = on_progress

    @contextmanager
    def of_file(self, size: int) -> Iterator[None]:
        self._size = size
        yield
        self._bytes_before += size

    def row(self, row: Row, source: str) -> None:
        self.done += 1
        if self.done % _ROWS_A_REPORT == 0:
            # Offsets count unpacked bytes, so a packed file stays at its end early: an estimate, not a promise.
            fraction = (self._bytes_before + min(row.byte_offset or 0, self._size)) / max(self._total_bytes, 1)
            self._on_progress(Progress(self.done, None, "rows", fraction=fraction, note=source))


@dataclass(slots=True)
class _Tables:
    """The two tables as they grow: finished chunks as frames, the current chunk as rows."""

    counts: list[SourceCounts] = field(default_factory=list)
    position_by_id: dict[str, int] = field(default_factory=dict)
    duplicates: Counter[int] = field(default_factory=Counter)
    pairs: list[tuple[object, ...]] = field(default_factory=list)
    quarantined: list[tuple[object, ...]] = field(default_factory=list)
    chunks: list[pl.DataFrame] = field(default_factory=list)
    unfinished_files: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    def add(self, source: Source, path: Path, form: Format, row: Row, counts: SourceCounts) -> None:
        """Put one row where it belongs."""
        found, file = _made_of(source, form, row), _name(path)
        if isinstance(found, Found):
            copies = [self._is_duplicate(source.name, file, row.number, pair) for pair in found.pairs]
            counts.add(found, duplicates=sum(copies))
            return
        counts.quarantine(turns_of(row.record, source.fields))
        self.quarantined.append((source.name, file, row.number, row.byte_offset, found, excerpt(row.raw)))
        if row.ends_file:
            self.unfinished_files.append(file)

    def _is_duplicate(self, source: str, file: str, number: int, pair: Pair) -> bool:
        """Whether the pair is there already; if not, it is now."""
        texts, context = (pair.instruction, pair.input, pair.output), pair.context
        pair_id = _id_of(pair)
        position = self.position_by_id.get(pair_id)
        if position is not None:
            self.duplicates[position] += 1
            return True
        self.position_by_id[pair_id] = len(self.position_by_id)
        before = (context.system, context.history_json)
        self.pairs.append((pair_id, source, file, number, *before, *texts, pair.category, 0))
        if len(self.pairs) == _ROWS_A_CHUNK:
            self._end_chunk()
        return False

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
            counts=tuple(self.counts),
            unfinished_files=tuple(self.unfinished_files),
            given_up=tuple(self.given_up),
        )
