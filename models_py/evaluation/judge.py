"""Comparing answers: a judge is an engine as a teacher's is, asked about two answers in one order at a time.

    judge = open_judge(spec, ledger)
    for judged in judge_all(comparisons, judge, ledger, account):
        ...      # Judged(comparison, request_id, reply, Verdict("ok", 8.0, 7.0))

Requests go through the teacher's ledger (phase `verdict`), so what was answered is never paid for twice; a verdict that
cannot be read is asked again with a changed sampling, as often as `parse_attempts` says. Equal texts are asked about
once, whoever wrote them.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from models_py.content import fingerprint
from models_py.conversation import NO_CONTEXT, Context
from models_py.evaluation.verdict import PARSER_VERSION, Verdict, read_verdict
from models_py.evaluation.verdict_prompt import VerdictPrompt, load_verdict_prompt
from models_py.progress import OnProgress, silent
from models_py.teacher.ask_in_rounds import ask_in_rounds
from models_py.teacher.ledger import Ledger
from models_py.teacher.ledger_store import LedgerPlace
from models_py.teacher.money import Account, Spent
from models_py.teacher.open_teacher import FIRST_TRY, OpenTeacher, Try
from models_py.teacher.reply_text import how_it_ended
from models_py.teacher.request import VERDICT, TeacherReply, TeacherRequest
from models_py.teacher.spec import TeacherSpec


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one instruction in the order in which they are shown, and whose they are."""

    instruction_id: str
    model_1: str
    model_2: str
    instruction: str
    input: str
    answer_1: str
    answer_2: str
    context: Context = NO_CONTEXT

    @property
    def shown_id(self) -> str:
        """Of all texts that are shown."""
        turns = [[turn.role, turn.content] for turn in self.context.history]
        texts = [self.instruction, self.input, self.answer_1, self.answer_2]
        return fingerprint(VERDICT, self.context.system, turns, *texts)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge said of a comparison."""

    comparison: Comparison
    request_id: str
    reply: TeacherReply
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge that is ready: `asked` answers its requests as a teacher does."""

    asked: OpenTeacher
    prompt: VerdictPrompt

    @property
    def name(self) -> str:
        """Its key in the profile."""
        return self.asked.spec.name

    @property
    def prompt_version(self) -> str:
        """Which verdicts are current: a hash of prompt, sampling, identity, second tries and parser."""
        settings, identity = self.asked.spec.settings, self.asked.engine.identity
        sampling = settings.sampling.payload()
        return fingerprint(VERDICT, self.prompt.text, sampling, identity, settings.parse_attempts, PARSER_VERSION)

    def request(self, comparison: Comparison, this_try: Try = FIRST_TRY) -> TeacherRequest:
        """The question about one comparison."""
        one = comparison
        request = TeacherRequest(
            request_id="",
            teacher=self.name,
            identity=self.asked.engine.identity,
            phase=VERDICT,
            content_id=one.shown_id,
            prompt=self.prompt.version,
            messages=self.prompt.messages(one.instruction, one.input, one.context, one.answer_1, one.answer_2),
            sampling=self.asked.sampling(this_try, VERDICT),
            parse_attempt=this_try.parse_attempt,
        )
        return replace(request, request_id=request.hash)


def open_judge(spec: TeacherSpec, ledger: LedgerPlace | None = None) -> Judge:
    """Checks prompt and files; asks nothing, loads no model. Raises UserError naming the profile's field."""
    engine = spec.open_engine(ledger)
    asked = OpenTeacher(spec, engine, {})
    asked.account(Spent())
    return Judge(asked, load_verdict_prompt(spec.name, spec.settings.prompts.verdict))


def judge_all(
    comparisons: Sequence[Comparison],
    judge: Judge,
    ledger: Ledger,
    *,
    account: Account | None = None,
    on_progress: OnProgress = silent,
) -> Generator[Judged, None, None]:
    """The verdict on every comparison, as replies come; none on those that a stop or the budget left unasked."""

    def request_of(place: int, this_try: Try) -> TeacherRequest:
        return judge.request(comparisons[place], this_try)

    def read(place: int, this_try: Try, reply: TeacherReply) -> tuple[Judged, str]:
        verdict = read_verdict(reply.reply, reply.finish_reason, reply.error)
        was_cut = verdict.status == "unreadable" and how_it_ended(reply.finish_reason) == "length"
        judged = Judged(comparisons[place], reply.request_id, reply, verdict)
        return judged, "truncated" if was_cut else verdict.status

    due = ((place, FIRST_TRY) for place in range(len(comparisons)))
    yield from ask_in_rounds(due, request_of, read, judge.asked, ledger, account=account, on_progress=on_progress)


def request_ids(comparisons: Sequence[Comparison], judge: Judge) -> Iterator[str]:
    """Of every try that these comparisons may get."""
    for comparison in comparisons:
        for this_try in judge.asked.tries():
            yield judge.request(comparison, this_try).request_id
