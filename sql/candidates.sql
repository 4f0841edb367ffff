-- Every text of a pair that may end in a training set: the two of the first phase and those of the second.
-- grain: one row a (teacher, student, pair_id, candidate)
with first_phase as (
    select
        pairings.teacher,
        pairings.student,
        candidates.pair_id,
        candidates.candidate,
        candidates.content_id,
        candidates.instruction,
        candidates.input,
        candidates.output
    from selection.pairings as pairings
    inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
),

second_phase as (
    select teacher, student, pair_id, candidate, content_id, instruction, input, output
    from selection.response_candidates
    where candidate in ('response', 'both')
),

candidates as (
    select * from first_phase
    union all
    select * from second_phase
)

select
    candidates.teacher, -- teacher
    candidates.student, -- student
    candidates.pair_id, -- raw pair
    candidates.candidate, -- original | instruction | response | both
    candidates.content_id, -- id of the text
    candidates.instruction, -- instruction
    candidates.input, -- optional input
    candidates.output -- answer
from candidates
