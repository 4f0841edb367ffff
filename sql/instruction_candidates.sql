-- What the first choice is between: every raw pair as it stands, and its instruction-reflected twin where the teacher gave a usable one.
-- grain: one row a (teacher, pair_id, candidate)
with teachers as (
    select teacher from profile.teachers
),

raw_pairs as not materialized (
    select pair_id, system, history, instruction, input, output from raw.raw_pairs
),

originals as (
    select
        teachers.teacher,
        raw_pairs.pair_id,
        'original' as candidate,
        raw_pairs.pair_id as content_id,
        raw_pairs.system,
        raw_pairs.history,
        raw_pairs.instruction,
        raw_pairs.input,
        raw_pairs.output
    from teachers
    cross join raw_pairs
),

instruction_reflected as (
    select
        reflections.teacher,
        reflections.pair_id,
        'instruction' as candidate,
        reflections.content_id,
        raw_pairs.system,
        raw_pairs.history,
        reflections.instruction,
        '' as input,
        reflections.output
    from selection.current_instruction_reflections as reflections
    inner join raw_pairs on raw_pairs.pair_id = reflections.pair_id
    where reflections.status = 'ok'
),

candidates as (
    select * from originals
    union all
    select * from instruction_reflected
)

select
    candidates.teacher, -- teacher whose rewrite stands beside the original
    candidates.pair_id, -- raw pair
    candidates.candidate, -- original | instruction
    candidates.content_id, -- id of the text that is scored
    candidates.system, -- system text before it, empty = none
    candidates.history, -- earlier turns before it, JSON, [] = none
    candidates.instruction, -- instruction shown to the student
    candidates.input, -- optional input, empty where the rewrite folded it in
    candidates.output -- answer
from candidates
