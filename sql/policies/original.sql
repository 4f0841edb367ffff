-- Baseline: every pair as it came, where the student could score it.
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate
    from selection.candidate_scores
    where candidate = 'original' and status = 'ok'
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    scores.candidate -- always original
from scores
