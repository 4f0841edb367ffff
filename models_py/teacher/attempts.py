"""The tries of a pair that the ledger holds, read by the parser of today.

    0  missing_tag      1  ok      2  missing_tag      the second counts; nothing is asked, whoever asked for the third

Which tries were asked for depended on the parser of then. So replies are not found by following the path of tries
anew, which may lead where nobody went, but all of them are looked up; then the first that can be used counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import OpenTeacher, Try
from models_py.teacher.parser import ParsedReply, parse_reply
from models_py.teacher.request import PendingPair, TeacherReply, TeacherRequest

_LOOKUP_PAIRS = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try with its reply."""

    this_try: Try
    reply: TeacherReply
    parsed: ParsedReply

    @classmethod
    def of(cls, phase: str, this_try: Try, reply: TeacherReply) -> "Attempt":
        return cls(this_try, reply, parse_reply(phase, reply.reply, reply.finish_reason, reply.error))


def counting(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that count, in order, no two of one number: the last of them decides.

    That is the first that can be used. Where none can, it is the last before a number that is missing.
    """
    in_order = sorted(attempts, key=lambda one: (one.this_try.parse_attempt, one.this_try.raised))
    by_number = {one.this_try.parse_attempt: one for one in in_order}
    usable = next((one for one in in_order if one.parsed.status == "ok"), None)
    if usable is not None:
        number = usable.this_try.parse_attempt
        return [*(one for before, one in by_number.items() if before < number), usable]
    return [one for place, (number, one) in enumerate(by_number.items()) if number == place]


def stored_attempts(first: TeacherRequest, teacher: OpenTeacher, ledger: Ledger) -> list[Attempt]:
    """The counting attempts of the pair whose first request this is."""
    tries = {teacher.again(first, this_try).request_id: this_try for this_try in teacher.tries()}
    replies = ledger.replies(list(tries)).values()
    return counting(Attempt.of(first.phase, tries[one.request_id], one) for one in replies if one.error is None)


def request_ids(phase: str, pairs: Sequence[PendingPair], teacher: OpenTeacher) -> Iterator[str]:
    """Of every try that these pairs may get."""
    for place in range(len(pairs)):
        first = teacher.request(phase, pairs[place])
        yield from (teacher.again(first, this_try).request_id for this_try in teacher.tries())


def attempts_of_pairs(
    phase: str, pairs: Sequence[PendingPair], teacher: OpenTeacher, ledger: Ledger
) -> Iterator[tuple[int, list[Attempt]]]:
    """The place of every pair, with its counting attempts where it was asked about more than once, else with none.

    Of any other pair no more than its first request can be known.
    """
    for start in range(0, len(pairs), _LOOKUP_PAIRS):
        block = [pairs[place] for place in range(start, min(start + _LOOKUP_PAIRS, len(pairs)))]
        ids = [pair.content_id for pair in block]
        again = ledger.asked_again(teacher.engine.identity, phase, ids)
        for place, (pair, content_id) in enumerate(zip(block, ids, strict=True), start):
            first = teacher.request(phase, pair) if content_id in again else None
            yield place, stored_attempts(first, teacher, ledger) if first else []
