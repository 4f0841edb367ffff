-- Texts of the first phase that their scorer has not seen yet: the IFD terms are wanted.
-- grain: one row a (student_fingerprint, content_id)
select
    pairings.scorer_fingerprint as student_fingerprint,
    candidates.content_id,
    any_value(candidates.system) as system,
    any_value(candidates.history) as history,
    any_value(candidates.instruction) as instruction,
    any_value(candidates.input) as input,
    any_value(candidates.output) as output,
    true as answer_terms,
    false as instruction_terms
from selection.pairings as pairings
inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
anti join scoring.instruction_scores as scores
    on scores.student_fingerprint = pairings.scorer_fingerprint
    and scores.content_id = candidates.content_id
group by pairings.scorer_fingerprint, candidates.content_id
order by pairings.scorer_fingerprint, candidates.content_id
