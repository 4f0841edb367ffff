-- How many rows stand at each stage of the flow now, in its order: what a run ends with.
-- grain: one row a stage
with pairs as (
    select pair_id from raw.raw_pairs
),

-- What was reflected on stays in the lake; what counts is the pairs and texts of now.
instructions as (
    select reflections.pair_id
    from selection.current_instruction_reflections as reflections
    inner join pairs on pairs.pair_id = reflections.pair_id
    where reflections.status = 'ok'
),

answers as (
    select reflections.pair_id
    from selection.current_response_reflections as reflections
    inner join selection.instruction_candidates as bases
        on bases.teacher = reflections.teacher
        and bases.pair_id = reflections.pair_id
        and bases.candidate = reflections.base
        and bases.content_id = reflections.base_content_id
    where reflections.status = 'ok'
),

stages as (
    select 1 as place, 'quarantined' as stage, count(*) as row_count from raw.quarantined_rows
    union all
    select 2, 'raw pairs', count(*) from pairs
    union all
    select 3, 'instructions reflected', count(*) from instructions
    union all
    select 4, 'answers reflected', count(*) from answers
    union all
    select 5, 'chosen', count(*) from selection.response_choices where choice is not null
)

select
    stages.place, -- order in the flow, from 1
    stages.stage, -- what is counted, in words
    stages.row_count -- rows of the current profile, of every teacher and student together
from stages
