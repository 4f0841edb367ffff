-- The training set of every recipe, as the current profile, scores and replies would make it now.
-- grain: one row a (recipe, pair_id)
with decisions as (
    select * from selection.pair_decisions where kept
),

recipes as (
    select recipe, teacher, student from profile.recipes
)

select
    decisions.recipe, -- recipe
    decisions.pair_id, -- raw pair the row descends from
    decisions.candidate, -- which of its four texts
    candidates.content_id, -- id of the text
    candidates.system, -- system text before it, empty = none
    candidates.history, -- earlier turns before it, JSON, [] = none
    candidates.instruction, -- instruction
    candidates.input, -- optional input
    candidates.output, -- answer
    decisions.ifd, -- IFD of the row
    decisions.r_ifd, -- reversed IFD of the row, NULL when not asked
    decisions.rank -- 1 = first of the recipe: highest IFD, or what its policy ranks by
from decisions
inner join recipes on recipes.recipe = decisions.recipe
inner join selection.candidates as candidates
    on candidates.teacher = recipes.teacher
    and candidates.student = recipes.student
    and candidates.pair_id = decisions.pair_id
    and candidates.candidate = decisions.candidate
