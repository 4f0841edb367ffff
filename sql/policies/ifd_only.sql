-- Ablation: of the four texts, the one with the highest IFD.
-- response_reflection: all
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate, ifd
    from selection.candidate_scores
    where status = 'ok' and ifd is not null
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    first(scores.candidate order by scores.ifd desc, selection.candidate_order(scores.candidate)) as candidate -- original | instruction | response | both; a tie keeps the less rewritten
from scores
group by scores.teacher, scores.student, scores.pair_id
