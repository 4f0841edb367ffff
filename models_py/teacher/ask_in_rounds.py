"""Asking about many things, each as often as its replies require: all once, some a second time, and so on.

    for outcome in ask_in_rounds([(0, FIRST_TRY), (1, FIRST_TRY)], request_of, read, teacher, ledger):
        ...      # of the last try about a place, as `read` made it of the reply

Which tries a thing gets depends on its replies alone, so a run that was killed finds its way back through the ledger.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models_py.progress import OnProgress, silent
from models_py.teacher.ask_missing import ask_missing
from models_py.teacher.ledger import Ledger
from models_py.teacher.money import Account
from models_py.teacher.open_teacher import OpenTeacher, Try
from models_py.teacher.request import TeacherReply, TeacherRequest

Place = int  # of a thing among those that are asked about
RequestOf = Callable[[Place, Try], TeacherRequest]
T = TypeVar("T")


def ask_in_rounds(
    due: Iterable[tuple[Place, Try]],
    request_of: RequestOf,
    read: Callable[[Place, Try, TeacherReply], tuple[T, str | None]],
    teacher: OpenTeacher,
    ledger: Ledger,
    *,
    account: Account | None = None,
    on_progress: OnProgress = silent,
) -> Generator[T, None, None]:
    """The outcome of each place that is due, as its last reply comes; none where a stop or the budget left it unasked.

    read: makes an outcome of a reply, and says its status, as `next_try` knows it; None where nothing may follow.
    """
    rounds: defaultdict[int, list[tuple[Place, Try]]] = defaultdict(list)  # by the number of tries before
    for place, this_try in due:
        rounds[this_try.parse_attempt].append((place, this_try))
    while rounds:
        tries = rounds.pop(min(rounds))
        for index, reply in ask_missing(_Requests(request_of, tries), teacher.engine, ledger, account, on_progress):
            place, this_try = tries[index]
            outcome, status = read(place, this_try, reply)
            following = None if status is None else next_try(teacher, place, this_try, status, request_of)
            if following is None:
                yield outcome
            else:
                rounds[following.parse_attempt].append((place, following))
        if account is not None and account.reached:
            return  # a second try may fit where a first did not, and would hide that some are left


def next_try(teacher: OpenTeacher, place: Place, this_try: Try, status: str, request_of: RequestOf) -> Try | None:
    """What follows a reply of that status, as far as the engine has an answer to it."""
    following = teacher.next_try(this_try, status)
    if following is None or not teacher.engine.answers(request_of(place, following)):
        return None
    return following


@dataclass(frozen=True, slots=True)
class _Requests(Sequence[TeacherRequest]):
    """The requests of some tries, made when they are asked for: a message is much larger than its place in a list."""

    request_of: RequestOf
    tries: Sequence[tuple[Place, Try]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tries)

    def __getitem__(self, index: Any) -> Any:
        return self.request_of(*self.tries[index])
