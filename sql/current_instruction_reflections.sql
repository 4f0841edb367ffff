-- The outcome of every instruction reflection under the teacher's current prompt, whatever its status; a reply hides the failures before it.
-- grain: one row a (teacher, pair_id)
with teachers as (
    select teacher, instruction_prompt_version from profile.teachers
),

reflections as (
    select * from reflection.instruction_reflections
)

select
    reflections.teacher, -- teacher that reflected
    reflections.pair_id, -- raw pair it was shown
    reflections.request_id, -- request in the teacher's ledger
    reflections.status, -- ok, or why the reply cannot be used
    reflections.critique, -- what the teacher found lacking
    reflections.content_id, -- id of the new pair, NULL unless ok
    reflections.instruction, -- new, self-contained instruction
    reflections.output -- new answer
from reflections
inner join teachers
    on teachers.teacher = reflections.teacher
    and teachers.instruction_prompt_version = reflections.prompt_version
qualify row_number() over (
    partition by reflections.teacher, reflections.pair_id
    order by reflections.status = 'failed', reflections.created_at desc, reflections.status
) = 1
