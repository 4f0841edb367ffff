"""Why replies of a teacher cannot be used, in groups: how many pairs, and in whose words.

    28 failed: status 500: upstream is away          2 missing_tag: the tagged texts are absent or unclosed

What differs only in numbers and ids is one reason; the first that was met stands for it. It reads the ledger, no lake.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from models_py.teacher.engines.base import profile_key
from models_py.teacher.ledger import Ledger
from models_py.teacher.spec import EngineSettings, RecordedSettings

_AT_ONCE = 1000
_SHOWN = 5  # reasons
_ID = re.compile(r"\b(?=\w*\d)\w{8,}\b|\d[\d.,]*")  # a request's id, a time, a count of tokens

# What a status says where no server said anything.
_WORDS = {
    "truncated": "the reply stopped at its token limit, with twice the limit too",
    "missing_tag": "the tagged texts are absent, unclosed or ambiguous",
    "placeholder": "the tagged texts repeat the words of the format",
    "repetitive": "the reply says the same over and over",
    "empty": "nothing visible came",
    "refused": "the teacher or its filter declined",
    "failed": "no reply came",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the replies about so many pairs cannot be used. words: the server's where it said why."""

    status: str
    pairs: int
    words: str

    def __str__(self) -> str:
        return f"{self.pairs:,} {self.status}: {self.words}"


def reasons(unusable: Iterable[tuple[str, str]], ledger: Ledger) -> list[Reason]:
    """The reasons of some pairs' outcomes (status, request id), the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    words: dict[tuple[str, str], str] = {}
    outcomes = iter(unusable)
    while some := list(islice(outcomes, _AT_ONCE)):
        replies = ledger.replies([request_id for _, request_id in some])
        for status, request_id in some:
            reply = replies.get(request_id)
            said = reply.error if reply and reply.error else _WORDS.get(status, status)
            group = (status, _ID.sub("#", said))
            counts[group] += 1
            words.setdefault(group, said)
    return [Reason(group[0], pairs, words[group]) for group, pairs in counts.most_common()]


def in_lines(found: Sequence[Reason]) -> list[str]:
    """The reasons for people, no more than they read."""
    rest = sum(one.pairs for one in found[_SHOWN:])
    return [*map(str, found[:_SHOWN]), *([f"{rest:,} for {len(found) - _SHOWN:,} other reasons"] if rest else [])]


def remedy(name: str, settings: EngineSettings, found: Sequence[Reason]) -> str:
    """What to do about a teacher of which no reply can be used."""
    most, where = found[0].status if found else "failed", profile_key(name)
    if most == "truncated":
        limit = settings.sampling.max_tokens
        return f"Raise {where}.sampling.max_tokens ({limit:,}); what a model reasons counts, too."
    if most == "refused":
        return f"Name another model under {where}, or your own words under {where}.prompts."
    if most == "repetitive":
        return (
            f"Name a larger model under {where}, simpler words ({where}.prompts.variant: plain), or a "
            f"warmer {where}.sampling.temperature: small models say the same over and over."
        )
    if most != "failed":
        query = f"select reply from reflection.teacher_replies where teacher = '{name}' and status = '{most}' limit 3"
        return (
            f'Look at the replies (make sql Q="{query}"): a model that keeps to the format is needed, or your own '
            f"words under {where}.prompts."
        )
    if isinstance(settings, RecordedSettings):
        return f"Record replies to these pairs, or correct {where}.replies."
    return f"Correct {where} in the profile, or mend the server, and run again."
