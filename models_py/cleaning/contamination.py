"""Which texts hold a copy of what an evaluation asks, found by runs of words, with the evidence.

    looked_for = LookedFor.of(read_evaluation_texts(files))
    looked_for.copies_in(frame of content_id, field, text)      # FOUND_SCHEMA: which item, how much of it, which words

An evaluation text of 13 words or more is found by any 13 of its words in a row (as many as its file says), so that a
word changed in its midst leaves a run on either side; the share of it that such runs cover is told. A shorter one is
found as a whole: of 8 words or more anywhere, of fewer (but 4 words and 18 letters at least) where a sentence, a line
or the field begins with it and ends behind it. Of what stands beside a question (an answer, a choice) half must be
covered, and the short ones do not count: everybody writes such phrases.

A run of words that more than ten texts of one file have is its form, not its content, and is not looked for. What is
said in other words is not found, nor what is translated.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from models_py.cleaning.words import Hashes, Places, Words, excerpts, words
from models_py.progress import OnProgress, Progress, silent

FOUND_SCHEMA = pl.Schema(
    {
        "content_id": pl.String(),
        "field": pl.String(),
        "evaluation": pl.String(),
        "file": pl.String(),
        "item_row": pl.Int64(),
        "item_field": pl.String(),
        "share_covered": pl.Float64(),
        "words_covered": pl.Int64(),
        "item_words": pl.Int64(),
        "shared_text": pl.String(),
    }
)
_CANDIDATE = ("content_id", "system", "history", "instruction", "input", "output")
_COVERED = pl.Schema(
    {
        "text": pl.Int64(),
        "item": pl.Int64(),
        "words_covered": pl.Int64(),
        "begins": pl.Int64(),
        "run_words": pl.Int64(),
    }
)
_WHOLE_TURN = "instruction + input"
_ANYWHERE_WORDS, _FEWEST_WORDS, _FEWEST_LETTERS = 8, 4, 18
_SHARE_OF_NOT_ASKED = 0.5
_MOST_TEXTS = 10  # of a file that have a run of words; with more it is a form
_FILTER_TIMES = 16  # places of the filter a run that is looked for


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of one length. filter: by the highest bits of a hash, whether it may be one of them."""

    shift: np.uint64
    filter: npt.NDArray[np.bool_]
    found_by: pl.DataFrame  # hash, item, position

    @classmethod
    def of(cls, found_by: pl.DataFrame) -> "_Runs":
        bits = max(1, (found_by.height * _FILTER_TIMES).bit_length())
        seen = np.zeros(1 << bits, dtype=bool)
        shift = np.uint64(64 - bits)
        seen[found_by["hash"].to_numpy() >> shift] = True
        return cls(shift, seen, found_by)

    def among(self, hashes: Hashes) -> Places:
        """Where a hash stands that may be one of them."""
        (places,) = np.nonzero(self.filter[hashes >> self.shift])
        return places


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of one evaluation is looked for: what is asked in `rows_looked_for` of its `rows`; the others are too short.

    forms: runs of words that are passed over, for too many of its texts have them.
    """

    evaluation: str
    rows: int
    rows_looked_for: int
    forms: int


@dataclass(frozen=True, slots=True)
class LookedFor:
    """What is looked for: `items`, a row each, and the runs of words that find them, by length."""

    items: pl.DataFrame
    runs: dict[int, _Runs]
    coverage: tuple[Coverage, ...]

    @classmethod
    def of(cls, texts: pl.DataFrame) -> "LookedFor":
        """texts: as read_evaluation_texts gives them."""
        texts = texts.with_columns(words=words(texts["text"])).with_columns(
            item_words=pl.col("words").list.len().cast(pl.Int64), key=pl.col("words").list.join(" ")
        )
        is_short = pl.col("item_words") < pl.col("run_words")
        letters = pl.col("key").str.replace_all(" ", "", literal=True).str.len_chars()
        is_enough = (pl.col("item_words") >= _ANYWHERE_WORDS) | (
            (pl.col("item_words") >= _FEWEST_WORDS) & (letters >= _FEWEST_LETTERS)
        )
        texts = texts.with_columns(
            is_asked=pl.col("is_asked").any().over("evaluation", "key"),
            length=pl.min_horizontal("item_words", "run_words"),
            needs_edges=is_short & (pl.col("item_words") < _ANYWHERE_WORDS),
        ).with_columns(is_looked_for=~is_short | (pl.col("is_asked") & is_enough))
        items = (
            texts.filter("is_looked_for")
            .unique(["evaluation", "key"], keep="first", maintain_order=True)
            .drop("key", "is_looked_for", "run_words")
            .with_row_index("item")
            .with_columns(pl.col("item").cast(pl.Int64))
        )
        grams = _grams(items)
        common = grams.group_by("evaluation", "hash").agg(n=pl.col("item").n_unique()).filter(pl.col("n") > _MOST_TEXTS)
        kept = grams.join(common, on=["evaluation", "hash"], how="anti")
        coverage = tuple(
            Coverage(name, rows, sought, common.filter(pl.col("evaluation") == name).height)
            for name, rows, sought in texts.group_by("evaluation", maintain_order=True)
            .agg(
                rows=pl.struct("file", "item_row").n_unique(),
                looked_for=pl.struct("file", "item_row")
                .filter(pl.col("is_asked") & pl.col("is_looked_for"))
                .n_unique(),
            )
            .iter_rows()
        )
        runs = {
            int(length): _Runs.of(of_length.select("hash", "item", "position"))
            for (length,), of_length in kept.partition_by("length", as_dict=True).items()
        }
        return cls(items.drop("text"), runs, coverage)

    def copies_in(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Which items stand in which of the texts: one row a (content_id, field, item), as FOUND_SCHEMA has it.

        texts: content_id, field, text.
        """
        told = Words.of(texts["text"])
        hits = [self._hits(told, length, places, run) for length, places, run in told.runs([*self.runs])]
        covered = _covered(pl.concat(hits)) if hits else pl.DataFrame(schema=_COVERED)
        by_text = texts.select("content_id", "field").with_row_index("text").with_columns(pl.col("text").cast(pl.Int64))
        found = (
            covered.join(self.items, on="item")
            .join(by_text, on="text")
            .with_columns(
                share_covered=pl.col("words_covered") / pl.col("item_words"),
                shared_text=pl.col("words").list.slice("begins", "run_words").list.join(" "),
            )
            .filter(pl.col("is_asked") | (pl.col("share_covered") >= _SHARE_OF_NOT_ASKED))
            .sort("text", "item")
        )
        return _without_repeated(found.with_columns(excerpts(found["shared_text"])).select(FOUND_SCHEMA.names()))

    def told(self) -> list[str]:
        """What of the evaluation files is not looked for, a sentence each; nothing where that is nothing."""
        short = (
            f"{of.evaluation}: {of.rows - of.rows_looked_for:,} of {of.rows:,} rows ask in too few words "
            f"(fewer than {_FEWEST_WORDS}, or {_FEWEST_LETTERS} letters) and are not looked for"
            for of in self.coverage
            if of.rows_looked_for < of.rows
        )
        forms = (
            f"{of.evaluation}: {of.forms:,} runs of words stand in more than {_MOST_TEXTS} of its texts and are taken "
            "for their form: they are not looked for"
            for of in self.coverage
            if of.forms
        )
        return [*short, *forms]

    def _hits(self, told: Words, length: int, places: Places, run: Hashes) -> pl.DataFrame:
        """Where a run of that length is one of those that are looked for."""
        runs = self.runs[length]
        some = runs.among(run)
        at = places[some]
        has_edges = told.begins[at] & told.ends[at + length - 1]
        hits = pl.DataFrame({"text": told.text[at], "hash": run[some], "has_edges": has_edges})
        return (
            hits.join(runs.found_by, on="hash")
            .join(self.items.select("item", "needs_edges"), on="item")
            .filter(pl.col("has_edges") | ~pl.col("needs_edges"))
            .select("text", "item", "position", length=pl.lit(length, dtype=pl.Int64))
        )


def _grams(items: pl.DataFrame) -> pl.DataFrame:
    """The runs of words that find each item: evaluation, item, length, position in the item, hash."""
    told = Words.of(items["text"])
    first = np.searchsorted(told.text, np.arange(items.height))
    lengths = items["length"].to_numpy()
    frames = [pl.DataFrame(schema={"item": pl.Int64, "length": pl.Int64, "position": pl.Int64, "hash": pl.UInt64})]
    for length, places, run in told.runs(sorted({*lengths.tolist()})):
        item = told.text[places]
        frame = pl.DataFrame({"item": item, "position": places - first[item], "hash": run})
        frame = frame.filter(lengths[item] == length)
        frames.append(frame.select("item", pl.lit(length, dtype=pl.Int64).alias("length"), "position", "hash"))
    return pl.concat(frames).join(items.select("item", "evaluation"), on="item")


def _covered(hits: pl.DataFrame) -> pl.DataFrame:
    """Of each text and item how many words of the item are covered, and where its longest run stands (_COVERED)."""
    of = ["text", "item"]
    stepped = hits.unique().sort(*of, "position").with_columns(step=pl.col("position").diff().over(of))
    runs = stepped.with_columns(run=(pl.col("step") > 1).fill_null(value=False).cum_sum().over(of))
    longest = (
        runs.group_by(*of, "run")
        .agg(begins=pl.col("position").first(), run_words=pl.len().cast(pl.Int64) + pl.col("length").first() - 1)
        .sort(*of, "run_words", "run", descending=[False, False, True, False])
        .unique(of, keep="first", maintain_order=True)
    )
    adds = pl.min_horizontal(pl.col("step").fill_null(pl.col("length")), "length")
    return longest.join(stepped.group_by(of).agg(words_covered=adds.sum()), on=of).select(_COVERED.names())


def copies_in_all(
    batches: Iterable[pl.DataFrame],
    looked_for: LookedFor,
    *,
    total: int | None = None,
    on_progress: OnProgress = silent,
) -> pl.DataFrame:
    """As `LookedFor.copies_in`, of candidates in frames, each text looked at once; in an order of its own.

    total: of the texts, where it is known.
    """
    seen: set[str] = set()
    found = [pl.DataFrame(schema=FOUND_SCHEMA)]
    for batch in batches:
        fresh = batch.filter(~batch["content_id"].is_in([*seen.intersection(batch["content_id"])])).unique("content_id")
        seen.update(fresh["content_id"])
        found.append(looked_for.copies_in(fields_of(fresh)))
        on_progress(Progress(len(seen), total, "texts"))
    return pl.concat(found).sort(FOUND_SCHEMA.names()[:6])


def fields_of(candidates: pl.DataFrame) -> pl.DataFrame:
    """The texts of candidates, each to be looked through by itself: content_id, field, text.

    A turn of the history is `history[0]`. Instruction and input, where there is one, are also one text: a question may
    go on from one to the other.
    """
    rows: list[tuple[str, str, str]] = []
    for content_id, system, history, instruction, given, output in candidates.select(_CANDIDATE).iter_rows():
        fields = {"system": system, "instruction": instruction, "input": given, "output": output}
        if history not in (None, "[]"):
            fields |= {f"history[{place}]": turn["content"] for place, turn in enumerate(json.loads(history))}
        if given:
            fields[_WHOLE_TURN] = f"{instruction}\n{given}"
        rows += [(content_id, field, text) for field, text in fields.items() if text]
    return pl.DataFrame(rows, schema={"content_id": pl.String, "field": pl.String, "text": pl.String}, orient="row")


def _without_repeated(found: pl.DataFrame) -> pl.DataFrame:
    """Without what instruction and input together say no more of than one of them alone."""
    is_both = pl.col("field") == _WHOLE_TURN
    alone = pl.when(~is_both & pl.col("field").is_in(["instruction", "input"])).then("share_covered")
    item = ["content_id", "evaluation", "file", "item_row", "item_field"]
    return found.filter(~is_both | (pl.col("share_covered") > alone.max().over(item).fill_null(0.0)))
