-- Where each row of a training set comes from, to be frozen with it: the source line, who rewrote it, what the student compared.
-- grain: one row a (recipe, pair_id)
with decisions as (
    select recipe, pair_id, is_mixed_in, ifd, r_ifd from selection.pair_decisions where kept
),

recipes as (
    select
        recipes.recipe,
        recipes.teacher,
        recipes.student,
        students.scorer_fingerprint
    from profile.recipes as recipes
    inner join profile.students as students on students.student = recipes.student
),

-- Which text the second reflection was shown.
bases as (
    select
        choices.teacher,
        choices.student,
        choices.pair_id,
        choices.choice as base,
        candidates.content_id as base_content_id
    from selection.instruction_choices as choices
    inner join selection.candidates as candidates
        on candidates.teacher = choices.teacher
        and candidates.student = choices.student
        and candidates.pair_id = choices.pair_id
        and candidates.candidate = choices.choice
)

select
    decisions.recipe, -- recipe
    decisions.pair_id, -- raw pair
    raw_pairs.source, -- source of the raw pair
    raw_pairs.file, -- its file
    raw_pairs.source_row, -- its row in that file, from 1
    recipes.teacher, -- teacher whose rewrites competed
    recipes.scorer_fingerprint, -- student whose statistics decided
    decisions.is_mixed_in, -- true when `mix` put the untouched original back
    decisions.ifd, -- IFD of the row
    decisions.r_ifd, -- reversed IFD of the row, NULL when not asked
    first_choices.choice as first_choice, -- original | instruction, NULL when neither could be chosen
    first_choices.reason as first_reason, -- why it fell so
    first_choices.ifd_original, -- IFD of the original
    first_choices.ifd_instruction, -- IFD of the rewritten instruction with its answer
    second_choices.choice as second_choice, -- original | instruction | response | both, NULL when nothing could be chosen
    second_choices.reason as second_reason, -- why it fell so
    second_choices.r_ifd_base, -- reversed IFD of the first choice
    second_choices.r_ifd_reflected, -- and of the same with the better answer
    instruction_reflections.request_id as instruction_request_id, -- request of the first phase
    response_reflections.request_id as response_request_id -- request of the second phase, about the first choice
from decisions
inner join recipes on recipes.recipe = decisions.recipe
inner join raw.raw_pairs as raw_pairs on raw_pairs.pair_id = decisions.pair_id
left join selection.instruction_choices as first_choices
    on first_choices.teacher = recipes.teacher
    and first_choices.student = recipes.student
    and first_choices.pair_id = decisions.pair_id
left join selection.response_choices as second_choices
    on second_choices.teacher = recipes.teacher
    and second_choices.student = recipes.student
    and second_choices.pair_id = decisions.pair_id
left join selection.current_instruction_reflections as instruction_reflections
    on instruction_reflections.teacher = recipes.teacher
    and instruction_reflections.pair_id = decisions.pair_id
left join bases
    on bases.teacher = recipes.teacher
    and bases.student = recipes.student
    and bases.pair_id = decisions.pair_id
left join selection.current_response_reflections as response_reflections
    on response_reflections.teacher = recipes.teacher
    and response_reflections.pair_id = decisions.pair_id
    and response_reflections.base = bases.base
    and response_reflections.base_content_id = bases.base_content_id
