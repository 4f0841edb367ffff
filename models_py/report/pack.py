"""Rows as the page holds them: columns, repeated words once, compressed, in base64.

    packed({"ifd": [0.81, None]})       "H4sIA..."

What is packed is inert in HTML whatever it says: base64 has no `<`. Ratios have four decimals and perplexities five
digits, as they are shown; of a pair's id its beginning is kept.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from models_py.report.content import CANDIDATES, ID_CHARS, Content
from models_py.report.diversity import FIRST_WORDS, distinct_n, openings

_DECIMALS = 4
_DIGITS = 5  # of a perplexity
_PAIRS_A_BLOCK = 250
_MOST_OPENINGS = 12  # that are listed


def packed(value: object) -> str:
    """JSON, gzip, base64; the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def column(values: pl.Series) -> Any:
    """A list, or where few words repeat `{words, at}`: the words once and the place of each."""
    if values.dtype.is_float():
        finite = values.fill_nan(None)
        short = finite.round_sig_figs(_DIGITS) if values.name.startswith("ppl_") else finite.round(_DECIMALS)
        return short.to_list()
    if values.dtype == pl.String and values.n_unique() <= max(50, len(values) // 4):
        words = values.drop_nulls().unique().sort()
        place = {word: at for at, word in enumerate(words)}
        return {"words": words.to_list(), "at": [None if value is None else place[value] for value in values]}
    return values.to_list()


def columns(rows: pl.DataFrame) -> dict[str, Any]:
    """Each column of a frame by its name."""
    return {name: column(rows[name]) for name in rows.columns}


def statistics(content: Content) -> dict[str, Any]:
    """Every pair's statistics: of itself, of each pairing of teacher and student, and what each recipe made of it.

    Each column has the pairs' order. What a recipe keeps has the statistics of the candidate that it keeps, so these
    are there once.
    """
    order = content.pairs.select("pair_id")

    def aligned(rows: pl.DataFrame) -> dict[str, Any]:
        return columns(order.join(rows, on="pair_id", how="left", maintain_order="left").drop("pair_id"))

    pairings = []
    for teacher, student in content.pairings():
        of_it = {"teacher": teacher, "student": student}
        choices = content.choices.filter(**of_it).drop(*of_it)
        candidates = content.candidates.filter(**of_it).drop(*of_it)
        each = {name: aligned(candidates.filter(candidate=name).drop("candidate")) for name in CANDIDATES}
        pairings.append({**of_it, "columns": aligned(choices), "candidates": each})
    recipes = [
        {**recipe, "columns": aligned(content.decisions.filter(recipe=recipe["recipe"]).drop("recipe"))}
        for recipe in content.tables["recipes"].to_dicts()
    ]
    short = content.pairs.with_columns(pl.col("pair_id").str.head(ID_CHARS))
    return {"pairs": columns(short), "pairings": pairings, "recipes": recipes}


def text_blocks(content: Content, room: int) -> Iterator[tuple[int, str]]:
    """Blocks of pairs' texts, each with how many pairs it holds, in the pairs' order, as far as `room` bytes go."""
    ids: list[str] = content.pairs["pair_id"].to_list()
    for begin in range(0, len(ids), _PAIRS_A_BLOCK):
        texts = _texts(content, ids[begin : begin + _PAIRS_A_BLOCK])
        whole = len(texts)
        block = packed(texts)
        while texts and len(block) > room:
            texts = texts[: len(texts) // 2]
            block = packed(texts)
        if texts:
            yield len(texts), block
        if len(texts) < whole:
            return
        room -= len(block)


def _texts(content: Content, wanted: Sequence[str]) -> list[dict[str, Any]]:
    texts: dict[str, dict[str, Any]] = {
        pair_id: {"system": "", "history": [], "texts": [], "critiques": []} for pair_id in wanted
    }
    rows, critiques = content.texts(wanted)
    for row in rows:
        of_pair = texts[row["pair_id"]]
        of_pair["system"], of_pair["history"] = row["system"], json.loads(row["history"])
        of_pair["texts"].append({name: row[name] for name in row if name not in ("pair_id", "system", "history")})
    for row in critiques:
        texts[row["pair_id"]]["critiques"].append({name: row[name] for name in row if name != "pair_id"})
    return [texts[pair_id] for pair_id in wanted]


def diversity(content: Content) -> list[dict[str, Any]]:
    """Of each recipe: openings and distinct-n of answers before and after, on equally many."""
    found = []
    for (recipe,), answers in content.answers.group_by("recipe", maintain_order=True):
        sides = {side: answers.filter(side=side)["output"].to_list() for side in ("before", "after")}
        distinct = [{"n": n, **{side: distinct_n(texts, n) for side, texts in sides.items()}} for n in (1, 2, 3)]
        repeated = {side: openings(texts) for side, texts in sides.items()}
        shown = {side: {"most": begun[:_MOST_OPENINGS], "all": len(begun)} for side, begun in repeated.items()}
        counts = {"answers": len(sides["after"]), "words": FIRST_WORDS}
        found.append({"recipe": recipe, **counts, "distinct": distinct, "openings": shown})
    return found
