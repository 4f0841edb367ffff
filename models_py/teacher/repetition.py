"""When a text repeats itself, as small models do until their limit ends them:

    Be kind to others. Be honest with others. Be kind to others. Be honest with others. Be kind to others. Be ...

What counts are runs of 8 words, numbers among them, three of the words different ones. A text that its writer ended
repeats itself where nearly all of it stands in runs that come ten times; one that was cut, where its end does, in runs
that come five times. So lists, tables, poems with a refrain, code and text that counts are none: something in them
changes from line to line. Sequences without words (`0, 0, 0, ...`, `-----`) are none either, unless a text ends in
1,500 characters of them, cut off.

A line that was asked for a hundred times over looks the same, and is taken for a repetition.
"""

import re
from collections import Counter

_RUN = 8  # words
_DIFFERENT = 3  # of them, with a letter
_SHORTEST, _MOST = 120, 5000  # words: what is shorter says too little, of what is longer the end is looked at
_ENDED_TIMES, _ENDED_SHARE = 10, 0.8
_CUT_TIMES, _CUT_SHARE = 5, 0.9
_WORDLESS, _WORDLESS_TIMES = 1500, 20  # characters

# Scripts without spaces count by the character; the number of a line is no part of what it says.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
_LINE_NUMBER = re.compile(r"^\W*\d{1,4}[.):]\s", re.MULTILINE)


def repeats_itself(text: str, *, was_cut: bool) -> bool:
    """Whether a reply, or a text in it, repeats itself; was_cut: its limit ended it, or it is not ended yet."""
    words = _WORD.findall(_LINE_NUMBER.sub("\n", text).casefold())[-_MOST:]
    runs = list(zip(*(words[start:] for start in range(_RUN)), strict=False))
    if len(words) >= _SHORTEST:
        times, share = (_CUT_TIMES, _CUT_SHARE) if was_cut else (_ENDED_TIMES, _ENDED_SHARE)
        looked_at = runs[-_SHORTEST:] if was_cut else runs
        often = {run for run, count in Counter(runs).items() if count >= times and _says_something(run)}
        if sum(run in often for run in looked_at) >= share * len(looked_at):
            return True
    return was_cut and _ends_wordless(text)


def _says_something(run: tuple[str, ...]) -> bool:
    return len({word for word in run if not word.isdigit()}) >= _DIFFERENT


def _ends_wordless(text: str) -> bool:
    """Whether the end is one short sequence of characters, over and over."""
    end = text[-_WORDLESS:]
    sizes = range(1, _WORDLESS // _WORDLESS_TIMES + 1)
    return len(end) == _WORDLESS and any(end[size:] == end[:-size] for size in sizes)
