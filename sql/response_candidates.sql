-- What the second choice is between: the chosen base and its twin with the reflected answer; with `response_reflection: all`, both bases and both twins.
-- grain: one row a (teacher, student, pair_id, candidate)
with settings as (
    select distinct teacher, student, response_reflection from profile.recipes
),

choices as (
    select teacher, student, pair_id, choice from selection.instruction_choices
),

bases as (
    select
        choices.teacher,
        choices.student,
        choices.pair_id,
        candidates.candidate,
        candidates.content_id,
        candidates.instruction,
        candidates.input,
        candidates.output
    from choices
    inner join settings
        on settings.teacher = choices.teacher
        and settings.student = choices.student
    inner join selection.instruction_candidates as candidates
        on candidates.teacher = choices.teacher
        and candidates.pair_id = choices.pair_id
        and (settings.response_reflection = 'all' or candidates.candidate = choices.choice)
),

twins as (
    select
        bases.teacher,
        bases.student,
        bases.pair_id,
        case bases.candidate when 'original' then 'response' else 'both' end as candidate,
        reflections.content_id,
        bases.instruction,
        bases.input,
        reflections.output
    from bases
    inner join selection.current_response_reflections as reflections
        on reflections.teacher = bases.teacher
        and reflections.pair_id = bases.pair_id
        and reflections.base = bases.candidate
        and reflections.base_content_id = bases.content_id
    where reflections.status = 'ok'
),

candidates as (
    select * from bases
    union all
    select * from twins
)

select
    candidates.teacher, -- teacher
    candidates.student, -- student whose first choice names the base
    candidates.pair_id, -- raw pair
    candidates.candidate, -- original | instruction (bases), response | both (twins)
    candidates.content_id, -- id of the text that is scored
    candidates.instruction, -- instruction shown to the student
    candidates.input, -- optional input
    candidates.output -- answer
from candidates
