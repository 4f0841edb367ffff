-- Texts of the first phase whose reversed-IFD terms the guard of the first choice wants: with `first_choice: guarded`, all that their scorer has not seen.
-- grain: one row a (student_fingerprint, content_id)
with settings as (
    select distinct teacher, student from profile.recipes where first_choice = 'guarded'
)

select
    pairings.scorer_fingerprint as student_fingerprint,
    candidates.content_id,
    any_value(candidates.system) as system,
    any_value(candidates.history) as history,
    any_value(candidates.instruction) as instruction,
    any_value(candidates.input) as input,
    any_value(candidates.output) as output,
    false as answer_terms,
    true as instruction_terms
from selection.pairings as pairings
semi join settings
    on settings.teacher = pairings.teacher
    and settings.student = pairings.student
inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
anti join scoring.guard_scores as scores
    on scores.student_fingerprint = pairings.scorer_fingerprint
    and scores.content_id = candidates.content_id
group by pairings.scorer_fingerprint, candidates.content_id
order by pairings.scorer_fingerprint, candidates.content_id
