-- Which student judges which teacher's rewrites: every combination that a recipe of the current profile names.
-- grain: one row a (teacher, student)
with recipes as (
    select distinct teacher, student from profile.recipes
),

students as (
    select student, scorer_fingerprint from profile.students
)

select
    recipes.teacher, -- teacher whose rewrites are judged
    recipes.student, -- student that will be trained
    students.scorer_fingerprint -- fingerprint of the model whose scores decide (the student itself unless scored_by names another)
from recipes
inner join students on students.student = recipes.student
