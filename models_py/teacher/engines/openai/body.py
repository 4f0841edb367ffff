"""What is sent for a request, and what of it goes without a server's consent.

    second try, seed 8  ──> 400 "seed is not supported"  ──> the same without seed, and so is every later one
    first try, top_p 1  ──> 400 "top_p is not supported" ──> UserError: teachers.gpt.sampling.extra_body: {top_p: null}

What the profile asks for is sent as it stands, or not at all: only what a second try adds is left out. It sends
nothing.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from models_py.errors import UserError
from models_py.teacher.engines.base import profile_key
from models_py.teacher.engines.openai.server import Rejected
from models_py.teacher.engines.openai.verdicts import TOKEN_LIMITS
from models_py.teacher.request import TeacherReply, TeacherRequest

if TYPE_CHECKING:
    from models_py.teacher.spec import ServerSettings  # which opens the engines


def chat_body(settings: "ServerSettings", request: TeacherRequest) -> dict[str, Any]:
    """The body of a chat completion request; a null in `extra_body` takes a field out."""
    sampling = request.sampling.payload()
    extra = sampling.pop("extra_body", {})
    sampling[settings.token_limit] = sampling.pop("max_tokens")
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    body = {"model": settings.model, "messages": messages, **sampling, **extra}
    return {name: value for name, value in body.items() if value is not None}


class Bodies:
    """The bodies of one teacher's requests; it remembers which fields of second tries the server refused."""

    def __init__(self, teacher: str, settings: "ServerSettings") -> None:
        self._teacher = f"{profile_key(teacher)}"
        self._settings = settings
        self._refused: set[str] = set()

    @property
    def refused(self) -> frozenset[str]:
        """Fields that are left out of second tries."""
        return frozenset(self._refused)

    def of(self, request: TeacherRequest) -> dict[str, Any]:
        """The body to send."""
        left_out = self.left_out(request)
        return {name: value for name, value in chat_body(self._settings, request).items() if name not in left_out}

    def left_out(self, request: TeacherRequest) -> set[str]:
        """The fields that this request goes without."""
        return self._refused & self._changed(request)

    def go_on_without(self, request: TeacherRequest, rejected: Rejected, sent: Collection[str]) -> bool:
        """Whether the refused field is one that a second try may do without: it is to be asked again, as `of` says."""
        name = rejected.parameter
        if name is None or name not in sent or name not in self._changed(request):
            return False
        self._refused.add(name)
        return True

    def check(self, request: TeacherRequest, rejected: Rejected) -> None:
        """Raises UserError for a refused field that every request has: none will be taken."""
        name = rejected.parameter
        if name is None or (name in TOKEN_LIMITS and self._is_raised(request)):
            return
        raise UserError(
            f"{self._teacher}: {self._settings.asked_at} does not take {name} as it is sent ({rejected.reason}). "
            f"{self._remedy(request, rejected)} Replies that came are kept."
        )

    def rejected_reply(
        self, request: TeacherRequest, rejected: Rejected, *, attempts: int = 1, latency_s: float | None = None
    ) -> TeacherReply:
        """The reply to a request that the server does not answer; its finish_reason says where that is for good.

        content_filter: for what the text says. length: a doubled limit is too high, so the reply stays cut as it was.
        """
        reason = "content_filter" if rejected.filtered else "length" if self._is_raised(request) else None
        return TeacherReply(
            request.request_id, finish_reason=reason, attempts=attempts, latency_s=latency_s, error=rejected.reason
        )

    def _changed(self, request: TeacherRequest) -> set[str]:
        """The fields that a second try adds or changes."""
        first, now = self._settings.sampling.payload(), request.sampling.payload()
        return {name for name in ("seed", "temperature") if now.get(name) != first.get(name)}

    def _is_raised(self, request: TeacherRequest) -> bool:
        """Whether the request has a higher limit, since a reply to the same was cut."""
        return request.sampling.max_tokens > self._settings.sampling.max_tokens

    def _remedy(self, request: TeacherRequest, rejected: Rejected) -> str:
        """Which key of the profile takes a refused field out of the request."""
        name = str(rejected.parameter)
        other = next((limit for limit in TOKEN_LIMITS if limit != name and limit in rejected.reason), None)
        if name in TOKEN_LIMITS and name == self._settings.token_limit:
            if other:
                return f"Write {self._teacher}.token_limit: {other}."
            return f"Lower {self._teacher}.sampling.max_tokens ({request.sampling.max_tokens:,})."
        if (self._settings.sampling.extra_body or {}).get(name) is not None:
            return f"Take {self._teacher}.sampling.extra_body.{name} out of the profile, or correct it."
        if name == "seed":
            return f"Take {self._teacher}.sampling.seed out of the profile."
        left_out = f"Write {self._teacher}.sampling.extra_body: {{{name}: null}}, which leaves it out"
        return f"{left_out}, or change {self._teacher}.sampling.{name}."
