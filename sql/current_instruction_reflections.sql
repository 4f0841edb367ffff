-- The outcome of every instruction reflection on a pair of now under the teacher's current prompt, whatever its status; a reply hides the failures before it.
-- grain: one row a (teacher, pair_id)
with teachers as (
    select teacher, instruction_prompt_version from profile.teachers
),

-- By row id, which DuckLake counts up with every row committed: clocks may be set back, and of the other rows no text is
-- read. By pair too: so a filter by pair reaches this as well.
newest as (
    select
        reflections.pair_id,
        first(reflections.rowid order by reflections.status = 'failed', reflections.rowid desc) as row_id
    from reflection.instruction_reflections as reflections
    inner join teachers
        on teachers.teacher = reflections.teacher
        and teachers.instruction_prompt_version = reflections.prompt_version
    group by reflections.teacher, reflections.pair_id
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
from reflection.instruction_reflections as reflections
inner join newest
    on newest.row_id = reflections.rowid
    and newest.pair_id = reflections.pair_id
semi join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = reflections.pair_id
