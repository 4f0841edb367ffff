"""What a run would still ask a teacher, when it has taken over what the warehouses under `reuse` have: only looked at.

    with ledger_copy(profile) as ledger:
        missing_replies(profile, teacher, pairs, ledger).missing

Ledgers are copied into a temporary folder and opened there: even a reader of a SQLite file leaves others beside it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dagster_project.lakehouse.donors import LEDGER, copied, take_replies
from dagster_project.profile.schema import Profile
from models_py.teacher.estimate import TeacherEstimate, estimate
from models_py.teacher.ledger import Ledger
from models_py.teacher.open_teacher import OpenTeacher
from models_py.teacher.reflect_pairs import ids_by_request
from models_py.teacher.request import PendingPair


@contextmanager
def ledger_copy(profile: Profile) -> Iterator[Ledger]:
    """A copy of the profile's ledger, gone afterwards; an empty one where there is none yet."""
    with copied(profile.warehouse, LEDGER) as folder, Ledger(folder / LEDGER) as ledger:
        if profile.ledger.server and profile.ledger.exists():
            with Ledger(profile.ledger) as theirs:
                ledger.add(theirs.all_since())
        yield ledger


def missing_replies(
    profile: Profile, teacher: OpenTeacher, pairs: Sequence[PendingPair], ledger: Ledger
) -> TeacherEstimate:
    """What is still missing of the pairs. With `reuse`, the ledger takes over what a run would take: give it a copy."""

    def take(phase: str, asked: Sequence[PendingPair]) -> None:
        for ids in ids_by_request(phase, asked, teacher, ledger) if profile.reuse else ():
            take_replies(profile.reuse, ledger, ids)

    scored = profile.scorers_for(teacher.spec.name)
    bases = 0 if not scored else 2 if profile.response_reflection == "all" else 1
    return estimate(teacher, pairs, ledger, bases=bases, before=take)
