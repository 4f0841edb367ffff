-- Baseline: every pair as it came, the longest answers first. A cut (`top_k`, `top_fraction`, `rows_as`) makes it a rival of equal size.
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate, answer_tokens
    from selection.candidate_scores
    where candidate = 'original' and status = 'ok'
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    scores.candidate, -- always original
    scores.answer_tokens as rank_by -- tokens of the answer
from scores
