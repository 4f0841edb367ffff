"""Texts as cleaning compares them: runs of words, folded until only what is said is left.

    words(pl.Series(["Don’t pay 1,000  ＄!"]))      # [["dont", "pay", "1000"]]
    Words.of(pl.Series([...])).runs([13])           # the hashes of all 13 words in a row

Folded are case, Unicode forms (full width, ligatures), accents, invisible characters, apostrophes and what parts
thousands; a sign that reckons between two numbers is a word (12*34: 12 times 34); all else that is no letter and no
digit only parts words. Of scripts that put no spaces between words (Chinese, Japanese, Thai, Khmer, Lao, Burmese) each
character is a word. Nothing is stemmed: another word is another word.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]+"
_DROPPED = r"[\p{Mn}\p{Cf}'’‘ʼ]"  # accents, characters that nobody sees, apostrophes
_THOUSANDS = r"(\d)[,.]((?:\d{3})+)\b"
_IN_NUMBER = r"(\d)[,.:](\d)"  # which ends no sentence
_SPELLED = {
    **dict.fromkeys("+", "plus"),
    **dict.fromkeys("-−–", "minus"),
    **dict.fromkeys("*×·⋅∙", "times"),
    **dict.fromkeys("/÷⁄∕", "by"),
    **dict.fromkeys("^", "power"),
    **dict.fromkeys("%", "modulo"),
    **dict.fromkeys("=", "equals"),
    **dict.fromkeys("<", "below"),
    **dict.fromkeys(">", "above"),
}
_SIGN = f"[{re.escape(''.join(_SPELLED))}]"
_RECKONS = rf"\d\s*{_SIGN}\s*\d"
_RECKONING = re.compile(rf"(?<=\d)\s*({_SIGN})\s*(?=\d)")
_EDGE = "\n"  # stands for all that ends a sentence, a line, a quotation, a cell
_EDGES = r"""[.?!:;"“”„«»()\[\]{}|<>*#•\r\n。！？：；।؟]+"""
_SHOWN_CHARACTERS = 300
_BASE = np.uint64(0x9E3779B97F4A7C15)


def words(texts: pl.Series) -> pl.Series:
    """Of each text its words, folded, as a list."""
    return _folded(texts).str.extract_all(_WORD)


def excerpts(texts: pl.Series) -> pl.Series:
    """The texts, cut where they are too long for a cell of a table."""
    cut = pl.col(texts.name).str.slice(0, _SHOWN_CHARACTERS - 1) + "…"
    is_long = pl.col(texts.name).str.len_chars() > _SHOWN_CHARACTERS
    return texts.to_frame().select(pl.when(is_long).then(cut).otherwise(pl.col(texts.name))).to_series()


def _folded(texts: pl.Series) -> pl.Series:
    # Upper and then lower case is what case folding means: ß is ss, and one sigma is the other.
    folded = texts.str.normalize("NFKD").str.to_uppercase().str.to_lowercase().str.replace_all(_DROPPED, "")
    for pattern, inside in ((_THOUSANDS, "${1}${2}"), (_IN_NUMBER, "${1} ${2}")):
        for _ in range(2):  # the digit behind one separator stands before the next
            folded = folded.str.replace_all(pattern, inside)
    reckons = folded.str.contains(_RECKONS)
    spelled = [_RECKONING.sub(lambda sign: f" {_SPELLED[sign[1]]} ", text) for text in folded.filter(reckons)]
    return folded.scatter(reckons.arg_true(), spelled) if spelled else folded


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, one behind the other, all arrays of one length.

    text: which text a word is of. begins, ends: whether a sentence, a line or the text begins with it, ends behind it.
    """

    hashes: Hashes
    text: Places
    begins: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, texts: pl.Series) -> "Words":
        lists = _folded(texts).str.replace_all(_EDGES, _EDGE).str.extract_all(rf"{_WORD}|{_EDGE}")
        tokens = lists.explode(empty_as_null=False)
        is_word = (tokens != _EDGE).to_numpy()
        text = np.repeat(np.arange(len(lists), dtype=np.int64), lists.list.len().to_numpy())
        (place,) = np.nonzero(is_word)
        new = np.ones(len(tokens) + 1, dtype=bool)  # whether a text begins with that token
        new[1:-1] = text[1:] != text[:-1]
        after_edge = np.concatenate([[True], ~is_word])[:-1]
        before_edge = np.concatenate([~is_word, [True]])[1:]
        begins, ends = new[:-1] | after_edge, new[1:] | before_edge
        return cls(tokens.hash().to_numpy()[place], text[place], begins[place], ends[place])

    def runs(self, lengths: Sequence[int]) -> Iterator[tuple[int, Places, Hashes]]:
        """Of each length, ascending: where a run of so many words of one text begins, and the hash of that run."""
        run = np.zeros(0, dtype=np.uint64)
        for length in range(1, max(lengths, default=0) + 1):
            count = len(self.hashes) - length + 1
            if count <= 0:
                return
            added = self.hashes[length - 1 :]
            run = run[:count] * _BASE + added if length > 1 else added  # wraps round: a polynomial modulo 2^64
            if length in lengths:
                (places,) = np.nonzero(self.text[:count] == self.text[length - 1 :])
                yield length, places, run[places]
