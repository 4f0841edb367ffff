-- Every text of a pair that may end in a training set: the two of the first phase and those of the second.
-- grain: one row a (teacher, student, pair_id, candidate)
with settings as (
    select distinct teacher, student, response_reflection from profile.recipes
),

choices as (
    select teacher, student, pair_id, choice from selection.instruction_choices
),

reflections as (
    select teacher, pair_id, base, base_content_id, content_id, output
    from selection.current_response_reflections
    where status = 'ok'
),

first_phase as not materialized (
    select
        pairings.teacher,
        pairings.student,
        candidates.pair_id,
        candidates.candidate,
        candidates.content_id,
        candidates.system,
        candidates.history,
        candidates.instruction,
        candidates.input,
        candidates.output
    from selection.pairings as pairings
    inner join selection.instruction_candidates as candidates on candidates.teacher = pairings.teacher
),

bases as (
    select
        first_phase.teacher,
        first_phase.student,
        first_phase.pair_id,
        first_phase.candidate,
        first_phase.content_id,
        first_phase.system,
        first_phase.history,
        first_phase.instruction,
        first_phase.input
    from first_phase
    inner join settings
        on settings.teacher = first_phase.teacher
        and settings.student = first_phase.student
    inner join choices
        on choices.teacher = first_phase.teacher
        and choices.student = first_phase.student
        and choices.pair_id = first_phase.pair_id
    where settings.response_reflection = 'all' or first_phase.candidate = choices.choice
),

second_phase as (
    select
        bases.teacher,
        bases.student,
        bases.pair_id,
        selection.twin_of_base(bases.candidate) as candidate,
        reflections.content_id,
        bases.system,
        bases.history,
        bases.instruction,
        bases.input,
        reflections.output
    from bases
    inner join reflections
        on reflections.teacher = bases.teacher
        and reflections.pair_id = bases.pair_id
        and reflections.base = bases.candidate
        and reflections.base_content_id = bases.content_id
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
    candidates.system, -- system text before it, empty = none
    candidates.history, -- earlier turns before it, JSON, [] = none
    candidates.instruction, -- instruction
    candidates.input, -- optional input
    candidates.output -- answer
from candidates
