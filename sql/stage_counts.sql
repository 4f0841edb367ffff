-- How many rows stand at each stage of the flow now, in its order: what a run ends with.
-- grain: one row a stage
with stages as (
    select 1 as place, 'quarantined' as stage, count(*) as row_count from raw.quarantined_rows
    union all
    select 2, 'raw pairs', count(*) from raw.raw_pairs
    union all
    select 3, 'instructions reflected', count(*) from selection.current_instruction_reflections where status = 'ok'
    union all
    select 4, 'answers reflected', count(*) from selection.current_response_reflections where status = 'ok'
    union all
    select 5, 'chosen', count(*) from selection.response_choices where choice is not null
)

select
    stages.place, -- order in the flow, from 1
    stages.stage, -- what is counted, in words
    stages.row_count -- rows of the current profile, of every teacher and student together
from stages
