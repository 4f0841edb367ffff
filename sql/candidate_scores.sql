-- The student's statistics of every candidate. A term that was not asked for is NULL with status ok; a term that failed is NULL and the status says why.
-- materialized: table
-- grain: one row a (teacher, student, pair_id, candidate)
with candidates as (
    select
        candidates.teacher,
        candidates.student,
        candidates.pair_id,
        candidates.candidate,
        candidates.content_id,
        pairings.scorer_fingerprint
    from selection.candidates as candidates
    inner join selection.pairings as pairings
        on pairings.teacher = candidates.teacher
        and pairings.student = candidates.student
),

terms as (
    select
        candidates.teacher,
        candidates.student,
        candidates.pair_id,
        candidates.candidate,
        candidates.content_id,
        coalesce(first_phase.answer_nll, chosen.answer_nll) as answer_nll,
        coalesce(first_phase.answer_nll_given_instruction, chosen.answer_nll_given_instruction) as answer_nll_given_instruction,
        coalesce(first_phase.answer_tokens, chosen.answer_tokens) as answer_tokens,
        second_phase.instruction_nll,
        second_phase.instruction_nll_given_answer,
        second_phase.instruction_tokens,
        case
            when first_phase.status <> 'ok' then first_phase.status
            when chosen.status <> 'ok' then chosen.status
            when second_phase.status is not null then second_phase.status
            else coalesce(first_phase.status, 'not_scored')
        end as status,
        case
            when first_phase.status <> 'ok' then first_phase.reason
            when chosen.status <> 'ok' then chosen.reason
            else second_phase.reason
        end as reason
    from candidates
    left join scoring.instruction_scores as first_phase
        on first_phase.student_fingerprint = candidates.scorer_fingerprint
        and first_phase.content_id = candidates.content_id
    left join selection.instruction_terms as second_phase
        on second_phase.student_fingerprint = candidates.scorer_fingerprint
        and second_phase.content_id = candidates.content_id
    left join scoring.chosen_scores as chosen
        on chosen.student_fingerprint = candidates.scorer_fingerprint
        and chosen.content_id = candidates.content_id
)

select
    terms.teacher, -- teacher
    terms.student, -- student
    terms.pair_id, -- raw pair
    terms.candidate, -- original | instruction | response | both
    terms.content_id, -- id of the scored text
    terms.answer_tokens, -- tokens of the answer, those that were scored
    selection.ppl(terms.answer_nll, terms.answer_tokens) as ppl_answer, -- ppl(y)
    selection.ppl(terms.answer_nll_given_instruction, terms.answer_tokens) as ppl_answer_given_instruction, -- ppl(y | x)
    selection.ppl(terms.instruction_nll, terms.instruction_tokens) as ppl_instruction, -- ppl(x)
    selection.ppl(terms.instruction_nll_given_answer, terms.instruction_tokens) as ppl_instruction_given_answer, -- ppl(x | y')
    selection.ppl_ratio(terms.answer_nll_given_instruction, terms.answer_nll, terms.answer_tokens) as ifd, -- ppl(y | x) / ppl(y)
    terms.answer_nll_given_instruction / nullif(terms.answer_nll, 0) as ifd_loss, -- the other IFD in use: the ratio of the mean losses, loss(y | x) / loss(y)
    selection.ppl_ratio(terms.instruction_nll_given_answer, terms.instruction_nll, terms.instruction_tokens) as r_ifd, -- ppl(x | y') / ppl(x)
    terms.status, -- ok, not_scored, or the first failure
    terms.reason -- which term failed and why, NULL when ok
from terms
