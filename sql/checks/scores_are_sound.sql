-- A score is a finite, non-negative number of nats over at least one token; a failed one is NULL with a reason.
-- assets: scoring/instruction_scores, scoring/guard_scores, scoring/response_scores, scoring/chosen_scores
-- blocking: true
select student, content_id, status, reason
from {{ table }}
where
    not coalesce(isfinite(answer_nll) and answer_nll >= 0 and answer_tokens > 0, true)
    or not coalesce(isfinite(answer_nll_given_instruction) and answer_nll_given_instruction >= 0, true)
    or not coalesce(isfinite(instruction_nll) and instruction_nll >= 0 and instruction_tokens > 0, true)
    or not coalesce(isfinite(instruction_nll_given_answer) and instruction_nll_given_answer >= 0, true)
    or (status <> 'ok' and reason is null)
