-- Ablation: of the four texts, the answer that the student finds most fluent given its instruction: the lowest ppl(y | x).
-- response_reflection: all
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select teacher, student, pair_id, candidate, ppl_answer_given_instruction
    from selection.candidate_scores
    where status = 'ok' and ppl_answer_given_instruction is not null
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    first(scores.candidate order by scores.ppl_answer_given_instruction, selection.candidate_order(scores.candidate)) as candidate -- original | instruction | response | both; a tie keeps the less rewritten
from scores
group by scores.teacher, scores.student, scores.pair_id
