-- Texts of the second phase that their scorer has not seen yet: the reversed-IFD terms are wanted.
-- grain: one row a (student_fingerprint, content_id)
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
inner join selection.response_candidates as candidates
    on candidates.teacher = pairings.teacher
    and candidates.student = pairings.student
anti join selection.instruction_terms as terms
    on terms.student_fingerprint = pairings.scorer_fingerprint
    and terms.content_id = candidates.content_id
-- A window and no aggregate, as in instruction_scores.sql.
qualify row_number() over (partition by pairings.scorer_fingerprint, candidates.content_id order by candidates.pair_id, candidates.candidate) = 1
order by pairings.scorer_fingerprint, candidates.content_id
