-- Ablation: the original instruction with the reflected answer, unasked of the student; pairs without a usable rewrite are dropped.
-- response_reflection: all
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate
    from selection.candidate_scores
    where candidate = 'response' and status = 'ok'
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    scores.candidate -- always response
from scores
