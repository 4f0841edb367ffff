"""What an answer that is no completion means: for one row, for a while, or for the whole run.

    read_error({"error": {"code": 402, "message": "Insufficient credits"}})     Said("402", "Insufficient credits", 402)
    judge(400, said, sent=body)                                                 Verdict.CREDIT

    OK            a success
    BUSY          everybody waits, nobody's attempts are used up
    BROKEN        worth another try
    ROW           this request will never succeed
    FILTERED      the same, for what its text says
    TOO_LONG      the same, for its length: more than the model or the account takes at once
    PARAMETER     the server takes no request with this parameter
    CREDIT, KEY, MODEL, ADDRESS, MOVED, PROXY       no request will succeed

Servers agree on little: the same reason comes as 400, 402, 403, 429, 500 or inside a 200. So what is read is the
status, then code and message; never what else a body holds, which may be the text of a row. Sources: the error pages
of OpenAI, Azure, Anthropic, OpenRouter, Groq, Together, Fireworks, Mistral, DeepSeek, Gemini, DashScope, Bedrock,
LiteLLM, vLLM, llama.cpp, Ollama and TGI. It sends nothing.
"""

import json
import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any


class Verdict(StrEnum):
    """As the module's docstring says."""

    OK = auto()
    BUSY = auto()
    BROKEN = auto()
    ROW = auto()
    FILTERED = auto()
    TOO_LONG = auto()
    PARAMETER = auto()
    CREDIT = auto()
    KEY = auto()
    MODEL = auto()
    ADDRESS = auto()
    MOVED = auto()
    PROXY = auto()


TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Said:
    """An error as a server said it. code: every word that names its kind. status: what it says of itself, in a 200.

    parameter: the field of the request that it is about, as far as the error has a place for that.
    """

    code: str = ""
    message: str = ""
    status: int | None = None
    parameter: str | None = None

    @property
    def words(self) -> str:
        """For people: `code: message`, the code left out where it is a number or stands in the message."""
        first = self.code.split(" ")[0] if self.code else ""
        told = not first or first.isdecimal() or first in self.message
        return self.message if told and self.message else f"{first}: {self.message}".removesuffix(": ")

    @property
    def retry_s(self) -> float | None:
        """Seconds after which the message wants to be asked again, None where it says none."""
        return next(filter(None, map(_seconds, _WHEN.finditer(self.message))), None)


def read_error(body: object) -> Said | None:
    """The error in a body, None where there is none. body: JSON as read, or the bytes of it."""
    if isinstance(body, bytes):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return None
    if isinstance(body, list) and len(body) == 1:  # as Gemini wraps it
        body = body[0]
    if isinstance(body, str):
        return Said(message=body) if body.strip() else None
    if not isinstance(body, Mapping):
        return None
    inner = next((body[name] for name in _WRAPPERS if body.get(name)), None)
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    if isinstance(inner, list | str):  # the object itself may say more of its kind
        return _said(body, _texts(inner))
    return _said(inner, None) if isinstance(inner, Mapping) else _said(body, None)


_WRAPPERS = ("error", "errors", "detail", "fault", "base_resp")
_MESSAGES = ("message", "Message", "msg", "detail", "faultstring", "status_msg", "error_description")
_KINDS = ("code", "type", "status", "error_type", "error", "object", "__type")


def _said(error: Mapping[str, Any], message: str | None) -> Said | None:
    if message is None:
        found = next((error[name] for name in _MESSAGES if error.get(name)), None)
        if isinstance(found, Mapping) and (inner := read_error(found)):
            return inner
        message = _texts(found)
    codes = [error.get(name) for name in (*_KINDS, "status_code")]
    kinds = [str(code) for code in codes if isinstance(code, str | int) and not isinstance(code, bool)]
    if not message and not any(error.get(name) for name in _KINDS[:2]):
        return None
    metadata = error.get("metadata")  # OpenRouter: what the provider behind it said
    if isinstance(metadata, Mapping) and isinstance(raw := metadata.get("raw"), str) and raw:
        behind = read_error(raw.encode("utf-8", "replace"))
        message = f"{message}: {behind.message if behind else raw}"
    statuses = [number for code in kinds if code.isdecimal() and 400 <= (number := int(code[:9])) < 600]
    parameter = next((found for found in _parameters(error)), None)
    return Said(" ".join(kinds), message or "", statuses[0] if statuses else None, parameter)


def _texts(value: object) -> str:
    """What a text, or each object of a list, says."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        each = (one if isinstance(one, str) else _place(one) for one in value if isinstance(one, str | Mapping))
        return "; ".join(filter(None, each))
    return "" if value is None else json.dumps(value)


def _place(error: Mapping[str, Any]) -> str:
    """`seed: Extra inputs are not permitted`, of a list of complaints."""
    said = next((str(error[name]) for name in _MESSAGES if error.get(name)), json.dumps(error))
    place = error.get("loc")
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
    return f"{where}: {said}" if where else said


def _parameters(error: object) -> Iterator[str]:
    """The fields that an error is about: `param`, or the second part of a `loc`."""
    if isinstance(error, Mapping):
        if isinstance(param := error.get("param"), str) and param:
            yield param
        if isinstance(place := error.get("loc"), list):
            yield from [str(part) for part in place if part != "body"][:1]
        for value in error.values():
            yield from _parameters(value)
    elif isinstance(error, list):
        for value in error:
            yield from _parameters(value)


# --- what words mean; they are looked for in `code message`, in lower case


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


_CREDIT = _words(
    r"insufficient[ _](?:\w+[ _])?(?:credit|balance|fund|quota)",
    r"balance\W+(?:\w+\W+){0,3}(?:too low|insufficient|not enough|exhausted|negative|depleted)",
    r"(?:\bno|out[ _]of|not enough|more|exhausted)[ _]credits?\b",
    r"used (?:up )?all (?:of )?(?:your |its )?(?:available )?credits",
    r"credits? (?:\w+ ){0,3}(?:exhausted|depleted|used up|ran out|expired)|included credits|credit[ _]limit",
    r"(?:spend(?:ing)?|billing|budget|monthly|hard)[ _](?:hard[ _])?(?:limit|cap)",
    r"(?:reached|exceeded|over|hit) (?:your|its|the) (?:\w+ ){0,3}(?:spend(?:ing)?|billing|budget|credit) limits?",
    r"budget[ _](?:has been |was )?exceeded|billing[ _]not[ _]active|payment[ _]required|exceeded_current_quota",
    r"past due|unpaid|overdue|arrear|account is in good standing|top up|recharge",
    r"欠费|余额不足|额度不足|额度已用尽",
)
_PERHAPS_CREDIT = _words(  # said of rates, too: then with when to come again
    r"exceeded your current quota|check your (?:plan|billing)|add a payment method",
    r"(?:reached|exceeded) your (?:\w+ ){0,3}usage limits?",
)
_ACCOUNT = _words(
    r"\b(?:account|organi[sz]ation|api[ _-]?key|credentials?|project|region|country)\b",
)
_FILTERED = _words(
    r"\bflagged\b|moderation|content[ _-]?(?:filter|polic|management|safety|moderat|exists risk|blocked)",
    r"usage polic|safety (?:system|filter|polic|check|reason)|inappropriate content|prohibited[ _]content",
    r"responsible ?ai|guardrail|sensitive (?:content|information|words?)|data_?inspection|invalid_prompt",
    r"violat\w* (?:\w+ ){0,4}(?:polic|guideline|terms)",
    r"blocked (?:by|due to) (?:\w+ ){0,4}(?:filter|polic|safety|guardrail)",
    r"不安全|敏感|违规",
)
_TOO_LONG = _words(
    r"request[ _]too[ _]large|payload too large|too large for (?:the )?model|string_above_max_length",
    r"maximum context|context[ _]length|context limit|context size",
    r"(?:prompt|input|message)s? (?:is |are |was |were )?too (?:long|large)|too many (?:input |prompt )?tokens",
    r"input (?:tokens|length) exceed|exceeds? (?:the )?(?:model's )?(?:maximum )?(?:input|context)",
    r"reduce (?:the|your) (?:length|prompt|message|input)|tokens \+ `?max_\w+`? must be",
)
_LIMIT_REQUESTED = re.compile(r"limit:? (\d[\d,]*).{0,80}?requested:? (\d[\d,]*)")
_RATE = _words(
    r"rate[ _-]?limit|too[ _]many[ _]requests|throttl|requests per|tokens per|resource_exhausted",
)
_NAME = r"(?:(?:'s)?\s*[:=]?\s*(?:id |name )?[`'\"\[(<]*[\w./:@+-]*[`'\"\])>]*)"
_MODEL = _words(
    r"model_?not_?(?:found|available|supported|exist)|model_(?:decommissioned|deprecated)|deployment_?not_?found",
    r"(?:invalid|unknown|unsupported|no such)[ _]model(?![\w'])|not a valid model|model identifier is invalid",
    rf"\bmodels?{_NAME}\s*(?:does not|doesn't|do not|not) exist",
    rf"\bmodels?{_NAME}\s*(?:is |was |could |can )?not (?:be )?(?:found|available|deployed|supported|a valid)",
    rf"\bmodels?{_NAME}\s*(?:is|has been|was) (?:decommissioned|deprecated|retired|no longer|unavailable|invalid)",
    r"(?:does not|doesn't|not) have access to (?:the )?model|unable to access (?:[\w-]+ )?model|no endpoints found",
)
_KEY = _words(
    r"invalid[ _](?:\w+ )?api[ _-]?key|api[ _-]?key (?:is |was )?(?:not valid|invalid|expired|missing)",
    r"incorrect api key|no api key|invalid_?apikey|invalid_?authentication|authentication_error|\bunauthorized\b",
)
_REFUSES = _words(
    r"unsupported|not (?:currently )?supported|does not support|unrecogni[sz]ed|unknown|unexpected|not a valid|invalid",
    r"not permitted|not allowed|extra_forbidden|extra (?:input|field|param)|not available|deprecated|no longer",
    r"\bmust\b|cannot be|can't be|should be|may not|use only one|both be specified|requires",
    r"out of range|at most|at least|too (?:large|high|low|small)|greater than|less than|strictly|maximum allowed|> \d",
    r"only (?:the )?(?:\w+ )?(?:default|value)",
)

# --- the rules


@dataclass(frozen=True, slots=True)
class _Answer:
    """status 200 stands for an error inside a success that names no status of its own."""

    status: int
    said: Said
    told_when: bool
    sent: Collection[str]

    @property
    def text(self) -> str:
        return f"{self.said.code} {self.said.message}".lower()

    def says(self, words: re.Pattern[str]) -> bool:
        return words.search(self.text) is not None

    @property
    def asks_too_much(self) -> bool:
        """Longer than the model takes, or than the account may send in a minute: no wait helps."""
        found = _LIMIT_REQUESTED.search(self.text)
        limit, requested = (int(number.replace(",", "")) for number in found.groups()) if found else (0, 0)
        return self.says(_TOO_LONG) or requested > limit


_MOVED = {301, 302, 303, 307, 308}
_PASSING = {408, 409, 421, 423, 424, 425, 449, 460, 498, 499}  # 498: Groq has no room; 424: TGI's model is away
_BAD_REQUEST = {200, 400, 403, 404, 406, 412, 418, 422, 451}
_SERVER = range(500, 1000)
_ANY = range(1000)

# The first that holds: verdict, statuses, what else must be so.
_RULES: tuple[tuple[Verdict, Container[int], Callable[[_Answer], object]], ...] = (
    (Verdict.MOVED, _MOVED, lambda answer: True),
    (Verdict.CREDIT, {402}, lambda answer: True),
    (Verdict.CREDIT, _ANY, lambda answer: answer.says(_CREDIT)),
    (Verdict.CREDIT, _ANY, lambda answer: answer.says(_PERHAPS_CREDIT) and not answer.told_when),
    (Verdict.TOO_LONG, {429}, lambda answer: answer.asks_too_much),
    (Verdict.BUSY, {429}, lambda answer: True),
    (Verdict.FILTERED, _BAD_REQUEST, lambda answer: answer.says(_FILTERED) and not answer.says(_ACCOUNT)),
    (Verdict.KEY, {401}, lambda answer: True),
    (Verdict.KEY, {200, 400}, lambda answer: answer.says(_KEY)),
    (Verdict.PROXY, {407}, lambda answer: True),
    (Verdict.BUSY, {200, 400, 403}, lambda answer: answer.says(_RATE) and not answer.asks_too_much),
    (Verdict.BROKEN, _PASSING, lambda answer: True),
    (Verdict.BROKEN, _SERVER, lambda answer: True),
    (Verdict.TOO_LONG, {413}, lambda answer: True),
    (Verdict.TOO_LONG, _BAD_REQUEST, lambda answer: answer.asks_too_much),
    (Verdict.PARAMETER, {200, 400, 404, 422}, lambda answer: refused_parameter(answer.said, answer.sent)),
    (Verdict.MODEL, {404, 410}, lambda answer: True),
    (Verdict.MODEL, _BAD_REQUEST, lambda answer: answer.says(_MODEL)),
    (Verdict.KEY, {403}, lambda answer: True),
    (Verdict.ADDRESS, {405}, lambda answer: True),
    (Verdict.ROW, range(400, 500), lambda answer: True),
)


def judge(status: int, said: Said | None, *, seconds: float | None = None, sent: Collection[str] = ()) -> Verdict:
    """What an answer with that status and error means. seconds: as Retry-After said. sent: the fields of the request.

    A success with an error inside is judged by the status that the error names.
    """
    if status < 300 and said is None:
        return Verdict.OK
    error = said or Said()
    answer = _Answer(
        status=(error.status or 200) if status < 300 else status,
        said=error,
        told_when=seconds is not None or error.retry_s is not None,
        sent=sent,
    )
    fits = (verdict for verdict, statuses, holds in _RULES if answer.status in statuses and holds(answer))
    return next(fits, Verdict.BROKEN)


def refused_parameter(said: Said, sent: Collection[str]) -> str | None:
    """The field of the request that the server refuses, None where it is something else."""
    names = [name for name in sent if name not in ("messages", "model", "stream")]
    text = f"{said.code} {said.message}".lower()
    if not _REFUSES.search(text):
        return None
    named = (said.parameter or "").split(".")[0].split("[")[0]
    if named in names:
        return named
    if said.parameter and named in ("messages", "model"):
        return None
    found = [name for name in names if _is_named(name.lower(), text)]
    return (
        "top_p" if "top_p" in found else found[0] if found else None
    )  # of two that do not go together it is the idler


def _is_named(name: str, text: str) -> bool:
    """Whether the text speaks of a field: in quotes, or bare where the name is no word of every day."""
    quoted = re.search(rf"""[`'"]{re.escape(name)}[`'":.\[]""", text)
    is_term = "_" in name or name in ("temperature", "seed")
    return bool(quoted or (is_term and re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text)))


_WHEN = re.compile(
    r"(?:try again|retry|retrying|wait|available|resets?)"
    r"(?:\s+(?:your request|again|for|at least))?(?:\s+(?:in|after))?\s+"
    r"(?:(?P<h>\d+(?:\.\d+)?)\s*h(?:ours?|rs?)?\s*)?(?:(?P<m>\d+(?:\.\d+)?)\s*m(?:in(?:ute)?s?)?(?![a-z])\s*)?"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*(?P<unit>ms|milliseconds?|s(?:ec(?:ond)?s?)?)?\b)?",
    re.IGNORECASE,
)


def _seconds(found: re.Match[str]) -> float | None:
    """`try again in 14m23.5s`, `retry after 20 seconds`, `in 350ms`."""
    hours, minutes, rest = (float(found[name]) if found[name] else None for name in ("h", "m", "s"))
    if hours is None and minutes is None and rest is None:
        return None
    small = (found["unit"] or "").lower().startswith("m")
    return 3600 * (hours or 0) + 60 * (minutes or 0) + (rest or 0) / (1000 if small else 1)
