"""What replies cost and when to stop asking.

    Price(input=0.40, output=1.60).of(reply)        US dollars; None when the server did not say how many tokens
    Account(price, Budget(max_usd=5.0), spent)      admits a request only while its worst case still fits the budget

A budget is the teacher's for good, not a run's: what the ledger has paid already counts, and what no server counted is
held at its worst case. That is an assumption, kept and told apart from what is known. An unknown price is None and
never 0; a budget in dollars without a price is refused before anything is asked. It sends nothing.
"""

import json
from dataclasses import asdict, dataclass, replace

from models_py.errors import UserError, refuse
from models_py.teacher.request import TeacherReply, TeacherRequest

# Of a request as JSON, where a character outside ASCII has six, and twelve beyond 16 bits. So a token for three
# characters of English, which has about four, and two for one of other scripts. Mere digits, and scripts that a
# tokenizer never saw, may take more.
CHARS_A_TOKEN = 3


def dollars(usd: float) -> str:
    """Cents for large sums, more digits for small ones."""
    if usd >= 1 or usd == 0:
        return f"${usd:,.2f}"
    return f"${usd:.2g}" if usd < 0.01 else f"${usd:.3f}".removesuffix("0")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a million tokens. `cached_input`: of prompt tokens that the server had cached, `input` without it."""

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        refuse(
            f"{name}: {value} is below 0; give US dollars a million tokens"
            for name, value in asdict(self).items()
            if value is not None and value < 0
        )

    def times(self, factor: float) -> "Price":
        """A share of the price, as for batches."""
        cached_input = None if self.cached_input is None else factor * self.cached_input
        return Price(factor * self.input, factor * self.output, cached_input)

    def of(self, reply: TeacherReply) -> float | None:
        """US dollars of one reply, None when its usage is unknown."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        cached = min(_cached_tokens(reply.usage), reply.prompt_tokens)
        return self.usd(reply.prompt_tokens, reply.completion_tokens, cached)

    def usd(self, prompt_tokens: int, completion_tokens: int, cached: int = 0) -> float:
        """US dollars of so many tokens; cached: of prompt_tokens."""
        cached_input = self.input if self.cached_input is None else self.cached_input
        millionths = (prompt_tokens - cached) * self.input + cached * cached_input + completion_tokens * self.output
        return millionths / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a teacher stops, over all runs of its warehouse; None is no limit. Tokens are prompt and completion."""

    max_usd: float | None = None
    max_tokens: int | None = None
    max_requests: int | None = None

    def __post_init__(self) -> None:
        refuse(
            f"budget.{name}: {value} is not above 0; leave it out for no limit"
            for name, value in asdict(self).items()
            if value is not None and value <= 0
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests that were answered, their tokens and dollars as far as known, and how many have no known cost.

    assumed_tokens, assumed_usd: what they took more, at most, where it is not known.
    """

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    assumed_tokens: int = 0
    assumed_usd: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.usd + other.usd,
            self.unpriced + other.unpriced,
            self.assumed_tokens + other.assumed_tokens,
            self.assumed_usd + other.assumed_usd,
        )

    def __sub__(self, other: "Spent") -> "Spent":
        negative = Spent(
            -other.requests,
            -other.tokens,
            -other.usd,
            -other.unpriced,
            -other.assumed_tokens,
            -other.assumed_usd,
        )
        return self + negative

    @property
    def tokens_at_most(self) -> int:
        return self.tokens + self.assumed_tokens

    @property
    def usd_at_most(self) -> float:
        return self.usd + self.assumed_usd

    def told(self) -> str:
        """`12 replies, $1.23 so far, and at most $0.50 more, assumed where nothing was counted`."""
        assumed = f"and {self.assumed()}" if self.assumed() else ""
        return ", ".join(filter(None, [f"{self.requests:,} replies", self.shown(), assumed]))

    def at_most(self) -> str:
        """All of it as one sum: `4,000 tokens and $0.12`; tokens alone where nothing has a price."""
        return f"{self.tokens_at_most:,} tokens" + (f" and {dollars(self.usd_at_most)}" if self.usd_at_most else "")

    def assumed(self) -> str:
        """What a budget holds without knowing it, in words; empty for nothing."""
        tokens = f"{self.assumed_tokens:,} tokens" if self.assumed_tokens else ""
        both = " and ".join(filter(None, [tokens, dollars(self.assumed_usd) if self.assumed_usd else ""]))
        return f"at most {both} more, assumed where nothing was counted" if both else ""

    def shown(self) -> str:
        """What is known: `$1.23 so far`; without a known price the tokens."""
        if self.unpriced == self.requests:
            return f"{self.tokens:,} tokens so far" if self.tokens else ""
        of_unknown_cost = f" ({self.unpriced:,} replies of unknown cost)" if self.unpriced else ""
        return f"{dollars(self.usd)} so far{of_unknown_cost}"


class Account:
    """Spending of one teacher: what was spent, what is under way at its worst, and whether more is allowed.

    Not for several threads at once.
    """

    def __init__(
        self,
        price: Price | None = None,
        budget: Budget | None = None,
        spent: Spent | None = None,
        name: str = "teacher",
    ) -> None:
        self.price = price
        self.budget = budget or Budget()
        self.spent = spent or Spent()
        self.reached: str | None = None  # the limit that the last refusal was for, in words
        self._refused = Spent()  # its worst case
        self._open: dict[str, Spent] = {}  # request id -> its worst case
        self._reserved = Spent()
        if self.budget.max_usd is not None and price is None:
            raise UserError(
                f"{name}.budget.max_usd: the price of the model is unknown; add it under prices, by the model's name"
            )

    def admits(self, request: TeacherRequest) -> bool:
        """Whether the request's worst case fits the budget beside the worst of what is under way; then it is under way.

        A refusal sets `reached`. It is final only when nothing is under way: replies are cheaper than their worst case.
        """
        worst = self._worst(request)
        self.reached, self._refused = self._exceeded(self.spent + self._reserved + worst), worst
        if self.reached:
            return False
        self._open[request.request_id] = worst
        self._reserved += worst
        return True

    def may_admit(self, request: TeacherRequest) -> bool:
        """Whether it fits once what is under way has come, for nothing."""
        return self._exceeded(self.spent + self._worst(request)) is None

    def told(self) -> str:
        """Of the limit that was reached, what was spent and what one request more may take: a sentence or two."""
        needs = f" The next one may take {self._refused.at_most()}, which is more than is left."
        is_counted = self.reached is not None and "max_requests" in self.reached
        return f"{self.reached} is reached: {self.spent.told()}.{'' if is_counted else needs}"

    def settle(self, reply: TeacherReply) -> TeacherReply:
        """Books a reply in place of its worst case and returns it with its cost."""
        worst = self._open.pop(reply.request_id, Spent())
        self._reserved -= worst
        if reply.error is not None:
            return reply
        cost = self.price.of(reply) if self.price else None
        known = reply.prompt_tokens is not None and reply.completion_tokens is not None
        tokens = (reply.prompt_tokens or 0) + (reply.completion_tokens or 0)
        self.spent += Spent(1, tokens, cost or 0.0, int(cost is None))
        if not known:  # held at the worst, or a budget would never be reached
            self.spent += Spent(assumed_tokens=worst.tokens - tokens, assumed_usd=worst.usd)
        return replace(reply, cost_usd=cost)

    def release(self) -> None:
        """Forget what was under way and will not be answered."""
        self._open.clear()
        self._reserved = Spent()

    def _worst(self, request: TeacherRequest) -> Spent:
        prompt = prompt_tokens_at_most(request)
        completion = request.sampling.max_tokens
        return Spent(1, prompt + completion, self.price.usd(prompt, completion) if self.price else 0.0)

    def _exceeded(self, total: Spent) -> str | None:
        limits = (
            ("max_usd", total.usd_at_most, self.budget.max_usd),
            ("max_tokens", total.tokens_at_most, self.budget.max_tokens),
            ("max_requests", total.requests, self.budget.max_requests),
        )
        return next((f"budget.{name} {limit:,}" for name, value, limit in limits if limit and value > limit), None)


def prompt_tokens_at_most(request: TeacherRequest) -> int:
    """An estimate that errs on the high side, for budgets and rate limits: nobody's tokenizer is at hand."""
    return len(request.stored) // CHARS_A_TOKEN


def _cached_tokens(usage: str | None) -> int:
    details = (json.loads(usage) if usage else {}).get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return cached if isinstance(cached, int) and cached > 0 else 0
