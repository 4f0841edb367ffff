-- Bases whose answer a teacher still has to reflect on: the chosen one, or both with `response_reflection: all`.
-- grain: one row a (teacher, pair_id, base)
with settings as (
    select distinct teacher, student, response_reflection from profile.recipes
),

wanted as (
    select
        choices.teacher,
        choices.pair_id,
        unnest(if(settings.response_reflection = 'all', ['original', 'instruction'], [choices.choice])) as base
    from selection.instruction_choices as choices
    inner join settings
        on settings.teacher = choices.teacher
        and settings.student = choices.student
)

select
    candidates.teacher,
    candidates.pair_id,
    candidates.candidate as base,
    candidates.content_id as base_content_id,
    candidates.system,
    candidates.history,
    candidates.instruction,
    candidates.input,
    candidates.output,
    reflections.status as previous_status
from selection.instruction_candidates as candidates
semi join wanted
    on wanted.teacher = candidates.teacher
    and wanted.pair_id = candidates.pair_id
    and wanted.base = candidates.candidate
left join selection.current_response_reflections as reflections
    on reflections.teacher = candidates.teacher
    and reflections.pair_id = candidates.pair_id
    and reflections.base = candidates.candidate
    and reflections.base_content_id = candidates.content_id
where coalesce(reflections.status, 'failed') = 'failed'
order by candidates.teacher, candidates.pair_id, candidates.candidate
