"""From a teacher of the profile to one that can be asked: its engine, its prompts, its sampling, its second tries."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from models_py.teacher.engines.base import Engine, profile_key
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Account, Spent
from models_py.teacher.prompt import Prompt, build_request, load_prompts, prompt_version
from models_py.teacher.request import (
    BETTER_ANSWER,
    INSTRUCTION_REFLECTION,
    NEW_ANSWER,
    NEW_INSTRUCTION,
    PendingPair,
    Sampling,
    TeacherRequest,
)
from models_py.teacher.spec import TeacherSpec

# Tokens of a plain reply at most, where the profile allows more: small models do not end long texts well.
_PLAIN_TOKENS = {NEW_INSTRUCTION: 192, NEW_ANSWER: 512, BETTER_ANSWER: 512}
_WARMER = 0.3  # added to the temperature of each further try, up to 1: a server may ignore the seed


@dataclass(frozen=True, slots=True)
class Try:
    """How often a pair was asked about before: `parse_attempt` replies could not be used.

    raised: one of them stopped at its token limit, so the limit is doubled from then on.
    """

    parse_attempt: int = 0
    raised: bool = False


FIRST_TRY = Try()


@dataclass(frozen=True, slots=True)
class OpenTeacher:
    """A teacher that is ready: requests are built with its own prompts and sampling, and answered by `engine`."""

    spec: TeacherSpec
    engine: Engine
    prompts: Mapping[str, Prompt]  # by request

    def requests(self, phase: str) -> tuple[str, ...]:
        """The requests of a phase of the run, in order: one, or two where the words are plain."""
        return self.spec.settings.prompts.requests[phase]

    def request(self, phase: str, pair: PendingPair, this_try: Try = FIRST_TRY) -> TeacherRequest:
        """The request of that name about one pair."""
        return build_request(
            self.prompts[phase],
            teacher=self.spec.name,
            identity=self.engine.identity,
            sampling=self.sampling(this_try, phase),
            instruction=pair.instruction,
            input=pair.input,
            output=pair.output,
            context=pair.context,
            parse_attempt=this_try.parse_attempt,
        )

    def again(self, request: TeacherRequest, this_try: Try) -> TeacherRequest:
        """The same question as another try asks it."""
        sampling = self.sampling(this_try, request.phase)
        changed = replace(request, sampling=sampling, parse_attempt=this_try.parse_attempt)
        return replace(changed, request_id=changed.hash)

    def sampling(self, this_try: Try, phase: str = INSTRUCTION_REFLECTION) -> Sampling:
        """The sampling of a try: the first as the profile says, further ones with another seed and more warmth."""
        sampling = self.spec.settings.sampling
        if phase in _PLAIN_TOKENS:
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens, _PLAIN_TOKENS[phase]))
        again = this_try.parse_attempt - this_try.raised
        if again:
            warm = max(sampling.temperature, min(1.0, sampling.temperature + _WARMER * again))
            sampling = replace(sampling, seed=(sampling.seed or 0) + again, temperature=warm)
        return replace(sampling, max_tokens=2 * sampling.max_tokens) if this_try.raised else sampling

    def next_try(self, this_try: Try, status: str) -> Try | None:
        """What follows a reply of that status; None when the status stands.

        A reply that stopped at its limit gets a limit twice as high, once; one that repeats itself never, for it would
        go on so. Any other that cannot be used is asked again `parse_attempts` times. An error is no reply: the next
        run repeats the same request.
        """
        if status in ("ok", "failed"):
            return None
        if status == "repetitive" and this_try.raised:
            return None
        if status == "truncated":
            return None if this_try.raised else Try(this_try.parse_attempt + 1, raised=True)
        again = this_try.parse_attempt - this_try.raised
        return replace(this_try, parse_attempt=this_try.parse_attempt + 1) if again < self.tries_again else None

    def tries(self) -> Iterator[Try]:
        """Every try that `next_try` can lead to, whatever the statuses of those before."""
        for number in range(self.tries_again + 1):
            yield Try(number)
            yield Try(number + 1, raised=True)

    @property
    def tries_again(self) -> int:
        return self.spec.settings.parse_attempts

    def prompt_version(self, phase: str) -> str:
        """Which reflections of the phase are current: a hash of identity, sampling, prompt, second tries and parser."""
        *_, last = requests = self.requests(phase)
        texts = [self.prompts[name].texts for name in requests]
        text = texts[0] if len(texts) == 1 else texts
        sampling, identity = self.spec.settings.sampling, self.engine.identity
        return prompt_version(phase, text, sampling, identity, self.tries_again, request=last)

    def account(self, spent: Spent) -> Account:
        """What the teacher may still spend. Raises UserError for a budget in dollars without a price."""
        return Account(self.spec.charged, self.spec.settings.budget, spent, name=f"{profile_key(self.spec.name)}")


def open_teacher(spec: TeacherSpec, ledger: LedgerPlace | None = None) -> OpenTeacher:
    """Checks prompts and files; asks nothing, loads no model. Raises UserError naming the profile's field.

    ledger: where `openai_batch` keeps the ids of its open batches; beside it `vllm` remembers hashes of weights.
    """
    engine = spec.open_engine(ledger)
    teacher = OpenTeacher(spec, engine, load_prompts(spec.name, spec.settings.prompts))
    teacher.account(Spent())
    return teacher
