"""What every engine is: something that answers a teacher's requests.

A new engine: docs/extending.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from threading import Event

from models_py.teacher.request import TeacherReply, TeacherRequest


def profile_key(name: str) -> str:
    """Where the profile has whoever is called so: a name is a teacher's, and who is none is called by the whole key."""
    return name if "." in name else f"teachers.{name}"


class Engine(ABC):
    """Whoever answers requests: a hosted model, a local engine, a recording."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What answers, with its version: part of every request id, so another model is asked anew."""

    @abstractmethod
    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        """Yields replies as they finish, in any order, each request at most once.

        `requests` are taken one by one, as there is room for them; one that was taken is answered, or left for the
        next run. When `stop` is set nothing new is taken or tried again, and what is under way is still delivered.
        Whoever iterates takes every reply without delay. One request's failure is a reply with `error`, not an
        exception: it raises (UserError) only when no request can succeed.
        """

    @property
    def busy_with(self) -> str:
        """In words, what keeps it from answering yet, such as loading a model: told beside the progress."""
        return ""

    def answers(self, request: TeacherRequest) -> bool:
        """Whether it is any use to ask this: a recording may hold no second try."""
        return True

    def check_knows(self, content_ids: Sequence[str]) -> None:  # noqa: B027 (whoever thinks knows every pair)
        """Raises UserError when it can answer about none of these pairs (content ids): a recording of others."""

    def check_ready(self) -> None:  # noqa: B027 (most lack nothing)
        """Raises UserError for what `ask` would lack, as far as that shows without asking: a key that is not set."""

    def close(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Gives back what `ask` opened."""
