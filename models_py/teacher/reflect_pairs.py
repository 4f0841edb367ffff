"""One phase of reflection over many pairs: request, reply, parse; what comes out is a row of the lake but for its keys.

instruction_reflection  (x, y) -> a new instruction and its answer; an input is folded into the instruction
response_reflection     (x, y) -> a better answer to the same x

With plain words the first is two requests: the new instruction of every pair, then the answers to those.

A reply that cannot be used is asked again with a changed sampling (`OpenTeacher.next_try`, ask_in_rounds.py). A run
that was killed finds its way back through the ledger, and so does one with another parser (attempts.py): a stored reply
that it can use is used, and nobody is asked for more tries than there may be.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from models_py.content import content_id
from models_py.progress import OnProgress, silent
from models_py.teacher.ask_in_rounds import ask_in_rounds, next_try
from models_py.teacher.attempts import Attempt, attempts_of_pairs, request_ids, stored_attempts
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import Account
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher, Try
from models_py.teacher.request import INSTRUCTION_REFLECTION, NEW_INSTRUCTION, PendingPair, TeacherReply, TeacherRequest


@dataclass(frozen=True, slots=True)
class Reflection:
    """The outcome for one pair. `pair` is what was given, untouched; texts and `content_id` are None unless ok."""

    pair: PendingPair
    request_id: str
    status: str
    critique: str | None
    content_id: str | None  # of the pair as rewritten
    instruction: str | None  # None in the response phase: the instruction stays
    output: str | None


def reflect_pairs(
    phase: str,
    pairs: Sequence[PendingPair],
    teacher: OpenTeacher,
    ledger: Ledger,
    *,
    account: Account | None = None,
    on_progress: OnProgress = silent,
) -> Generator[Reflection, None, None]:
    """The reflection of every pair, as replies come.

    A pair whose requests were left unanswered (a stop, a budget) has none; the next run goes on with it.
    """
    first, *second = teacher.requests(phase)
    rewritten: list[Reflection] = []
    for reflection in _asked_for(first, pairs, teacher, ledger, account=account, on_progress=on_progress):
        if second and reflection.status == "ok":
            rewritten.append(reflection)
        else:
            yield reflection
    for name in second if rewritten and not (account and account.reached) else ():
        of_pair = {one.pair.pair_id: one for one in rewritten}
        shown = [shown_alone(one.pair, str(one.instruction)) for one in rewritten]
        for answer in _asked_for(name, shown, teacher, ledger, account=account, on_progress=on_progress):
            before = of_pair[answer.pair.pair_id]
            instruction = before.instruction if answer.status == "ok" else None
            yield replace(answer, pair=before.pair, instruction=instruction)


def shown_alone(pair: PendingPair, instruction: str) -> PendingPair:
    """What the second of two requests shows: the new instruction of a pair, which has no answer yet."""
    return replace(pair, instruction=instruction, input="", output="")


def with_new_instructions(pairs: Sequence[PendingPair], teacher: OpenTeacher, ledger: Ledger) -> list[PendingPair]:
    """What the second of two requests shows of those pairs whose new instruction the ledger holds."""
    shown = []
    for pair in pairs:
        stored = stored_attempts(teacher.request(NEW_INSTRUCTION, pair), teacher, ledger)
        if stored and (instruction := stored[-1].parsed.instruction) is not None:
            shown.append(shown_alone(pair, instruction))
    return shown


def ids_by_request(
    phase: str, pairs: Sequence[PendingPair], teacher: OpenTeacher, ledger: Ledger
) -> Iterator[Iterator[str]]:
    """For each request of a phase, in order, the ids of every try; of the second as far as the ledger has the first."""
    first, *second = teacher.requests(phase)
    yield request_ids(first, pairs, teacher)
    for name in second:
        yield request_ids(name, with_new_instructions(pairs, teacher, ledger), teacher)


def _asked_for(
    phase: str,
    pairs: Sequence[PendingPair],
    teacher: OpenTeacher,
    ledger: Ledger,
    *,
    account: Account | None,
    on_progress: OnProgress,
) -> Generator[Reflection, None, None]:
    """What became of one request, by its name, about every pair."""

    def request_of(place: int, this_try: Try) -> TeacherRequest:
        return teacher.request(phase, pairs[place], this_try)

    def read(place: int, this_try: Try, reply: TeacherReply) -> tuple[Reflection, str | None]:
        attempt = Attempt.of(phase, this_try, reply)
        # An error is no reply: the next run asks the same again, or nobody ever.
        return _reflection(phase, pairs[place], attempt), attempt.parsed.status if reply.error is None else None

    due = []
    for place, attempts in attempts_of_pairs(phase, pairs, teacher, ledger):
        last = attempts[-1] if attempts else None
        following = next_try(teacher, place, last.this_try, last.parsed.status, request_of) if last else FIRST_TRY
        if following is not None:
            due.append((place, following))
        elif last is not None:
            yield _reflection(phase, pairs[place], last)
    yield from ask_in_rounds(due, request_of, read, teacher, ledger, account=account, on_progress=on_progress)


def _reflection(phase: str, pair: PendingPair, attempt: Attempt) -> Reflection:
    """The outcome that an attempt is for its pair."""
    parsed, new_id = attempt.parsed, None
    if parsed.status == "ok" and parsed.output is not None:
        rewritten = phase == INSTRUCTION_REFLECTION and parsed.instruction is not None
        x = (parsed.instruction, "") if rewritten else (pair.instruction, pair.input)
        new_id = content_id(str(x[0]), x[1], parsed.output, pair.context)
    request_id = attempt.reply.request_id
    return Reflection(pair, request_id, parsed.status, parsed.critique, new_id, parsed.instruction, parsed.output)
