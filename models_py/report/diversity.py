"""How much a set of texts repeats itself: openings that come again, distinct-n.

    openings(["Sure, here is a list.", "Sure, here is one.", "No."])    [("sure, here is", 2)]
    distinct_n(["a b a b"], 2)                                          2 / 3: of (a b), (b a), (a b)

distinct-n falls as words are added: only sets of equally many texts are compared, and of each text its first words, so
that no huge one decides it for all.
"""

from collections import Counter
from collections.abc import Sequence

FIRST_WORDS = 100  # of a text, that distinct-n looks at
_WORDS = 3  # of an opening


def openings(texts: Sequence[str]) -> list[tuple[str, int]]:
    """The beginnings that more than one text has, the most frequent first."""
    begun = Counter(" ".join(split[:_WORDS]) for text in texts if len(split := text.lower().split()) >= _WORDS)
    repeated = [one for one in begun.items() if one[1] > 1]
    return sorted(repeated, key=lambda one: (-one[1], one[0]))


def distinct_n(texts: Sequence[str], n: int) -> float | None:
    """Different runs of n words / all runs of n words, in the texts' beginnings, 0 to 1; None where there is none."""
    seen: set[tuple[str, ...]] = set()
    runs = 0
    for text in texts:
        words = text.lower().split()[:FIRST_WORDS]
        found = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
        seen.update(found)
        runs += len(found)
    return len(seen) / runs if runs else None
