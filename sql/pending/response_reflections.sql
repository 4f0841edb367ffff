-- Bases whose answer a teacher still has to reflect on: the chosen one, or both with `response_reflection: all`.
-- grain: one row a (teacher, pair_id, base)
with chosen_bases as (
    select distinct
        choices.teacher,
        choices.pair_id,
        candidates.candidate as base,
        candidates.content_id as base_content_id,
        candidates.instruction,
        candidates.input,
        candidates.output
    from selection.instruction_choices as choices
    inner join profile.recipes as recipes
        on recipes.teacher = choices.teacher
        and recipes.student = choices.student
    inner join selection.instruction_candidates as candidates
        on candidates.teacher = choices.teacher
        and candidates.pair_id = choices.pair_id
        and (recipes.response_reflection = 'all' or candidates.candidate = choices.choice)
)

select
    chosen_bases.*,
    reflections.status as previous_status
from chosen_bases
left join selection.current_response_reflections as reflections
    on reflections.teacher = chosen_bases.teacher
    and reflections.pair_id = chosen_bases.pair_id
    and reflections.base = chosen_bases.base
    and reflections.base_content_id = chosen_bases.base_content_id
where coalesce(reflections.status, 'failed') = 'failed'
order by chosen_bases.teacher, chosen_bases.pair_id, chosen_bases.base
