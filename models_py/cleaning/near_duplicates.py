"""Which texts nearly repeat an earlier one: found by MinHash, verified by counting, clustered, with the evidence.

    near_duplicates(lambda: [frame of place, id and text], NearDuplicates(threshold=0.8), folder)

Two texts are as similar as their sets of three words in a row (shingles) are by Jaccard: shared / all. rensa makes a
MinHash signature of each text, its bands go to a DuckDB file beside which nothing grows with the number of texts, and
texts that agree in a band are compared by their true shingles. What is linked by similar pairs is a cluster; the text
whose place is first represents it.

A pair of texts exactly at the threshold is missed about once in a thousand times, a more similar one more rarely. Of
more than `_MOST_COMPARED` texts that agree in a band each is compared with the first and with the one before it.
Texts without any word are like no other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from rensa import RMinHash

from models_py.cleaning.settings import NearDuplicates
from models_py.cleaning.words import Hashes, Places, Words, excerpts, words
from models_py.progress import OnProgress, Progress, silent

SHINGLE_WORDS = 3
FOUND_SCHEMA = pl.Schema(
    {
        "pair_id": pl.String(),
        "representative_id": pl.String(),
        "place": pl.Int64(),
        "cluster_size": pl.Int64(),
        "similarity_to_representative": pl.Float64(),
        "linked_to": pl.String(),
        "similarity": pl.Float64(),
        "shared_shingles": pl.Int64(),
        "all_shingles": pl.Int64(),
        "shared_text": pl.String(),
    }
)
_SLOTS, _SEED = 128, 20241010  # of a signature
_MISSED = 0.001  # share of the pairs right at the threshold that no band finds
_MOST_COMPARED = 64
_COMPARED_AT_ONCE = 10_000
_MEMORY = "400MB"

_BUCKETS = """
create table shared as
select hash, place, count(*) over (partition by hash) as size from bands qualify size > 1
"""
_CANDIDATES = """
select one, other from (
    select one.place as one, other.place as other
    from shared as one inner join shared as other on one.hash = other.hash and one.place < other.place
    where one.size <= $most
    union
    select unnest([first, before]), place from (
        select place, first_value(place) over bucket as first, lag(place) over bucket as before
        from shared where size > $most
        window bucket as (partition by hash order by place)
    ) where before is not null
)
order by one, other
"""

Batches = Callable[[], Iterable[pl.DataFrame]]
Cluster = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Link:
    """That two texts are similar, by their places: `shared` of `all` shingles."""

    one: int
    other: int
    shared: int
    all: int


def near_duplicates(
    batches: Batches,
    settings: NearDuplicates,
    folder: Path,
    *,
    total: int | None = None,
    on_progress: OnProgress = silent,
) -> pl.DataFrame:
    """One row a text that nearly repeats an earlier one, as FOUND_SCHEMA has it, cluster by cluster, in order.

    batches: gives the texts as often as it is called, as frames of `place` (a number of its own, which orders them),
    `pair_id` and `text`. folder: an empty one for what does not fit into memory, some 1.4 GB a million texts. total: of
    the texts, where it is known.
    """
    with _work(folder) as work:
        _sign(work, batches(), band_rows(settings.threshold), total, on_progress)
        work.execute(_BUCKETS)
        clusters = _clusters(_links(work, settings.threshold, on_progress))
        found = _rows(work, clusters, settings.threshold)
    return _with_shared_text(batches(), found) if found.height else pl.DataFrame(schema=FOUND_SCHEMA)


def band_rows(threshold: float) -> int:
    """How many slots of a signature make a band: as many as still find nearly all pairs at the threshold."""
    missed = ((rows, (1 - threshold**rows) ** (_SLOTS // rows)) for rows in range(_SLOTS, 0, -1))
    return next(rows for rows, share in missed if share <= _MISSED)


@contextmanager
def _work(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database there that holds what does not fit into memory."""
    connection = duckdb.connect(str(folder / "work.duckdb"))
    try:
        connection.execute(f"set memory_limit = '{_MEMORY}'; set enable_progress_bar = false")
        connection.execute("create table texts (place bigint, pair_id varchar, shingles ubigint[])")
        connection.execute("create table bands (hash ubigint, place bigint)")
        yield connection
    finally:
        connection.close()


def _sign(
    work: duckdb.DuckDBPyConnection,
    batches: Iterable[pl.DataFrame],
    rows_of_band: int,
    total: int | None,
    on_progress: OnProgress,
) -> None:
    """Write every text's shingles and bands."""
    done = 0
    for batch in batches:
        shingles, offsets = _shingles(batch["text"])
        signatures = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets.astype(np.uint64), _SLOTS, _SEED)
        lists = [shingles[start:end] for start, end in pairwise(offsets)]
        _insert(work, "texts", batch.select("place", "pair_id", shingles=pl.Series(lists, dtype=pl.List(pl.UInt64))))
        said = np.flatnonzero(np.diff(offsets))
        if len(said):
            bands = _bands(np.array(signatures.to_rows(), dtype=np.uint64)[said], rows_of_band)
            places = batch["place"].to_numpy()[said].repeat(bands.shape[1])
            _insert(work, "bands", pl.DataFrame({"hash": bands.ravel(), "place": places}))
        done += batch.height
        on_progress(Progress(done, total, "texts"))


def _shingles(texts: pl.Series) -> tuple[Hashes, Places]:
    """The shingles of all texts in order, and where each text's begin; a text of fewer words is one shingle."""
    told = Words.of(texts)
    count = np.bincount(told.text, minlength=len(texts))
    of_text, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for length, places, run in told.runs(range(1, SHINGLE_WORDS + 1)):
        kept = count[told.text[places]] == length if length < SHINGLE_WORDS else slice(None)
        of_text.append(told.text[places][kept])
        hashes.append(run[kept])
    texts_of, flat = np.concatenate(of_text), np.concatenate(hashes)
    order = np.argsort(texts_of, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(texts_of, minlength=len(texts)))])
    return flat[order], offsets


def _bands(signatures: Hashes, rows_of_band: int) -> Hashes:
    """(texts, slots) -> (texts, bands): a hash of each band's slots and of which band it is."""
    count = signatures.shape[1] // rows_of_band
    bands = np.broadcast_to(np.arange(count, dtype=np.uint64), (len(signatures), count)).copy()
    for row in range(rows_of_band):
        bands = _mixed(bands ^ signatures[:, row : count * rows_of_band : rows_of_band])
    return bands


def _mixed(values: Hashes) -> Hashes:
    """The finalizer of splitmix64: every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _insert(work: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame) -> None:
    work.register("fresh", rows.to_arrow())
    work.execute(f"insert into {table} by name select * from fresh")
    work.unregister("fresh")


def _links(work: duckdb.DuckDBPyConnection, threshold: float, on_progress: OnProgress) -> Iterator[_Link]:
    """Similar pairs, as many as it takes to hold each cluster together."""
    root: dict[int, int] = {}

    def find(place: int) -> int:
        while (above := root.get(place, place)) != place:
            root[place] = place = root.get(above, above)
        return place

    # All of it, for a connection has one result at a time: two numbers a pair that agrees in a band.
    candidates = work.execute(_CANDIDATES, {"most": _MOST_COMPARED}).fetchnumpy()
    total = len(candidates["one"])
    for start in range(0, total, _COMPARED_AT_ONCE):
        on_progress(Progress(start, total, "pairs of texts compared"))
        some = slice(start, start + _COMPARED_AT_ONCE)
        pairs = [*zip(candidates["one"][some].tolist(), candidates["other"][some].tolist(), strict=True)]
        pairs = [(one, other) for one, other in pairs if find(one) != find(other)]
        sets = {place: set(shingles) for place, shingles in _shingles_in_order(work, pairs).items()}
        for one, other in pairs:
            if find(one) == find(other):
                continue
            link = _compared(one, other, sets)
            if link.shared >= threshold * link.all:
                first, second = sorted((find(one), find(other)))
                root[second] = first
                yield link


def _shingles_in_order(work: duckdb.DuckDBPyConnection, pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The shingles of the texts that are in these pairs, as they stand there."""
    places = sorted({place for pair in pairs for place in pair})
    wanted = "select place, shingles from texts where place in (select unnest($places))"
    return dict(work.execute(wanted, {"places": places}).pl().iter_rows())


def _compared(one: int, other: int, sets: dict[int, set[int]]) -> _Link:
    shared = len(sets[one] & sets[other])
    return _Link(one, other, shared, len(sets[one]) + len(sets[other]) - shared)


def _clusters(links: Iterable[_Link]) -> list[Cluster]:
    """Each cluster as (place, the place that linked it), its first text first, linked to itself; texts in order."""
    near: dict[int, list[int]] = defaultdict(list)
    for link in links:
        near[link.one].append(link.other)
        near[link.other].append(link.one)
    seen: set[int] = set()
    clusters = []
    for first in sorted(near):
        if first in seen:
            continue
        linked, waiting = {first: first}, [first]
        for place in waiting:
            for other in sorted(near[place]):
                if other not in linked:
                    linked[other] = place
                    waiting.append(other)
        seen.update(linked)
        clusters.append(sorted(linked.items()))
    return clusters


def _rows(work: duckdb.DuckDBPyConnection, clusters: Sequence[Cluster], threshold: float) -> pl.DataFrame:
    """FOUND_SCHEMA, but instead of the shared text where its words stand in the repetition: `begins` and `words`."""
    members = [
        (place, cluster[0][0], linked, order, len(cluster))
        for cluster in clusters
        for order, (place, linked) in enumerate(cluster, start=1)
        if order > 1
    ]
    rows: list[tuple[object, ...]] = []
    for start in range(0, len(members), _COMPARED_AT_ONCE):
        some = members[start : start + _COMPARED_AT_ONCE]
        pairs = [(place, other) for place, first, linked, *_ in some for other in (first, linked)]
        ids, shingles = _ids(work, pairs), _shingles_in_order(work, pairs)
        sets = {place: set(of_text) for place, of_text in shingles.items()}
        for place, first, linked, order, size in some:
            to_first = _compared(place, first, sets)
            link = to_first if to_first.shared >= threshold * to_first.all else _compared(place, linked, sets)
            similar = (to_first.shared / to_first.all, ids[link.other], link.shared / link.all, link.shared, link.all)
            begins, run = _longest_run(shingle in sets[link.other] for shingle in shingles[place])
            rows.append((ids[place], ids[first], order, size, *similar, begins, run + SHINGLE_WORDS - 1))
    schema = {name: kind for name, kind in FOUND_SCHEMA.items() if name != "shared_text"}
    return pl.DataFrame(rows, schema={**schema, "begins": pl.Int64(), "words": pl.Int64()}, orient="row")


def _ids(work: duckdb.DuckDBPyConnection, pairs: Iterable[tuple[int, int]]) -> dict[int, str]:
    places = sorted({place for pair in pairs for place in pair})
    wanted = "select place, pair_id from texts where place in (select unnest($places))"
    return dict(work.execute(wanted, {"places": places}).pl().iter_rows())


def _longest_run(flags: Iterable[bool]) -> tuple[int, int]:
    """Where the longest run of true ones begins, and how many they are."""
    best = (0, 0)
    begins = 0
    for place, flag in enumerate(flags, start=1):
        if not flag:
            begins = place
        elif place - begins > best[1]:
            best = (begins, place - begins)
    return best


def _with_shared_text(batches: Iterable[pl.DataFrame], found: pl.DataFrame) -> pl.DataFrame:
    """The rows with the longest run of words that both texts have."""
    shared = []
    for batch in batches:
        some = batch.join(found.select("pair_id", "begins", "words"), on="pair_id")
        run = words(some["text"]).alias("run").to_frame().with_columns(some["begins"], some["words"])
        text = run.select(pl.col("run").list.slice("begins", "words").list.join(" ")).to_series()
        shared.append(some.select("pair_id", shared_text=excerpts(text)))
    return found.join(pl.concat(shared), on="pair_id", maintain_order="left").select(FOUND_SCHEMA.names())
