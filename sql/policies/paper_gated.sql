-- Selective Reflection-Tuning as its published code does it: `paper`, and of the kept pair IFD < 1 and reversed IFD < 1.
-- grain: one row a (teacher, student, pair_id)
with kept as (
    select teacher, student, pair_id, candidate from selection.paper
),

scores as (
    select teacher, student, pair_id, candidate
    from selection.candidate_scores
    where status = 'ok' and ifd < 1 and r_ifd < 1
)

select
    kept.teacher, -- teacher
    kept.student, -- student
    kept.pair_id, -- raw pair
    kept.candidate -- response | both
from kept
inner join scores
    on scores.teacher = kept.teacher
    and scores.student = kept.student
    and scores.pair_id = kept.pair_id
    and scores.candidate = kept.candidate
