-- Each recipe with what its names stand for: what the teacher is and which prompts it was asked with, who the student is and who scores for it.
-- grain: one row a recipe
select
    recipes.recipe, -- recipe
    teachers.engine, -- how the teacher is reached
    teachers.identity as teacher_identity, -- what answers: part of every request id
    teachers.model as teacher_model, -- as server and price table call it, NULL for a recording
    teachers.instruction_prompt_version, -- phase 1
    teachers.response_prompt_version, -- phase 2
    students.model as student_model, -- hub id or folder
    students.revision, -- resolved revision of a hub model, NULL for folders
    students.student_fingerprint, -- hash of weights, tokenizer, template, max length and scoring contract
    students.scored_by, -- student whose scores decide
    students.scorer_fingerprint -- fingerprint of that student
from profile.recipes as recipes
inner join profile.teachers as teachers on teachers.teacher = recipes.teacher
inner join profile.students as students on students.student = recipes.student
