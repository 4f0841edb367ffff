-- The reversed-IFD terms of every text, whichever step asked for them. A text that both did counts once, as the guard saw it.
-- grain: one row a (student_fingerprint, content_id)
with terms as (
    select student_fingerprint, content_id, instruction_nll, instruction_nll_given_answer, instruction_tokens, status, reason
    from scoring.guard_scores
    union all
    select
        second_phase.student_fingerprint,
        second_phase.content_id,
        second_phase.instruction_nll,
        second_phase.instruction_nll_given_answer,
        second_phase.instruction_tokens,
        second_phase.status,
        second_phase.reason
    from scoring.response_scores as second_phase
    anti join scoring.guard_scores as guard
        on guard.student_fingerprint = second_phase.student_fingerprint
        and guard.content_id = second_phase.content_id
)

select
    terms.student_fingerprint, -- scorer
    terms.content_id, -- id of the scored text
    terms.instruction_nll, -- nats of the instruction alone
    terms.instruction_nll_given_answer, -- nats of the instruction after its answer
    terms.instruction_tokens, -- tokens of the instruction
    terms.status, -- ok, or the failure
    terms.reason -- which term failed and why, NULL when ok
from terms
