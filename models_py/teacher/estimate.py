"""What a run would still ask a teacher, and what that takes in tokens, dollars and time. Nothing is asked.

    estimate(teacher, pairs, ledger, bases=1).phases[0].expected      Amounts(requests=640, tokens_in=..., usd=1.9, ...)

What is missing is not computed but heard: `reflect_pairs` runs as it would, with an engine that answers nothing. So the
second tries that the ledger knows to be due are counted too.

instruction_reflection  every missing request is known to the letter; with plain words the second is, once the first
                        has its reply: until then the pair's own instruction stands for the new one
response_reflection     which base wins is known only after scoring. Where the first reply is in the ledger, the bases
                        are known and looked up; elsewhere the pair as it came stands for its base

Every number comes thrice: low, expected, high. Each is computed whole from one scenario, so low is what it takes if
every reply were as short as the 10th percentile, high as the 90th. A scenario comes from what the ledger saw of whoever
answers, where that is enough, else from assumptions; `PhaseEstimate.facts` says which, in words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from json import loads
from operator import add
from statistics import fmean
from threading import Event

from models_py.conversation import Message
from models_py.teacher.engines.base import Engine
from models_py.teacher.ledger import Ledger, LedgerRow, percentile
from models_py.teacher.money import Budget, Price, Spent
from models_py.teacher.open_teacher import OpenTeacher
from models_py.teacher.reflect_pairs import Reflection, reflect_pairs, shown_alone
from models_py.teacher.request import (
    BETTER_ANSWER,
    INSTRUCTION_REFLECTION,
    NEW_ANSWER,
    NEW_INSTRUCTION,
    RESPONSE_REFLECTION,
    VERDICT,
    PendingPair,
    TeacherReply,
    TeacherRequest,
)
from models_py.teacher.spec import TeacherSettings

ENOUGH_REPLIES = 20  # of a phase; what fewer say is no better than an assumption
_REPLIES_LOOKED_AT = 2000
_PAIRS_AT_ONCE = 2000  # a request that nobody answers is held to the end

Spread = tuple[float, float, float]  # low, expected, high


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a teacher may answer in one phase. A reply has `reply_tokens` and `times_the_pair` the tokens of its pair.

    again: further requests for each that is missing, since its reply could not be used. A call lasts `call_s` seconds
    and `token_s` for each token of its reply.
    """

    tokens_a_char: float
    reply_tokens: float
    times_the_pair: float
    again: float
    call_s: float
    token_s: float


Scenarios = tuple[Scenario, Scenario, Scenario]  # low, expected, high

# Without replies to learn from. English has about four characters a token; a reply judges in some hundred tokens and
# then rewrites the texts it was shown; hosted models write 25 to 100 tokens a second.
ASSUMED: Mapping[str, Scenarios] = {
    INSTRUCTION_REFLECTION: (
        Scenario(1 / 4.5, 100, 1.0, 0.0, 0.5, 0.01),
        Scenario(1 / 4.0, 200, 2.0, 0.05, 1.0, 0.02),
        Scenario(1 / 3.0, 400, 3.0, 0.15, 2.0, 0.04),
    ),
    RESPONSE_REFLECTION: (
        Scenario(1 / 4.5, 80, 0.5, 0.0, 0.5, 0.01),
        Scenario(1 / 4.0, 150, 1.0, 0.05, 1.0, 0.02),
        Scenario(1 / 3.0, 300, 2.0, 0.15, 2.0, 0.04),
    ),
    # Small models: nothing but the text, and often not the end.
    NEW_INSTRUCTION: (
        Scenario(1 / 4.5, 30, 0.0, 0.0, 0.5, 0.005),
        Scenario(1 / 4.0, 80, 0.0, 0.2, 1.0, 0.02),
        Scenario(1 / 3.0, 192, 0.0, 1.0, 2.0, 0.04),
    ),
    **dict.fromkeys(
        (NEW_ANSWER, BETTER_ANSWER),
        (
            Scenario(1 / 4.5, 100, 0.0, 0.0, 0.5, 0.005),
            Scenario(1 / 4.0, 250, 0.0, 0.2, 1.0, 0.02),
            Scenario(1 / 3.0, 512, 0.0, 1.0, 2.0, 0.04),
        ),
    ),
    # Two scores and a few sentences.
    VERDICT: (
        Scenario(1 / 4.5, 50, 0.0, 0.0, 0.5, 0.01),
        Scenario(1 / 4.0, 120, 0.0, 0.02, 1.0, 0.02),
        Scenario(1 / 3.0, 300, 0.0, 0.1, 2.0, 0.04),
    ),
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A request that is not answered yet. max_tokens: of its reply. answerable: as `Engine.answers` says."""

    prompt_chars: int
    pair_chars: int
    max_tokens: int
    answerable: bool = True


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one scenario takes. usd is None when the price is unknown, seconds when the engine's pace is."""

    requests: float
    tokens_in: float
    tokens_out: float
    usd: float | None
    seconds: float | None

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.requests + other.requests,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            None if self.seconds is None or other.seconds is None else self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """In words what an estimate rests on: seen in the ledger, or assumed. of_time: it only matters for `seconds`."""

    text: str
    seen: bool
    of_time: bool = False


@dataclass(frozen=True, slots=True)
class PhaseEstimate:
    """One phase of one teacher. `wanted`: pairs (bases, in the response phase) to reflect on.

    unanswerable: missing requests to which the engine has no answer, such as pairs without a line in a recording.
    seen_replies: how many replies of the ledger the facts that were seen come from.
    """

    phase: str
    wanted: int
    missing: int
    unanswerable: int
    low: Amounts
    expected: Amounts
    high: Amounts
    facts: tuple[Fact, ...]
    seen_replies: int


@dataclass(frozen=True, slots=True)
class TeacherEstimate:
    """What one teacher would still be asked. stops_at: the budget's limit that would end it, with the share done."""

    phases: tuple[PhaseEstimate, ...]
    low: Amounts
    expected: Amounts
    high: Amounts
    spent: Spent
    stops_at: tuple[str, float] | None

    @property
    def missing(self) -> int:
        return sum(phase.missing for phase in self.phases)


def estimate(
    teacher: OpenTeacher,
    pairs: Sequence[PendingPair],
    ledger: Ledger,
    *,
    bases: int,
    before: Callable[[str, Sequence[PendingPair]], None] = lambda phase, pairs: None,
) -> TeacherEstimate:
    """What is missing of `pairs` and what it takes.

    bases: on how many bases of a pair the response phase reflects: 1, with `response_reflection: all` 2, and 0 for a
    teacher without a recipe. before: called for each phase with what it may ask about, before the ledger is looked
    through: it may add replies.
    """
    before(INSTRUCTION_REFLECTION, pairs)
    known, heard = _hear(INSTRUCTION_REFLECTION, pairs, teacher, ledger)
    first, *second = teacher.requests(INSTRUCTION_REFLECTION)
    to_ask = {name: list(heard[name].values()) for name in (first, *second)}
    missing_pairs = sum(map(len, to_ask.values()))
    for name in second:
        to_ask[name] += _answers_to_come(teacher, name, [pair for pair in pairs if pair.content_id in heard[first]])
    instructions = phase_estimate(
        teacher, ledger, INSTRUCTION_REFLECTION, wanted=len(pairs), missing=missing_pairs, to_ask=to_ask
    )
    bases_of = {one.pair.pair_id: _bases(one) for one in known} if bases else {}
    before(RESPONSE_REFLECTION, [base for both in bases_of.values() for base in both.values()])
    wanted, missing = _missing_responses(teacher, pairs, bases_of, ledger, bases) if bases else (0, [])
    (name,) = teacher.requests(RESPONSE_REFLECTION)
    responses = phase_estimate(
        teacher, ledger, RESPONSE_REFLECTION, wanted=wanted, missing=len(missing), to_ask={name: missing}
    )
    return whole_estimate(teacher, ledger, (instructions, responses))


def whole_estimate(teacher: OpenTeacher, ledger: Ledger, phases: tuple[PhaseEstimate, ...]) -> TeacherEstimate:
    """What all phases take together, and which limit would end them."""
    spent = ledger.spent(teacher.spec.name, teacher.spec.charged)
    expected = reduce(add, (phase.expected for phase in phases))
    return TeacherEstimate(
        phases=phases,
        low=reduce(add, (phase.low for phase in phases)),
        expected=expected,
        high=reduce(add, (phase.high for phase in phases)),
        spent=spent,
        stops_at=stops_at(teacher.spec.settings.budget, spent, expected),
    )


def scenarios(phase: str, seen: Sequence[LedgerRow]) -> tuple[Scenarios, tuple[Fact, ...]]:
    """Low, expected and high of a phase after the replies that were seen, and what they rest on."""
    prompts = [(row.reply.prompt_tokens, _payload_chars(row.payload)) for row in seen]
    tokens_a_char = _spread([tokens / chars for tokens, chars in prompts if tokens and chars])
    reply_tokens = _spread([row.reply.completion_tokens for row in seen])
    call_s = _spread([row.reply.latency_s for row in seen])
    first = sum(row.parse_attempt == 0 for row in seen)
    again = len(seen) / first - 1 if first >= ENOUGH_REPLIES else None

    def scenario(place: int) -> Scenario:
        result = ASSUMED[phase][place]
        if tokens_a_char:
            result = replace(result, tokens_a_char=tokens_a_char[place])
        if reply_tokens:
            result = replace(result, reply_tokens=reply_tokens[place], times_the_pair=0.0)
        if call_s:
            result = replace(result, call_s=call_s[place], token_s=0.0)
        return result if again is None else replace(result, again=again)

    three = scenario(0), scenario(1), scenario(2)

    def words(form: str, value: Callable[[Scenario], float]) -> str:
        low, expected, high = (form.format(value(one)) for one in three)
        return expected if low == expected == high else f"{expected} ({low} to {high})"

    reply = f"replies of {words('{:,.0f}', lambda one: one.reply_tokens)} tokens"
    call = f"calls of {words('{:.1f}', lambda one: one.call_s)} s"
    if not reply_tokens:
        reply += f" and {words('{:g}', lambda one: one.times_the_pair)} times their pair"
    if not call_s:
        call += f" and {words('{:g}', lambda one: one.token_s)} s a token"
    return three, (
        Fact(f"{words('{:.1f}', lambda one: 1 / one.tokens_a_char)} characters a token", tokens_a_char is not None),
        Fact(reply, reply_tokens is not None),
        Fact(f"{words('{:.0%}', lambda one: one.again)} asked again", again is not None),
        Fact(call, call_s is not None, of_time=True),
    )


def amounts(missing: Sequence[Missing], scenario: Scenario, settings: TeacherSettings, price: Price | None) -> Amounts:
    """What the missing requests and their further tries take."""
    tries = 1 + scenario.again
    requests = tries * len(missing)
    tokens_in = tries * scenario.tokens_a_char * sum(one.prompt_chars for one in missing)
    tokens_out = tries * sum(
        min(
            one.max_tokens,
            scenario.reply_tokens + scenario.times_the_pair * scenario.tokens_a_char * one.pair_chars,
        )
        for one in missing
    )
    calls_s = requests * scenario.call_s + tokens_out * scenario.token_s
    usd = (tokens_in * price.input + tokens_out * price.output) / 1e6 if price else None
    return Amounts(requests, tokens_in, tokens_out, usd, settings.seconds(requests, tokens_in + tokens_out, calls_s))


def stops_at(budget: Budget, spent: Spent, needed: Amounts) -> tuple[str, float] | None:
    """The limit that would be reached first, as the profile names it, and the share of `needed` it allows."""
    limits = (
        ("max_usd", budget.max_usd, spent.usd_at_most, needed.usd),
        ("max_tokens", budget.max_tokens, spent.tokens_at_most, needed.tokens_in + needed.tokens_out),
        ("max_requests", budget.max_requests, spent.requests, needed.requests),
    )
    shares = [
        (f"budget.{name} {limit:,}", max(0.0, limit - before) / need)
        for name, limit, before, need in limits
        if limit is not None and need and before + need > limit
    ]
    return min(shares, key=lambda share: share[1], default=None)


class _Listener(Engine):
    """Hears what its engine would be asked, and answers nothing."""

    def __init__(self, teacher: OpenTeacher, phase: str, pairs: Sequence[PendingPair]) -> None:
        # by request, then by the content id of what it shows
        self.heard: dict[str, dict[str, Missing]] = {name: {} for name in teacher.requests(phase)}
        self._engine = teacher.engine
        self._around = {name: _chars_around(teacher, name) for name in self.heard}
        # What stands before a pair is read, but makes no reply longer.
        self._without_context = {pair.content_id: _own_chars(pair) for pair in pairs if pair.context}

    @property
    def identity(self) -> str:
        return self._engine.identity

    def answers(self, request: TeacherRequest) -> bool:
        return self._engine.answers(request)

    def ask(self, requests: Iterable[TeacherRequest], stop: Event) -> Iterator[TeacherReply]:
        for request in requests:
            chars = _chars(request.messages)
            shown = max(0, chars - self._around[request.phase])
            pair_chars = min(shown, self._without_context.get(request.content_id, shown))
            self.heard[request.phase][request.content_id] = Missing(
                chars, pair_chars, request.sampling.max_tokens, self._engine.answers(request)
            )
        return iter(())


def _hear(
    phase: str, pairs: Sequence[PendingPair], teacher: OpenTeacher, ledger: Ledger
) -> tuple[list[Reflection], dict[str, dict[str, Missing]]]:
    """The reflections that the ledger knows, and the requests, by name, that `reflect_pairs` would send else."""
    listener = _Listener(teacher, phase, pairs)
    listening = replace(teacher, engine=listener)
    known: list[Reflection] = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        known += reflect_pairs(phase, pairs[start : start + _PAIRS_AT_ONCE], listening, ledger)
    return known, listener.heard


def _missing_responses(
    teacher: OpenTeacher,
    pairs: Sequence[PendingPair],
    bases_of: Mapping[str, Mapping[str, PendingPair]],
    ledger: Ledger,
    bases: int,
) -> tuple[int, list[Missing]]:
    """How many response reflections are wanted, and those to ask for.

    bases_of: of the pairs whose first reply is known, by id: the original and, where there is one, its rewrite.
    """
    (name,) = teacher.requests(RESPONSE_REFLECTION)
    _, all_heard = _hear(
        RESPONSE_REFLECTION, [base for both in bases_of.values() for base in both.values()], teacher, ledger
    )
    heard = all_heard[name]
    wanted, missing = 0, []
    for pair in pairs:
        both = bases_of.get(pair.pair_id)
        if both is None:
            wanted += bases
            missing += [_to_come(teacher, name, pair)] * bases
        else:
            to_ask = [heard[base] for base in both if base in heard]
            answered = len(both) - len(to_ask)
            wanted += min(bases, len(both))
            missing += to_ask[::-1][: max(0, min(bases, len(both)) - answered)]
    return wanted, missing


def _answers_to_come(teacher: OpenTeacher, name: str, pairs: Sequence[PendingPair]) -> list[Missing]:
    """The second requests of pairs whose first has no reply yet."""
    return [_to_come(teacher, name, shown_alone(pair, pair.instruction)) for pair in pairs]


def _to_come(teacher: OpenTeacher, name: str, pair: PendingPair) -> Missing:
    """A request that shows what is not known yet: `pair` stands for it."""
    request = teacher.request(name, pair)
    chars = _chars(request.messages)
    shown = max(0, chars - _chars_around(teacher, name))
    return Missing(chars, min(shown, _own_chars(pair)) if pair.context else shown, request.sampling.max_tokens)


def _own_chars(pair: PendingPair) -> int:
    return len(pair.instruction) + len(pair.input) + len(pair.output)


def _bases(reflection: Reflection) -> dict[str, PendingPair]:
    """The texts whose answer may be reflected on, by content id."""
    pair = reflection.pair
    bases = {pair.content_id: pair}
    if reflection.content_id is not None:
        assert reflection.instruction is not None and reflection.output is not None
        bases[reflection.content_id] = replace(
            pair, instruction=reflection.instruction, input="", output=reflection.output
        )
    return bases


def phase_estimate(
    teacher: OpenTeacher,
    ledger: Ledger,
    phase: str,
    *,
    wanted: int,
    missing: int,
    to_ask: Mapping[str, Sequence[Missing]],
) -> PhaseEstimate:
    """What one phase takes. missing: of what is wanted. to_ask: the requests for it, by name."""
    settings = teacher.spec.settings
    price = Price(0, 0) if settings.is_free else teacher.account(Spent()).price
    all_three, all_facts, seen_replies = [], list[Fact](), 0
    for name, requests in to_ask.items():
        seen = ledger.sample(teacher.engine.identity, name, _REPLIES_LOOKED_AT)
        three, facts = scenarios(name, seen)
        all_three.append([amounts(requests, scenario, settings, price) for scenario in three])
        all_facts += facts if len(to_ask) == 1 else (replace(fact, text=f"{name}: {fact.text}") for fact in facts)
        seen_replies += len(seen)
    low, expected, high = (reduce(add, place) for place in zip(*all_three, strict=True))
    unanswerable = sum(not one.answerable for requests in to_ask.values() for one in requests)
    return PhaseEstimate(phase, wanted, missing, unanswerable, low, expected, high, tuple(all_facts), seen_replies)


def _spread(samples: Iterable[float | None]) -> Spread | None:
    """10th percentile, mean and 90th percentile of what is known; None of too few."""
    ascending = sorted(sample for sample in samples if sample is not None)
    if len(ascending) < ENOUGH_REPLIES:
        return None
    mean, low, high = fmean(ascending), percentile(ascending, 10), percentile(ascending, 90)
    assert low is not None and high is not None
    return min(low, mean), mean, max(high, mean)


def _chars_around(teacher: OpenTeacher, phase: str) -> int:
    """Characters of a prompt that are not the pair's."""
    return _chars(teacher.prompts[phase].messages("instruction", "", "output")) - len("instruction" + "output")


def _chars(messages: Iterable[Message]) -> int:
    return sum(len(message.content) for message in messages)


def _payload_chars(payload: str) -> int:
    return sum(len(message["content"]) for message in loads(payload)["messages"])
