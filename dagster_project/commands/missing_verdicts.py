"""What `make evaluate` would still ask the judges: only looked at.

    wanted = verdicts_wanted(profile)
    missing_verdicts(judge, wanted, ledger).missing

Of checkpoints that have answered, the questions are known to the letter. Of those to come it is known how many there
will be, from the recipes, training seeds and opponents of the profile; how long their answers will be is a guess.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from dagster_project.lakehouse.lake import open_lake
from dagster_project.profile.schema import Profile
from models_py.evaluation.instructions import Instruction, read_instructions
from models_py.evaluation.judge import Comparison, Judge
from models_py.evaluation.opponents import Contestant, meetings
from models_py.teacher.estimate import Missing, TeacherEstimate, phase_estimate, whole_estimate
from models_py.teacher.ledger import Ledger
from models_py.teacher.request import VERDICT

_CHARS_A_TOKEN = 4
_CONTESTANTS = "select model, recipe, training_seed, student_fingerprint from evaluation.models"
_ANSWERS = "select model, instruction_id, answer from evaluation.answers where generation = ? and status = 'ok'"


@dataclass(frozen=True, slots=True)
class VerdictsWanted:
    """known: of answers that are there. to_come: how many more there will be; stands_for: texts like theirs."""

    known: list[Comparison]
    to_come: int
    stands_for: Comparison


def verdicts_wanted(profile: Profile) -> VerdictsWanted:
    """Every comparison of the profile, in both orders. Raises UserError for instruction files that cannot be read."""
    evaluation = profile.evaluation
    asked = {one.instruction_id: one for one in read_instructions(evaluation.instructions).instructions}
    answers = _answers(profile)
    met, known = 0, list[Comparison]()
    for pair in _pairs(profile) if answers else ():
        for instruction_id, instruction in asked.items():
            one, two = (answers.get((model, instruction_id)) for model in pair)
            if one is not None and two is not None:
                met += 1
                known += _both_orders(instruction, pair, (one, two))
    to_come = 2 * max(0, _meetings(profile) * len(asked) - met)
    guess = "x" * (_CHARS_A_TOKEN * evaluation.generation.max_tokens // 2)
    longest = max(asked.values(), key=lambda one: len(one.instruction) + len(one.input))
    stands_for = Comparison("", "", "", longest.instruction, longest.input, guess, guess)
    return VerdictsWanted(known, to_come, stands_for)


def _answers(profile: Profile) -> dict[tuple[str, str], str]:
    """By model and instruction, as the profile says now how they are made."""
    lake = open_lake(profile)
    if not lake.exists():
        return {}
    try:
        rows = lake.read(_ANSWERS, [profile.evaluation.generation.id]).rows()
    except duckdb.CatalogException:  # a lake of before there were evaluations
        return {}
    return {(model, instruction_id): answer for model, instruction_id, answer in rows}


def _pairs(profile: Profile) -> list[tuple[str, str]]:
    """Which models meet, of those that are there."""
    models = [Contestant(*row) for row in open_lake(profile).read(_CONTESTANTS).iter_rows()]
    return [(one.model, one.opponent) for one in meetings(models, profile.evaluation.opponents)]


def missing_verdicts(judge: Judge, wanted: VerdictsWanted, ledger: Ledger) -> TeacherEstimate:
    """What of it the ledger does not know, and what that takes."""
    requests = [judge.request(one) for one in wanted.known]
    replies = ledger.replies([request.request_id for request in requests])
    answered = {request_id for request_id, reply in replies.items() if reply.error is None}
    open_requests = {one.request_id: one for one in requests if one.request_id not in answered}
    to_come = judge.request(wanted.stands_for)
    missing = [
        Missing(
            sum(len(message.content) for message in request.messages),
            0,
            request.sampling.max_tokens,
            judge.asked.engine.answers(request),
        )
        for request in (*open_requests.values(), *[to_come] * wanted.to_come)
    ]
    distinct = len({request.request_id for request in requests})
    phase = phase_estimate(
        judge.asked,
        ledger,
        VERDICT,
        wanted=distinct + wanted.to_come,
        missing=len(missing),
        to_ask={VERDICT: missing},
    )
    return whole_estimate(judge.asked, ledger, (phase,))


def _both_orders(instruction: Instruction, models: tuple[str, str], texts: tuple[str, str]) -> Iterator[Comparison]:
    """Nobody is asked about answers that are the same."""
    for one, two in ((0, 1), (1, 0)) if texts[0] != texts[1] else ():
        yield Comparison(
            instruction.instruction_id,
            models[one],
            models[two],
            instruction.instruction,
            instruction.input,
            texts[one],
            texts[two],
            instruction.context,
        )


def _meetings(profile: Profile) -> int:
    """How many pairs of models will meet, once every recipe is trained under every seed."""
    models = [
        Contestant(f"{name}/{settings.seed}", name, settings.seed, recipe.student)
        for name, recipe in profile.recipes.items()
        for settings in profile.trainings_of(name)
    ]
    models += [Contestant(student, None, None, student) for student in profile.students]
    return len(meetings(models, profile.evaluation.opponents))
