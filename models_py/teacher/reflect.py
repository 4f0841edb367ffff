"""Asking the teacher for what the ledger does not know yet.

Killed at any moment and called again, it goes on: every reply is committed before it is passed on.
"""

from collections.abc import Iterator, Sequence

from models_py.progress import OnProgress, Progress, silent
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import Teacher, TeacherReply, TeacherRequest

_LOOKUP_ROWS = 1000


def reflect(
    requests: Sequence[TeacherRequest], teacher: Teacher, ledger: Ledger, on_progress: OnProgress = silent
) -> Iterator[tuple[TeacherRequest, TeacherReply]]:
    """Yields each request with its reply: known ones first, then the others as they arrive.

    A stored error is not known: it is asked again. The teacher is not called when nothing is missing. Requests that a
    teacher leaves unanswered (it may stop early) are not yielded. Raises ValueError when it answers what was not asked.
    """
    total = len(requests)
    done = 0
    missing: dict[str, list[TeacherRequest]] = {}
    for start in range(0, total, _LOOKUP_ROWS):
        batch = requests[start : start + _LOOKUP_ROWS]
        known = ledger.replies([request.request_id for request in batch])
        for request in batch:
            reply = known.get(request.request_id)
            if reply is None or reply.error is not None:
                missing.setdefault(request.request_id, []).append(request)
            else:
                done += 1
                yield request, reply
        on_progress(Progress(done, total, "replies", note="from the ledger"))
    if not missing:
        return
    for answer in teacher.ask([same[0] for same in missing.values()]):
        same = missing.pop(answer.request_id, None)
        if same is None:
            raise ValueError(f"{teacher.identity} answered {answer.request_id}, which is not open")
        reply = ledger.record(same[0], answer)
        done += len(same)
        on_progress(Progress(done, total, "replies"))
        for request in same:
            yield request, reply
