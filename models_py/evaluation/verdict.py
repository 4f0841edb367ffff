r"""From a judge's reply to two scores, or to the reason why it has none; never raises, never guesses.

    8 7\nThe first names all three causes ...                    score_1=8.0, score_2=7.0
    **Scores:** Answer 1: 8/10, Answer 2: 7/10\n ...             the same
    Both are good.                                               unreadable: no line holds two scores

Reasoning before the reply and tokens around it are no part of it (teacher/reply_text.py). The scores stand on the first
line that is made of nothing but names of answers, numbers and the few words that go with them, whatever stands between:
`8.5, 7`, `[8] vs. [7]`, `Answer 2: 7 - Answer 1: 8`, `{"score_1": 8, "score_2": 7}`, `8 for the first ...`;
or on two such lines, one an answer. Where a whole line is not, its first sentence may be. Without any in the whole
reply, it is the first line in front of which they stand, `8 7 The first names ...`; without that, the first that speaks
of scores and holds two numbers: `I would rate the answers 8 and 7, since ...`.

What names an answer (`answer 1`, `Assistant B`, `1 and 2`, `2 > 1`), and what scores are out of (`/10`, `on a scale of
1 to 10`), are no scores. Unreadable, and no tie, is a score that does not lie from 1 to 10, a third number, a line from
which it does not show whose score is whose, and a reply that was cut before the line of scores ended.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from models_py.teacher.reply_text import how_it_ended, reply_text

PARSER_VERSION = "2"  # raise it when a reply is read differently: stored replies are then read again, nobody is asked
LOWEST, HIGHEST = 1.0, 10.0

Status = Literal["ok", "unreadable", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two scores from 1 to 10 where status is ok, else none and a reason. failed: no reply arrived."""

    status: Status
    score_1: float | None = None
    score_2: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """What a line is made of, in order: `1` and `2` for the names of the answers, floats for numbers.

    is_bare: nothing else stands in it but words that go with scores. speaks: it speaks of scores.
    """

    parts: tuple[Literal["1", "2"] | float, ...]
    is_bare: bool
    speaks: bool
    both: bool

    @property
    def numbers(self) -> list[float]:
        return [part for part in self.parts if isinstance(part, float)]

    @property
    def names(self) -> list[str]:
        return [part for part in self.parts if isinstance(part, str)]


Scores = tuple[float, float]

_LINES_READ, _CHARS_READ = 12, 400  # scores come first: what stands further down is the explanation
_SIDE = r"(?:answer|response|assistant|model|candidate|reply|output|option|ai[ ]assistant|ai)s?"
_TOKEN = re.compile(
    rf"""
    \b{_SIDE}[ _'"]*(?:\#|no\.?[ ]?|number[ ])?(?P<named>[12]|[AB]|one|two)\b(?:['’]s\b)?
    | \bscore[ _]?(?P<numbered>[12AB])\b
    | \b(?P<ordinal>first|second|1st|2nd)\b(?:[ ]{_SIDE})?(?:['’]s\b)?
    | (?<![\w.,])(?P<bare>[12AB])[ ]?[:=](?=[ ]?\d)
    | (?P<number>(?:(?<![^\s(\[|])[-−](?=\d))?\d+(?:[.,]\d+)?)
    | (?P<word>[^\W\d_]+)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OUT_OF = re.compile(r"\s*(?:/|\b(?:out\s)?of\b)\s*(?:10|ten)\b(?:\.0+)?|(?<=\d)\s*points?\b", re.IGNORECASE)
_SCALE = re.compile(
    r"(?:\b(?:on a scale )?(?:from|of|between)\s+|\(|\bscale:?\s*)1\s*(?:to|and|-|–)\s*10\b\)?", re.IGNORECASE
)
# `1 and 2`, `2 > 1`: which answers, or which is better. Two scores are seldom just these, and never surely.
_BOTH_SIDES = re.compile(
    r"(?<![\w.,/−-])([12]|one|two)\b[\s\])]*(?:\b(?:and|or|to|vs\.?|versus)(?!\w)|[&<>]+)[\s\[(]*"
    r"([12]|one|two)\b(?![.,]?\d|\s*/)",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[*`#$]+|\\boxed|\\text|</?[a-z][^<>]{0,30}>|(?<!\w)_+|_+(?!\w)", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"(?<=[\w)])[.;!](?=\s)|\s[-–—]+\s(?=\D)|\s\((?=\D)|:\s(?=[^\W\d_]+\s[^\W\d_]+\s)"
    r"|,\s(?=(?:since|because|as|but|where)\b)|\s(?=(?:since|because)\b)"
)
_SPEAKS = {
    "score",
    "scores",
    "scored",
    "rate",
    "rates",
    "rated",
    "rating",
    "ratings",
    "mark",
    "marks",
    "grade",
    "grades",
}
_GOES_WITH_SCORES = {
    *_SPEAKS,
    *(
        "a",
        "an",
        "the",
        "and",
        "to",
        "vs",
        "versus",
        "while",
        "whereas",
        "with",
        "for",
        "of",
        "at",
        "out",
        "respectively",
    ),
    *("is", "are", "has", "have", "get", "gets", "give", "given", "receive", "receives", "received", "earn", "earns"),
    *("assign", "assigned", "i", "me", "my", "it", "its", "them", "both", "here", "as", "follows", "points"),
    *("answer", "answers", "assistants", "responses", "overall", "final", "total", "result", "results"),
    *("verdict", "judgment", "judgement", "evaluation"),
}
_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SPELLED = {word: float(n) for n, word in enumerate(_DIGITS, 1)}
_DECLINES = re.compile(
    r"\bI(?:'m| am) (?:sorry|unable|not able)|\bI (?:cannot|can['’]?t|won['’]t|will not)", re.IGNORECASE
)


def read_verdict(reply: str | None, finish_reason: str | None, error: str | None = None) -> Verdict:
    """The scores in a reply. finish_reason as the server spells it; error: why no reply arrived."""
    ending = how_it_ended(finish_reason)
    if error is not None and ending != "content_filter":
        return Verdict("failed", reason=error)
    read = "the server's content filter ended it" if ending == "content_filter" else _read(reply or "", ending)
    return Verdict("unreadable", reason=read) if isinstance(read, str) else Verdict("ok", *read)


def _read(reply: str, ending: str | None) -> Scores | str:
    """The scores, or why there are none."""
    text = reply_text(reply, lambda _: ([], []))
    said = [line for line in map(_without_marks, text.splitlines()) if any(map(str.isalnum, line))][:_LINES_READ]
    if not said:
        return "it holds nothing but reasoning" if reply.strip() else "it is empty"
    found = _scores(said)
    if found is None:
        return _why_without_scores(said, ending)
    last_line, scores = found
    if ending == "length" and last_line == len(said) - 1 and not reply.endswith("\n"):
        return "it was cut at its token limit before the line of scores ended"
    outside = [f"{score:g}" for score in scores if not LOWEST <= score <= HIGHEST]
    return f"{' and '.join(outside)} is no score from 1 to 10" if outside else scores


def _why_without_scores(said: Sequence[str], ending: str | None) -> str:
    if ending == "length":
        return "it was cut at its token limit before the scores"
    if _DECLINES.search(" ".join(said[:3])):
        return "the judge declines"
    return f"no line holds two scores: {said[0][:80]!r}"


def _scores(said: Sequence[str]) -> tuple[int, Scores] | None:
    """The line with which the scores end, and the scores."""
    said = [_BOTH_SIDES.sub(r"answer \1 answer \2", text) for text in said]
    lines = [_line(text) for text in said]
    heads = [_line(_SENTENCE_END.split(text, maxsplit=1)[0]) for text in said]
    pairs = [*pairwise(lines), (lines[-1], None)]
    for place, ((line, following), head) in enumerate(zip(pairs, heads, strict=True)):
        if following is not None and (scores := _of_two_lines(line, following)):
            return place + 1, scores
        for one in (line, head):
            if one.is_bare and (scores := _of_one_line(one)):
                return place, scores
    for place, text in enumerate(said):
        if scores := _in_front(text):
            return place, scores
    for place, (line, head) in enumerate(zip(lines, heads, strict=True)):
        for one in (line, head):
            if one.speaks and (scores := _of_one_line(one)):
                return place, scores
    return None


def _line(text: str) -> _Line:
    parts: list[Literal["1", "2"] | float] = []
    words = []
    without_scale = _SCALE.sub(" ", text)
    text = _OUT_OF.sub("", without_scale if any(map(str.isdigit, without_scale)) else text)
    for token in _TOKEN.finditer(text):
        name = token["named"] or token["numbered"] or token["ordinal"] or token["bare"]
        if name:
            parts.append("1" if name.lower() in ("1", "a", "one", "first", "1st") else "2")
        elif token["number"]:
            parts.append(float(token["number"].replace(",", ".").replace("−", "-")))
        else:
            words.append(token["word"].lower())
    numbers = [part for part in parts if isinstance(part, float)]
    if not numbers:
        parts += [_SPELLED[word] for word in words if word in _SPELLED]
        words = [word for word in words if word not in _SPELLED]
    elif len(numbers) == 1 and (both := re.search(r"\b(\d{1,2}),(\d{1,2})\b", text)):  # 8,7: no judge gives one score
        place = parts.index(numbers[0])
        parts[place : place + 1] = [float(both[1]), float(both[2])]
    return _Line(
        tuple(parts),
        is_bare=all(word in _GOES_WITH_SCORES for word in words),
        speaks=not _SPEAKS.isdisjoint(words),
        both="both" in words,
    )


def _of_one_line(line: _Line) -> Scores | None:
    names, numbers = line.names, line.numbers
    if len(numbers) == 1 and line.both and not names:
        return numbers[0], numbers[0]
    if len(numbers) != 2:
        return None
    one, two = numbers
    alternate = all(isinstance(a, str) != isinstance(b, str) for a, b in pairwise(line.parts))
    match names:
        case []:
            return one, two
        case ["1", "2"]:
            return one, two
        case ["2", "1"] if alternate:  # else it does not show whether the numbers follow that order
            return two, one
    return None


def _of_two_lines(line: _Line, following: _Line) -> Scores | None:
    """One score a line: each names its answer, or the lines are rows `1 | 8` and `2 | 7`, or bare numbers."""
    if not (line.is_bare and following.is_bare):
        return None
    match line.names, following.names, line.numbers, following.numbers:
        case ["1"], ["2"], [one], [two]:
            return one, two
        case ["2"], ["1"], [two], [one]:
            return one, two
        case [], [], [1.0, one], [2.0, two]:
            return one, two
        case [], [], [one], [two] if not (line.both or following.both):
            return one, two
    return None


_FRONT = re.compile(
    r"^\W*(?P<one>\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?(?P<between>\s*[,;|&/–—-]\s*|\s+(?:and|vs\.?|to)\s+|\s+)"
    r"(?P<two>\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?(?:\s+|[.,:;)]\s+|\s*[-–—(]+\s*)(?P<letter>[^\W\d_])"
)


def _in_front(text: str) -> Scores | None:
    """Two numbers with which a line begins that goes on as a sentence: `8 7 The first answer is ...`.

    With something between them they may be part of the sentence, unless that begins with a capital letter behind them:
    `2 to 3 sentences were asked for`, `3/4 of it is wrong`.
    """
    found = _FRONT.match(text)
    if found is None or (found["between"].strip() and found["letter"].islower()):
        return None
    return float(found["one"]), float(found["two"])


def _without_marks(line: str) -> str:
    """A line without marks of emphasis, in plain punctuation."""
    for wide, plain in (("\u00a0", " "), ("：", ":"), ("，", ", "), ("／", "/"), ("；", ";")):
        line = line.replace(wide, plain)
    return _MARKS.sub(" ", line[:_CHARS_READ]).strip()
