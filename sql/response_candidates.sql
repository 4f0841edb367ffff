-- What the second choice is between: the chosen base and its twin with the reflected answer; with `response_reflection: all`, both bases and both twins.
-- grain: one row a (teacher, student, pair_id, candidate)
with settings as (
    select distinct teacher, student, response_reflection from profile.recipes
),

choices as (
    select teacher, student, pair_id, choice from selection.instruction_choices
),

candidates as (
    select * from selection.candidates
)

select
    candidates.teacher, -- teacher
    candidates.student, -- student whose first choice names the base
    candidates.pair_id, -- raw pair
    candidates.candidate, -- original | instruction (bases), response | both (twins)
    candidates.content_id, -- id of the text that is scored
    candidates.system, -- system text before it, empty = none
    candidates.history, -- earlier turns before it, JSON, [] = none
    candidates.instruction, -- instruction shown to the student
    candidates.input, -- optional input
    candidates.output -- answer
from candidates
inner join settings
    on settings.teacher = candidates.teacher
    and settings.student = candidates.student
inner join choices
    on choices.teacher = candidates.teacher
    and choices.student = candidates.student
    and choices.pair_id = candidates.pair_id
where settings.response_reflection = 'all' or candidates.candidate in (choices.choice, 'response', 'both')
