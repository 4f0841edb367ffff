-- Pairs that a teacher still has to reflect on under its current prompt; a request that failed in transport is asked again.
-- grain: one row a (teacher, pair_id)
select
    teachers.teacher,
    raw_pairs.pair_id,
    raw_pairs.system,
    raw_pairs.history,
    raw_pairs.instruction,
    raw_pairs.input,
    raw_pairs.output,
    reflections.status as previous_status
from profile.teachers as teachers
cross join raw.raw_pairs as raw_pairs
left join selection.current_instruction_reflections as reflections
    on reflections.teacher = teachers.teacher
    and reflections.pair_id = raw_pairs.pair_id
where coalesce(reflections.status, 'failed') = 'failed'
order by teachers.teacher, raw_pairs.pair_id
