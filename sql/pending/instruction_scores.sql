-- Texts of the first phase that their scorer has not seen yet: the IFD terms are wanted.
-- grain: one row a (student_fingerprint, content_id)
select
    pairings.scorer_fingerprint as student_fingerprint,
    candidates.content_id,
    candidates.system,
    candidates.history,
    candidates.instruction,
    candidates.input,
    candidates.output,
    true as answer_terms,
    false as instruction_terms
from selection.pairings as pairings
inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
anti join scoring.instruction_scores as scores
    on scores.student_fingerprint = pairings.scorer_fingerprint
    and scores.content_id = candidates.content_id
-- A window and no aggregate: the texts that one holds cannot wait on the disk.
qualify row_number() over (partition by pairings.scorer_fingerprint, candidates.content_id order by candidates.pair_id, candidates.candidate) = 1
order by pairings.scorer_fingerprint, candidates.content_id
