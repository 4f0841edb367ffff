-- The outcome of every response reflection on a text of now under the teacher's current prompt, whatever its status; a reply hides the failures before it.
-- grain: one row a (teacher, pair_id, base, base_content_id)
with teachers as (
    select teacher, response_prompt_version from profile.teachers
),

-- By row id, which DuckLake counts up with every row committed: clocks may be set back, and of the other rows no text is
-- read. By pair too: so a filter by pair reaches this as well.
newest as (
    select
        reflections.pair_id,
        first(reflections.rowid order by reflections.status = 'failed', reflections.rowid desc) as row_id
    from reflection.response_reflections as reflections
    inner join teachers
        on teachers.teacher = reflections.teacher
        and teachers.response_prompt_version = reflections.prompt_version
    group by reflections.teacher, reflections.pair_id, reflections.base, reflections.base_content_id
)

select
    reflections.teacher, -- teacher that reflected
    reflections.pair_id, -- raw pair it descends from
    reflections.base, -- pair it was shown: original | instruction
    reflections.base_content_id, -- id of that pair's exact text
    reflections.request_id, -- request in the teacher's ledger
    reflections.status, -- ok, or why the reply cannot be used
    reflections.critique, -- what the teacher found lacking
    reflections.content_id, -- id of the base with the new answer, NULL unless ok
    reflections.output -- new answer
from reflection.response_reflections as reflections
inner join newest
    on newest.row_id = reflections.rowid
    and newest.pair_id = reflections.pair_id
semi join selection.instruction_candidates as bases
    on bases.teacher = reflections.teacher
    and bases.pair_id = reflections.pair_id
    and bases.candidate = reflections.base
    and bases.content_id = reflections.base_content_id
