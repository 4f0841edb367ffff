-- Rival (GRAPE, arXiv 2502.04194): of the four texts, the answer that the student finds most likely given its instruction, token by token; the likeliest first.
-- response_reflection: all
-- grain: one row a (teacher, student, pair_id)
with scores as (
    select
        teacher,
        student,
        pair_id,
        candidate,
        -ln(ppl_answer_given_instruction) as log_likelihood
    from selection.candidate_scores
    where status = 'ok' and ppl_answer_given_instruction is not null
)

select
    scores.teacher, -- teacher
    scores.student, -- student
    scores.pair_id, -- raw pair
    first(scores.candidate order by scores.log_likelihood desc, selection.candidate_order(scores.candidate)) as candidate, -- original | instruction | response | both; a tie keeps the less rewritten
    max(scores.log_likelihood) as rank_by -- mean log-likelihood of its tokens, nats
from scores
group by scores.teacher, scores.student, scores.pair_id
