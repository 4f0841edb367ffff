-- Texts of the first phase whose reversed-IFD terms the guard of the first choice wants: with `first_choice: guarded`, all that their scorer has not seen.
-- grain: one row a (student_fingerprint, content_id)
with settings as (
    select distinct teacher, student from profile.recipes where first_choice = 'guarded'
)

select
    pairings.scorer_fingerprint as student_fingerprint,
    candidates.content_id,
    candidates.system,
    candidates.history,
    candidates.instruction,
    candidates.input,
    candidates.output,
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
-- A window and no aggregate, as in instruction_scores.sql.
qualify row_number() over (partition by pairings.scorer_fingerprint, candidates.content_id order by candidates.pair_id, candidates.candidate) = 1
order by pairings.scorer_fingerprint, candidates.content_id
